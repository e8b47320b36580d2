/** The interoperability tests, which `npm test` leaves out: they need Python packages, or a GPU in software. */
import { defineConfig } from "vitest/config"

// Each file's process, and each thread and program that it starts, finds what Node compiled for the one before.
process.env["NODE_COMPILE_CACHE"] ??= new URL("../../node_modules/.cache/suites", import.meta.url).pathname

export default defineConfig({ test: { include: ["test/interop/**/*.interop.ts"], testTimeout: 120_000 } })

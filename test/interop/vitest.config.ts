/** The interoperability tests, which `npm test` leaves out: they need Python packages, or a GPU in software. */
import { defineConfig } from "vitest/config"

export default defineConfig({ test: { include: ["test/interop/**/*.interop.ts"], testTimeout: 120_000 } })

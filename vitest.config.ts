import { defineConfig } from "vitest/config"
import { entries } from "./src/runner/Entries.ts"

// Each file's process, and each thread and program that it starts, finds what Node compiled for the one before.
process.env["NODE_COMPILE_CACHE"] ??= new URL("./node_modules/.cache/suites", import.meta.url).pathname

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/interop/**", "node_modules/**"],
    // Builds dist/ once when it is stale: several suites start the real program.
    globalSetup: ["test/support/build.ts"],
    setupFiles: ["test/support/kill.ts"],
    // Two cores: more workers only fight, and suites that start processes need room.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000
  },
  resolve: {
    alias: Object.entries(entries).map(([specifier, { module }]) => ({
      find: new RegExp(`^${specifier}$`),
      replacement: new URL(module, import.meta.url).pathname
    }))
  }
})

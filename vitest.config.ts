import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/interop/**", "node_modules/**"],
    // Builds dist/ once when it is stale: several suites start the real program.
    globalSetup: ["test/support/build.ts"],
    // Two cores: more workers only fight, and suites that start processes need room.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000
  },
  resolve: { alias: { "dllm-pipeline": new URL("./src/index.ts", import.meta.url).pathname } }
})

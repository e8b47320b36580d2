/** Rules of the linter; among them who may import from whom. */
import { basename } from "node:path"
import { defineConfig } from "oxlint"
import { rooms } from "./rooms.ts"

const telemetry = {
  name: "onnxruntime-node",
  message: "only src/engines/ort/runtime.ts loads ONNX Runtime, because it switches the telemetry off first."
}

const names = [...Object.keys(rooms).map(folder => basename(folder)), "cli"]

const importsOfRooms = Object.entries(rooms).map(([folder, allowed]) => ({
  files: [`${folder}/**/*.ts`],
  rules: {
    "no-restricted-imports": [
      "error" as const,
      {
        paths: [telemetry],
        patterns: [
          {
            group: names
              .filter(name => name !== basename(folder) && !allowed.includes(name))
              .map(name => `**/${name}/**`),
            message: `${folder} stands below it: imports only point downwards (rooms.ts, docs/architecture.md).`
          }
        ]
      }
    ] as ["error", { paths: Array<typeof telemetry>; patterns: Array<{ group: Array<string>; message: string }> }]
  }
}))

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import", "promise"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  rules: {
    "no-explicit-any": "off",
    "typescript/no-explicit-any": "error",
    "no-shadow": "off",
    "no-await-in-loop": "off",
    "require-yield": "off",
    "import/no-cycle": "error",
    eqeqeq: "error",
    "no-underscore-dangle": "off",
    "unicorn/no-array-sort": "off",
    "unicorn/no-array-reverse": "off",
    "unicorn/consistent-function-scoping": "off",
    "no-control-regex": "off",
    "import/no-unassigned-import": "off",
    "typescript/consistent-type-imports": "error",
    "oxc/no-map-spread": "off",
    "typescript/no-this-alias": "off",
    "no-restricted-imports": ["error", { paths: [telemetry] }]
  },
  overrides: [...importsOfRooms, { files: ["src/engines/ort/runtime.ts"], rules: { "no-restricted-imports": "off" } }]
})

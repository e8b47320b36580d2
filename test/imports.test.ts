/** Imports only point downwards (docs/architecture.md), and ONNX Runtime is loaded by one module. The linter holds the rules; this holds the linter to them. */
import { execFileSync, spawnSync } from "node:child_process"
import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { temporaryDirectory } from "./support/inProcess.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const oxlint = join(root, "node_modules", ".bin", "oxlint")

let planted: ReturnType<typeof temporaryDirectory>

beforeAll(() => {
  planted = temporaryDirectory()
  copyFileSync(join(root, ".oxlintrc.json"), join(planted.path, ".oxlintrc.json"))
})
afterAll(() => planted.remove())

/** What the linter says to one file with one import. */
const complaint = (file: string, specifier: string): string => {
  const path = join(planted.path, file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `export { x } from ${JSON.stringify(specifier)}\n`)
  const done = spawnSync(oxlint, ["--config", ".oxlintrc.json", file], { cwd: planted.path, encoding: "utf8" })
  rmSync(path)
  return done.status === 0 ? "" : done.stdout
}

describe("import rules", () => {
  const forbidden = [
    ["src/pipeline/x.ts", "../ledger/Database.ts"],
    ["src/pipeline/x.ts", "../store/Store.ts"],
    ["src/tensor/x.ts", "../pipeline/Digest.ts"],
    ["src/tensor/deep/x.ts", "../../engines/ort.ts"],
    ["src/store/x.ts", "../ledger/Database.ts"],
    ["src/store/x.ts", "../runner/Run.ts"],
    ["src/ledger/x.ts", "../store/Store.ts"],
    ["src/executors/x.ts", "../runner/Run.ts"],
    ["src/runner/x.ts", "../cli/main.ts"],
    ["src/runner/x.ts", "../data/tokenizer.ts"],
    ["src/runner/x.ts", "../../stages/tokenize.ts"],
    ["src/data/x.ts", "../runner/Run.ts"],
    ["src/data/x.ts", "../training/loop.ts"],
    ["src/report/x.ts", "../cli/style.ts"],
    ["stages/x.ts", "../src/runner/Run.ts"],
    ["stages/x.ts", "../src/store/Store.ts"],
    ["stages/x.ts", "../src/ledger/Database.ts"],
    ["pipelines/x.ts", "../src/runner/Run.ts"]
  ] as const

  it.each(forbidden)("%s may not import %s", (file, specifier) => {
    assert.include(complaint(file, specifier), "imports only point downwards")
  })

  const allowed = [
    ["src/runner/x.ts", "../store/Store.ts"],
    ["src/runner/x.ts", "../ledger/Database.ts"],
    ["src/cli/x.ts", "../runner/Run.ts"],
    ["stages/x.ts", "../src/data/tokenizer.ts"],
    ["pipelines/x.ts", "../stages/tokenize.ts"]
  ] as const

  it.each(allowed)("%s may import %s", (file, specifier) => {
    assert.strictEqual(complaint(file, specifier), "")
  })

  const loading = ["src/engines/ort/x.ts", "src/data/x.ts", "src/cli/x.ts", "stages/x.ts", "test/x.ts", "bench/x.ts"]

  it.each(loading)("%s may not load ONNX Runtime, whose telemetry would be on", file => {
    assert.include(complaint(file, "onnxruntime-node"), "telemetry")
  })

  it("it is named nowhere but in the two modules that load it and find it", () => {
    const files = globSync("{src,stages,pipelines,bench,test,bin}/**/*.{ts,mjs,js}", { cwd: root })
    const naming = files.filter(file =>
      /["'`]onnxruntime-node(\/[^"'`]*)?["'`]/.test(readFileSync(join(root, file), "utf8"))
    )
    assert.deepStrictEqual(naming.sort(), [
      "src/engines/ort/library.ts",
      "src/engines/ort/runtime.ts",
      "test/imports.test.ts"
    ])
  })

  it("hold for the whole tree", () => {
    execFileSync(oxlint, ["--deny-warnings", "src", "stages", "pipelines"], { cwd: root, stdio: "pipe" })
  })
})

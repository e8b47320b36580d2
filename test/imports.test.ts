/** Imports only point downwards (docs/architecture.md), and ONNX Runtime is loaded by one module. The linter holds the rules; this holds the linter to them. */
import { execFileSync, spawnSync } from "node:child_process"
import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { rooms } from "../rooms.ts"
import { temporaryDirectory } from "./support/inProcess.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const oxlint = join(root, "node_modules", ".bin", "oxlint")

let planted: ReturnType<typeof temporaryDirectory>

beforeAll(() => {
  planted = temporaryDirectory()
  for (const file of ["oxlint.config.ts", "rooms.ts"]) copyFileSync(join(root, file), join(planted.path, file))
  symlinkSync(join(root, "node_modules"), join(planted.path, "node_modules"))
})
afterAll(() => planted.remove())

/** What the linter says to one file with one import. */
const complaint = (file: string, specifier: string): string => {
  const path = join(planted.path, file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `export { x } from ${JSON.stringify(specifier)}\n`)
  const done = spawnSync(oxlint, ["--config", "oxlint.config.ts", file], { cwd: planted.path, encoding: "utf8" })
  rmSync(path)
  return done.status === 0 ? "" : done.stdout
}

describe("import rules", () => {
  const forbidden = [
    ["src/pipeline/x.ts", "../ledger/Database.ts"],
    ["src/tensor/deep/x.ts", "../../engines/ort.ts"],
    ["src/ledger/x.ts", "../store/Store.ts"],
    ["src/runner/x.ts", "../cli/main.ts"],
    ["src/runner/x.ts", "../tokens/tokenizer.ts"],
    ["src/formats/x.ts", "../hub/http.ts"],
    ["src/models/x.ts", "../methods/Method.ts"],
    ["src/training/x.ts", "../methods/Method.ts"],
    ["src/methods/masked/x.ts", "../../../stages/tokenize.ts"],
    ["stages/x.ts", "../src/store/Store.ts"],
    ["pipelines/x.ts", "../src/runner/Run.ts"]
  ] as const

  it.each(forbidden)("%s may not import %s", (file, specifier) => {
    assert.include(complaint(file, specifier), "imports only point downwards")
  })

  const allowed = [
    ["src/runner/x.ts", "../store/Store.ts"],
    ["src/runner/x.ts", "../ledger/Database.ts"],
    ["src/cli/x.ts", "../runner/Run.ts"],
    ["stages/x.ts", "../src/tokens/tokenizer.ts"],
    ["pipelines/x.ts", "../stages/tokenize.ts"]
  ] as const

  it.each(allowed)("%s may import %s", (file, specifier) => {
    assert.strictEqual(complaint(file, specifier), "")
  })

  const loading = ["src/engines/ort/x.ts", "src/formats/x.ts", "src/cli/x.ts", "stages/x.ts", "test/x.ts", "bench/x.ts"]

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

  it("cover every folder, each room below those that it imports from", () => {
    const folders = globSync("{src/*,stages,pipelines}/", { cwd: root }).map(folder => folder.replace(/\/$/, ""))
    const listed = [...Object.keys(rooms), "src/cli"]
    assert.sameMembers(
      folders.filter(folder => !folder.endsWith(".ts")),
      listed
    )
    const above = new Set<string>()
    for (const [folder, allowed] of Object.entries(rooms)) {
      for (const name of allowed) assert.isTrue(above.has(name), `${folder} may import ${name}, which stands behind it`)
      above.add(basename(folder))
    }
    const map = readFileSync(join(root, "docs/architecture.md"), "utf8")
    for (const folder of listed) assert.match(map, new RegExp(`^${folder}/ `, "m"), `${folder} is not on the map`)
  })

  it("hold for the whole tree", () => {
    execFileSync(oxlint, ["--deny-warnings", "src", "stages", "pipelines"], { cwd: root, stdio: "pipe" })
  })
})

describe("files", () => {
  it("have at most 300 lines, or say in their head why they have more", () => {
    const long = globSync("{src,stages,pipelines}/**/*.ts", { cwd: root }).filter(file => {
      const text = readFileSync(join(root, file), "utf8")
      const head = /^\/\*\*[^]*?\*\//.exec(text)?.[0] ?? ""
      return text.split("\n").length - 1 > 300 && !/300 lines|however long/.test(head)
    })
    assert.deepStrictEqual(long, [])
  })
})

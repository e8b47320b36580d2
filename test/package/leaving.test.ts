/** The program outside of its checkout: packed, unpacked into a folder with a space in its name, with its dependencies and nothing else; `test/interop` has it with npm and the registry. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { temporaryDirectory } from "../support/inProcess.ts"
import { command, copyCheckout, link, must, pack, tsc } from "../support/packed.ts"

let directory: ReturnType<typeof temporaryDirectory>
let packed: ReturnType<typeof pack>
/** The folder that has the program installed. */
let folder: string
/** What `pipeline init` wrote there. */
let project: string
let said: string

const readJson = <T>(file: string) => JSON.parse(readFileSync(file, "utf8")) as T

interface Manifest {
  readonly name: string
  readonly dependencies: { readonly [name: string]: string }
  readonly optionalDependencies: { readonly [name: string]: string }
}
interface Lock {
  readonly packages: { readonly [path: string]: { readonly dev?: boolean; readonly hasInstallScript?: boolean } }
}

/** As npm does it, without the registry. */
const install = (): void => {
  const modules = join(folder, "node_modules")
  const own = join(modules, "dllm-pipeline")
  mkdirSync(own, { recursive: true })
  must(own, "tar", "--extract", "--strip-components=1", "--file", packed.archive)
  const { dependencies, optionalDependencies } = readJson<Manifest>(join(own, "package.json"))
  link([...Object.keys(dependencies), ...Object.keys(optionalDependencies), "@types/node"], modules)
  mkdirSync(join(modules, ".bin"))
  symlinkSync("../dllm-pipeline/bin/pipeline.mjs", join(modules, ".bin", "pipeline"))
  const packages = { "node_modules/dllm-pipeline": { resolved: `file:${relative(folder, packed.archive)}` } }
  writeFileSync(join(modules, ".package-lock.json"), JSON.stringify({ packages }))
}

beforeAll(() => {
  directory = temporaryDirectory()
  const checkout = join(directory.path, "checkout")
  copyCheckout(checkout)
  must(checkout, process.execPath, "scripts/package/prepack.ts")
  packed = pack(checkout, directory.path, "--ignore-scripts")
  folder = join(directory.path, "a folder")
  install()
  writeFileSync(join(folder, "package.json"), `{ "type": "commonjs" }`)
  said = must(folder, "npx", "pipeline", "init", "My project").stdout
  project = join(folder, "My project")
  symlinkSync("../node_modules", join(project, "node_modules"))
}, 300_000)
afterAll(() => directory.remove())

describe("the package", { timeout: 300_000 }, () => {
  it("has what runs and declarations, and neither sources nor tests", () => {
    const paths = packed.files.map(({ path }) => path)
    const unexpected = paths.filter(
      path =>
        (path.endsWith(".ts") && !/\.d\.ts$|^docs\/examples\/focal\//.test(path)) || /^(src|test|scripts)\//.test(path)
    )
    assert.deepStrictEqual(unexpected, [])
    assert.includeMembers(paths, [
      "dist/main.js",
      "dist/types/src/index.d.ts",
      "dist/NOTICES.txt",
      "configs/embedded.yaml"
    ])
    // docs/leaving-the-clone.md says the sizes.
    assert.isBelow(packed.size, 42e6)
    assert.isBelow(packed.unpackedSize, 105e6)
  })

  it("needs no package whose installation runs a script", () => {
    const { packages } = readJson<Lock>(join(import.meta.dirname, "../../package-lock.json"))
    const running = Object.entries(packages).filter(
      ([, { dev, hasInstallScript }]) => hasInstallScript === true && dev !== true
    )
    assert.deepStrictEqual(
      running.map(([path]) => path),
      []
    )
  })

  it("brings its own ONNX Runtime, whichever stands beside it", () => {
    const modules = join(folder, "node_modules")
    const brought = readdirSync(join(modules, "dllm-pipeline", "dist", "node_modules"))
    assert.isNotEmpty(brought)
    for (const name of brought) {
      mkdirSync(join(modules, name))
      writeFileSync(join(modules, name, "package.json"), JSON.stringify({ name, version: "0.0.1", main: "none.js" }))
    }
    assert.match(command(folder, "npx", "pipeline", "doctor").stdout, /ok +engine ort +\S+ [1-9]/)
  })
})

describe("pipeline init", { timeout: 300_000 }, () => {
  it("names what it wrote and what comes next, and finds the archive again", () => {
    assert.match(said, /^wrote README\.md, .*package\.json/)
    assert.match(said, /cd 'My project'\n +npm install\n/)
    const { dependencies, name } = readJson<Manifest>(join(project, "package.json"))
    assert.strictEqual(name, "my-project")
    assert.strictEqual(join(project, dependencies["dllm-pipeline"]!.replace("file:", "")), packed.archive)
  })

  it("refuses a folder that is not empty, and writes nothing there", () => {
    const { code, stderr } = command(folder, "npx", "pipeline", "init")
    assert.strictEqual(code, 2)
    assert.match(stderr, /\.: is not empty: it has My project and 2 more\n.*`npx pipeline init my-comparison`/)
    assert.match(command(folder, "npx", "pipeline", "init", "package.json").stderr, /package\.json: is a file/)
  })

  it("writes what type-checks, declarations of libraries included", () => {
    assert.deepStrictEqual(tsc(project), { code: 0, stdout: "", stderr: "" })
    const file = join(project, "row.ts")
    const right = readFileSync(file, "utf8")
    writeFileSync(file, right.replace(`decodedBy: "masked"`, `decodedBy: "maskd"`))
    assert.match(tsc(project).stdout, /row\.ts\(\d+,\d+\): error TS2820: .*maskd/)
    writeFileSync(file, right)
  })

  it("writes a grid that can be planned, and a test that passes", () => {
    const plan = JSON.parse(must(project, "npx", "pipeline", "plan", "./pipeline.ts", "--quick", "--json").stdout) as {
      readonly nodes: ReadonlyArray<{ readonly label: string }>
    }
    const labels = plan.nodes.map(({ label }) => label)
    assert.includeMembers(labels, ["train/no_align", "train-focal/focal", "benchmark/focal", "report-grid"])
    const tested = must(project, process.execPath, "--test", "--test-reporter=tap").stdout
    assert.match(tested, /^# pass 2$/m)
  })
})

/** A pipeline file with one stage, in modules' syntax. */
const sayFile = `import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
const Text = Artifact.kind("text", { description: "A text", metadata: Schema.Struct({ lines: Schema.Int }) })
export const say = Stage.make("say", {
  inputs: {},
  parameters: Schema.Struct({ words: Schema.String }),
  outputs: { text: Text },
  run: Effect.fn("say")(function* ({ outputs, parameters }) {
    yield* outputs.text.write("text.txt", parameters.words)
    yield* outputs.text.metadata({ lines: 1 })
  })
})
const profiles = { one: { description: "the only one", needs: "nothing", make: () => ({}) } }
export default Pipeline.make("say", { description: "Says", profiles }, () => say({ words: "hello" }))
`

describe("a folder of CommonJS", { timeout: 300_000 }, () => {
  it("takes pipelines as .mts, and says so of .ts", () => {
    writeFileSync(join(folder, "say.mts"), sayFile)
    writeFileSync(join(folder, "say.ts"), sayFile)
    assert.match(must(folder, "npx", "pipeline", "run", "./say.mts").stderr, /1 executed/)
    const { code, stderr } = command(folder, "npx", "pipeline", "run", "./say.ts")
    assert.strictEqual(code, 2)
    assert.match(stderr, /\.\/say\.ts: Node takes it for CommonJS.*\n.*"type": "module".*\.\/say\.mts/)
  })

  it("loads the library by require() and import(), with types", () => {
    const source = `const { Schema } = require("dllm-pipeline")
import("dllm-pipeline/grid").then(({ rows }) => console.log(rows.length, typeof Schema.Struct, typeof require("dllm-pipeline/methods").trainBy))
`
    writeFileSync(join(folder, "main.cjs"), source)
    assert.strictEqual(must(folder, process.execPath, "main.cjs").stdout, "8 function function\n")
    writeFileSync(
      join(folder, "typed.cts"),
      `import library = require("dllm-pipeline")\nexport const wrong: number = library.Schema.String\n`
    )
    const flags = [
      "--ignoreConfig",
      "--noEmit",
      "--strict",
      "--module",
      "nodenext",
      "--lib",
      "esnext,dom",
      "--types",
      "node"
    ]
    const { stdout } = tsc(folder, ...flags, "say.mts", "typed.cts")
    assert.match(stdout, /^typed\.cts\(2,14\): error TS2322[^\n]*\n?$/)
  })
})

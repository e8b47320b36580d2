/** What a stage's process may load: the modules of the key by their content, and packages only where the key covers them. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Fingerprint from "../../src/runner/Fingerprint.ts"

type Files = { readonly [path: string]: string }

const place = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)

const effect = pathToFileURL(createRequire(import.meta.url).resolve("effect")).href

/** Loads stages under their keys as an action's process does, uses them, and tells what it got; one after the other, each under hooks of its own. */
const loader = `
import module, { createRequire, syncBuiltinESMExports } from "node:module"
const { registerHooks } = module
const parts = ${JSON.stringify(
  ["Artifact", "Stage"].map(name => `export * as ${name} from ${place(`pipeline/${name}.ts`)};`).join("")
)}
const url = "data:text/javascript," + encodeURIComponent(parts + "export * from " + JSON.stringify(${JSON.stringify(effect)}))
registerHooks({ resolve: (specifier, context, next) =>
  specifier === "dllm-pipeline" ? { url, shortCircuit: true } : next(specifier, context) })
let hooks
module.registerHooks = options => (hooks = registerHooks(options))
syncBuiltinESMExports()
const { Effect } = await import(url)
const { makeLoad } = await import(${place("runner/Loading.ts")})
process.on("message", async ({ request, path }) => {
  process.env.NODE_PATH = path
  module._initPaths()
  const load = makeLoad(${JSON.stringify(dirname(dirname(import.meta.dirname)))})
  let value
  try {
    value = await Effect.runPromise((await load(request)).run())
  } catch (error) { value = "failed: " + error.message }
  hooks.deregister()
  const refused = load.refused()
  process.send({ value, refused: refused && { message: refused.message, advice: refused.advice } })
})
process.on("disconnect", () => process.exit(0))
process.send("ready")
`
let child: ChildProcess
beforeAll(async () => {
  child = spawn(process.execPath, ["--input-type=module", "-e", loader], {
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  await once(child, "message")
})
afterAll(() => child.disconnect())

const stage = (imports: string, value: string, options = "") => `
import { Artifact, Effect, Schema, Stage } from "dllm-pipeline"
const T = Artifact.kind("text", { description: "t", metadata: Schema.Struct({}) })
${imports}
export const say = Stage.make("say", { inputs: {}, parameters: Schema.Struct({}), outputs: { t: T }, ${options} run: () => Effect.promise(async () => ${value}) })`

const folders: Array<string> = []
afterAll(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

const folder = (files: Files, links: Files = {}) => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "loading-")))
  folders.push(root)
  for (const [path, text] of Object.entries({ "package.json": `{ "type": "module" }`, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  for (const [path, to] of Object.entries(links)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    symlinkSync(to, join(root, path))
  }
  return root
}

/** What the build knows of this program: not read here. */
const ours: Fingerprint.Fingerprint = {
  digest: sha256(""),
  modules: {},
  packages: {},
  flags: "",
  seen: [],
  unhooked: [],
  loadable: [],
  silent: [],
  roots: [],
  computed: []
}

interface Loaded {
  readonly value: unknown
  readonly refused?: { readonly message: string; readonly advice: string }
}

const use = async (
  files: Files,
  options: { readonly files?: ReadonlyArray<string>; readonly links?: Files; readonly path?: string } = {}
): Promise<Loaded> => {
  const root = folder(files, options.links)
  const module = join(root, "w.ts")
  const { loadable, roots, silent } = await Effect.runPromise(
    Fingerprint.compute(
      { file: module, export: "say", files: options.files ?? [] },
      new Fingerprint.Session({ "dllm-pipeline": ours })
    )
  )
  child.send({
    request: { name: "say", module, export: "say", loadable, silent, packages: roots },
    path: options.path === undefined ? "" : join(root, options.path)
  })
  return ((await once(child, "message")) as [Loaded])[0]
}

const packageOf = (name: string, code: string, more: object = {}, at = `node_modules/${name}`): Files => ({
  [`${at}/package.json`]: JSON.stringify({ name, version: "1.0.0", type: "module", exports: "./i.js", ...more }),
  [`${at}/i.js`]: code
})

const p1 = packageOf("p1", "export const v = () => 1")

const refusedOf = async (...given: Parameters<typeof use>) => {
  const { refused, value } = await use(...given)
  assert.isDefined(refused, `it was loaded: ${String(value)}`)
  return refused!
}

describe("a package that the key does not cover is refused, however it is loaded:", () => {
  const required = `import * as module from "node:module"`
  const ways: { readonly [way: string]: readonly [imports: string, value: string, files?: Files] } = {
    "a computed name": [`const load = (n: string) => import(n)`, `(await load("p1")).v()`],
    "a require that was bound elsewhere": [
      `import load from "./c.cjs"`,
      `load("p1").v()`,
      { "c.cjs": "module.exports = module.require.bind(module)" }
    ],
    "a require that was made out of sight": [
      `${required}\nconst make = { make: module["create" + "Require"] }`,
      `make.make(import.meta.url)("p1").v()`
    ]
  }
  for (const [way, [imports, value, files]] of Object.entries(ways))
    it(way, async () => {
      const { advice, message } = await refusedOf({ ...p1, ...files, "w.ts": stage(imports, value) })
      assert.include(message, "node_modules/p1/i.js, which its key does not cover")
      assert.include(advice, `list "node_modules/p1" in \`files\``)
    })

  it("NODE_PATH", () =>
    refusedOf(
      {
        ...packageOf("p1", "export const v = () => 1", {}, "elsewhere/node_modules/p1"),
        "w.ts": stage(`import load from "./c.cjs"`, "load.v()"),
        "c.cjs": `module.exports = require("p1")`
      },
      { path: "elsewhere/node_modules" }
    ))

  it("another package that does not declare it, also where that one is imported besides", async () => {
    const files = { ...packageOf("dep", "export const v = 1"), ...packageOf("p1", `export { v } from "dep"`) }
    const { advice, message } = await refusedOf({ ...files, "w.ts": stage(`import { v } from "p1"`, "v") })
    assert.match(message, /node_modules\/p1\/i\.js loaded .*node_modules\/dep\/i\.js, which its key does not cover/)
    assert.include(advice, `list "node_modules/dep" in \`files\``)
    await refusedOf({ ...files, "w.ts": stage(`import "dep"\nimport { v } from "p1"`, "v") })
  })
})

describe("a thread loads what the key covers, and nothing else:", () => {
  const threads = `import * as threads from "node:worker_threads"
const start = (path: string | URL, options = {}) => new Promise(done => {
  const worker = new threads.Worker(path, options)
  worker.once("message", done)
  worker.once("error", error => done("caught: " + error.message))
})
const at = (name: string) => new URL("./" + name.split("").reverse().join(""), import.meta.url)`
  const says = (value: string) => `import { parentPort } from "node:worker_threads"\nparentPort.postMessage(${value})`

  const computed: { readonly [how: string]: readonly [value: string, files: Files] } = {
    "a module under a computed name": [`start(at("sjm.t"))`, { "t.mjs": says("1") }],
    "without flags and environment": [`start(at("sjm.t"), { execArgv: [], env: {} })`, { "t.mjs": says("1") }],
    "from CommonJS": [`start(at("sjc.t"))`, { "t.cjs": `require("node:worker_threads").parentPort.postMessage(1)` }],
    "from a text": [
      `start("import(" + JSON.stringify(at("sjm.t").href) + ")", { eval: true })`,
      { "t.mjs": says("1") }
    ],
    "from a thread of a thread": [
      `start(new URL("./one.mjs", import.meta.url))`,
      {
        "one.mjs": `import { parentPort, Worker } from "node:worker_threads"
new Worker(new URL("./" + ["t", "mjs"].join("."), import.meta.url)).once("message", v => parentPort.postMessage(v)).once("error", e => parentPort.postMessage("caught"))`,
        "t.mjs": says("1")
      }
    ]
  }
  for (const [how, [value, files]] of Object.entries(computed))
    it(`${how} is refused, also where the stage catches that`, async () => {
      const project = { ...files, "w.ts": stage(threads, value) }
      const { advice, message } = await refusedOf(project)
      assert.match(message, /loaded .*\/t\.[cm]js, which its key does not cover/)
      assert.match(advice, /list "t\.[cm]js" in `files`/)
      const name = Object.keys(files).find(file => file.startsWith("t."))!
      const declared = await use(project, { files: [name] })
      assert.deepStrictEqual([declared.value, declared.refused], [1, undefined])
    })

  it("a package that the key does not cover is refused there, and what it covers is loaded", async () => {
    const thread = (imports: string) => ({
      "t.mjs": `${imports}\n${says("v()")}`,
      "w.ts": stage(threads, `start(new URL("./t.mjs", import.meta.url))`)
    })
    const known = await use({ ...p1, ...thread(`import { v } from "p1"`) })
    assert.deepStrictEqual([known.value, known.refused], [1, undefined])
    const { message } = await refusedOf({ ...p1, ...thread(`const { v } = await import(["p", 1].join(""))`) })
    assert.include(message, "node_modules/p1/i.js, which its key does not cover")
  })
})

describe("a package that the key covers is loaded:", () => {
  it("one that is reached, and one that is loaded without being used", async () => {
    const files = { ...p1, ...packageOf("quiet", "export const v = 1") }
    const { refused, value } = await use({ ...files, "w.ts": stage(`import "quiet"\nimport { v } from "p1"`, "v()") })
    assert.deepStrictEqual([value, refused], [1, undefined])
  })

  it("one that another does not declare, if the stage lists its folder", async () => {
    const files = {
      ...packageOf("dep", "export const v = 1"),
      ...packageOf("p1", `export { v } from "dep"`),
      "w.ts": stage(`import { v } from "p1"`, "v")
    }
    const { refused, value } = await use(files, { files: ["node_modules/dep"] })
    assert.deepStrictEqual([value, refused], [1, undefined])
  })

  it("a linked one and one of a workspace, from a package", async () => {
    const files = {
      ...packageOf("p1", `export { v } from "lk"`, { dependencies: { lk: "*" } }),
      ...packageOf("lk", `export { v } from "./deep/v.js"`, {}, "ws/lk"),
      "ws/lk/deep/v.js": "export const v = 1",
      "w.ts": stage(`import { v } from "p1"`, "v")
    }
    const { refused, value } = await use(files, { links: { "node_modules/lk": "../ws/lk" } })
    assert.deepStrictEqual([value, refused], [1, undefined])
  })

  it("and what it loads of the user's, if the stage lists that", async () => {
    const files = {
      ...packageOf(
        "p1",
        `export const v = async () => (await import(new URL("../../tool.config.mjs", import.meta.url).href)).default`
      ),
      "tool.config.mjs": "export default 1",
      "w.ts": stage(`import { v } from "p1"`, "v()")
    }
    const { advice, message } = await refusedOf(files)
    assert.match(message, /node_modules\/p1\/i\.js loaded .*tool\.config\.mjs, which its key does not cover/)
    assert.include(advice, `list "tool.config.mjs" in \`files\``)
    const { refused, value } = await use(files, { files: ["tool.config.mjs"] })
    assert.deepStrictEqual([value, refused], [1, undefined])
  })
})

/** ONNX Runtime tells nobody what it is used for, and writes nothing below the home directory: in no process that loads it. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { temporaryDirectory } from "../support/inProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const launcher = join(root, "bin", "pipeline.mjs")
const main = join(root, "dist", "main.js")
const engine = join(root, "src", "engines", "ort", "ort.ts")
const runtime = join(root, "src", "engines", "ort", "runtime.ts")

let world: ReturnType<typeof temporaryDirectory>
let environment: NodeJS.ProcessEnv
const personal = ["home", "tmp", "config", "caches", "data", "state", "runtime"]

beforeAll(() => {
  world = temporaryDirectory()
  for (const name of [...personal, "work"]) mkdirSync(join(world.path, name))
  const at = (name: string) => join(world.path, name)
  const { PIPELINE_CACHE: _, ...inherited } = process.env
  environment = {
    ...inherited,
    HOME: at("home"),
    TMPDIR: at("tmp"),
    XDG_CONFIG_HOME: at("config"),
    XDG_CACHE_HOME: at("caches"),
    XDG_DATA_HOME: at("data"),
    XDG_STATE_HOME: at("state"),
    XDG_RUNTIME_DIR: at("runtime"),
    NO_COLOR: "1",
    // Nothing in the environment of a user can switch it on.
    ORT_DISABLE_TELEMETRY: "0"
  }
})
afterAll(() => world.remove())

/** Runs Node in the empty world. */
const node = (...words: ReadonlyArray<string>) =>
  spawnSync(process.execPath, words, { cwd: join(world.path, "work"), env: environment, encoding: "utf8" })

const written = () =>
  personal.flatMap(name =>
    readdirSync(join(world.path, name), { recursive: true }).map(file => join(name, String(file)))
  )

/** A product of two matrices: makes a session, with which telemetry would begin. */
const multiply = `
const { Effect } = await import(${JSON.stringify(join(root, "node_modules/effect/dist/index.js"))})
const { makeOrt } = await import(${JSON.stringify(engine)})
const { matmulPeak } = await import(${JSON.stringify(join(root, "src/engines/matmulPeak.ts"))})
const peak = await Effect.runPromise(Effect.scoped(Effect.flatMap(makeOrt({ threads: 1 }), matmulPeak)))
if (!peak.right) throw new Error("wrong")
`

const pipeline = `
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
const Text = Artifact.kind("text", { description: "", metadata: Schema.Struct({}) })
export const compute = Stage.make("compute", {
  inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text },
  run: ({ outputs }) => Effect.gen(function* () {
    yield* Effect.promise(async () => { ${multiply} })
    yield* outputs.text.write("t.txt", "multiplied")
    yield* outputs.text.metadata({})
  })
})
export default Pipeline.make("compute", { description: "", profiles: { only: { description: "", needs: "", make: () => 0 } } }, () => compute({}))
`

describe("nothing but the cache is written", () => {
  it("by doctor, which measures the engine", () => {
    const { stdout } = node(launcher, "doctor")
    assert.match(stdout, /ok +engine ort +onnxruntime-node/)
    assert.deepStrictEqual(written(), [])
  })

  it("by an action's process and its engine's thread", () => {
    const file = join(world.path, "work", "compute.ts")
    writeFileSync(file, pipeline)
    const { status, stderr } = node(main, "run", file)
    assert.strictEqual(status, 0, stderr)
    assert.isTrue(existsSync(join(world.path, "work", "cache")))
    assert.deepStrictEqual(written(), [])
  })

  it("by a script or a test that loads the library itself", () => {
    const script = `
      const { InferenceSession } = await import(${JSON.stringify(runtime)})
      await InferenceSession.create(Uint8Array.of(8, 8)).then(() => process.exit(1), () => undefined)`
    const { status, stderr } = node("--input-type=module", "-e", script)
    assert.strictEqual(status, 0, stderr)
    assert.deepStrictEqual(written(), [])
  })
})

it("a thread that was started without the switch does not load the library", async () => {
  const worker = new Worker(`import(${JSON.stringify(runtime)})`, {
    eval: true,
    env: { ...process.env, ORT_DISABLE_TELEMETRY: undefined }
  })
  const message = await new Promise<string>((resolve, reject) => {
    worker.once("error", cause => resolve(String(cause)))
    worker.once("exit", code => reject(new Error(`it ended with code ${code}`)))
  })
  assert.match(message, /set ORT_DISABLE_TELEMETRY=1 before the thread is started/)
})

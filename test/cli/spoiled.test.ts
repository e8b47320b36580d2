/** A user's module lives in the process of the program that runs it: whatever it does there, the program ends when it is done, and says what it did. */
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it, type TestContext } from "vitest"
import { Database } from "../../src/ledger/Database.ts"

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

const text = (top: string, option: string) => `
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
${top}
const Text = Artifact.kind("text", { description: "", metadata: Schema.Struct({}) })
export const say = Stage.make("say", {
  inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text }, ${option}
  run: Effect.fn("say")(function* ({ outputs }) {
    if (process.env.SLOW) yield* Effect.sleep(60000)
    if (process.env.FAIL) return yield* Effect.die("it fails")
    yield* outputs.text.write("text.txt", "said")
    yield* outputs.text.metadata({})
  })
})
export default Pipeline.make("say", { description: "", profiles: { p: { description: "", needs: "", make: () => 0 } } }, () => say({}))
`

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
  readonly folder: string
  readonly runs: () => ReadonlyArray<string>
}

/** Runs a verb on a pipeline whose module does something at its top, or whose stage has an option. */
const program = (
  { onTestFinished }: Pick<TestContext, "onTestFinished">,
  {
    env = {},
    option = "",
    top = "",
    words = ["run"]
  }: {
    readonly env?: NodeJS.ProcessEnv
    readonly option?: string
    readonly top?: string
    readonly words?: ReadonlyArray<string>
  }
): Promise<Ended> => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-spoiled-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  writeFileSync(join(folder, "say.ts"), text(top, option))
  const [verb, ...flags] = words
  const child = spawn(process.execPath, [main, verb!, "./say.ts", "--cache", "c", ...flags], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_OPTIONS: "", NO_COLOR: "1", FORCE_COLOR: undefined, ...env }
  })
  onTestFinished(() => void child.kill("SIGKILL"))
  let [out, err] = ["", ""]
  child.stdout.on("data", data => (out += String(data)))
  child.stderr.on("data", data => (err += String(data)))
  const runs = () => {
    const database = Database.openReadonly(join(folder, "c", "ledger.db"))
    try {
      return database?.all<{ status: string }>("SELECT status FROM run ORDER BY id").map(({ status }) => status) ?? []
    } finally {
      database?.close()
    }
  }
  return new Promise(resolve => child.on("close", code => resolve({ code, out, err, folder, runs })))
}

describe.concurrent("a user's module in the program's process", () => {
  it("does not keep it alive, move its cache, set its code, or speak where others read data", async context => {
    const ended = await program(context, {
      top: `
        import { stdout } from "node:process"
        setInterval(() => {}, 1000)
        process.chdir("/")
        process.env.PIPELINE_CACHE = "/nowhere"
        process.exitCode = 7
        console.log("HEARD"); process.stdout.write("HEARD\\n"); stdout.write("HEARD\\n")`,
      words: ["run", "--json"]
    })
    assert.strictEqual(ended.code, 0, ended.err)
    const types = ended.out
      .trim()
      .split("\n")
      .map(line => (JSON.parse(line) as { readonly type: string }).type)
    assert.includeMembers(types, ["run-started", "finished", "run-ended"])
    assert.strictEqual(ended.err.split("HEARD").length, 4)
    assert.isTrue(existsSync(join(ended.folder, "c", "ledger.db")))
    assert.deepStrictEqual(ended.runs(), ["done"])
  })

  it("cannot hide a failure when the program ends", async context => {
    for (const hook of ["process.exitCode = 0", "process.exit(0)", "process.reallyExit(0)"]) {
      const top = `process.on("exit", () => { ${hook} })`
      assert.strictEqual((await program(context, { top, option: "bad", words: ["plan"] })).code, 2, hook)
    }
    const run = await program(context, {
      top: 'process.on("exit", () => { process.exitCode = 0 })',
      env: { FAIL: "1" }
    })
    assert.strictEqual(run.code, 1)
  })

  it("cannot end it as if all were well", async context => {
    const top = await program(context, { top: "process.exit(0)", words: ["plan"] })
    assert.strictEqual(top.code, 2)
    assert.match(top.err, /say\.ts:\d+.*process\.exit\(0\) was called/)
    const identity = await program(context, { option: "identity: () => process.exit(0),", words: ["plan"] })
    assert.strictEqual(identity.code, 1)
    assert.match(identity.err, /the identity of stage say failed: process\.exit\(0\) was called/)
  })

  it("is named where it waits for what never comes", async context => {
    for (const [given, name] of [
      [{ option: "identity: () => Effect.never," }, "say: the identity of stage say"],
      [{ option: "identity: () => Effect.promise(() => new Promise(() => {}))," }, "say: the identity of stage say"],
      [{ top: "await new Promise(() => {})" }, "the module ./say.ts"]
    ] as const) {
      const ended = await program(context, given)
      assert.strictEqual(ended.code, 1, ended.err)
      assert.include(ended.err, `${name} never ended`)
    }
  })

  it("ends a run in good order, as failed, with an error that nobody catches", async context => {
    for (const [late, said] of [
      ['() => { throw new Error("too late") }', /say\.ts:\d+:\d+: Error: too late/],
      ["() => Promise.reject(7)", /a promise was rejected with the reason "7"/],
      ["() => process.exit(0)", /process\.exit\(0\) was called/]
    ] as const) {
      // In the program's process only, and once there is a run.
      const top = `
        import { existsSync } from "node:fs"
        if (process.env.PIPELINE_ACTION === undefined) {
          const timer = setInterval(() => {
            if (!existsSync("c/actions")) return
            clearInterval(timer)
            ;(${late})()
          }, 20)
        }`
      const ended = await program(context, { top, env: { SLOW: "1" } })
      assert.strictEqual(ended.code, 1, ended.err)
      assert.match(ended.err, said)
      assert.notInclude(ended.err, "    at ")
      assert.deepStrictEqual(ended.runs(), ["failed"])
    }
  })
})

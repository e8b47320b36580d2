/** What the real program leaves behind of an action whose children try to get away: nothing, whatever ends the action or the run. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { lives, until, ways } from "./processes.ts"
import { type Fixture, makeFixture } from "./smallFixture.ts"

/** The first attempt holds until the file `hold` goes. Each notes the version of its code, and by how many bytes children of attempts before it wrote on. */
const pipeline = (options: string) => `
import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { spawn } from "node:child_process"
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
import { version } from "./version.ts"
const Text = Artifact.kind("text", { description: "t", metadata: Schema.Struct({}) })
const size = () => existsSync("written") ? statSync("written").size : 0
const started = () => existsSync("pids") ? readFileSync("pids", "utf8").split("\\n").length - 1 : 0
export const busy = Stage.make("busy", { inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text }, ${options}
  run: Effect.fn("busy")(function* ({ outputs }) {
    const [before, from] = [started(), size()]
    yield* Effect.sleep(150)
    appendFileSync("attempts", version + " " + (size() - from) + "\\n")
    for (const way of JSON.parse(process.env.WAYS)) spawn("sh", ["-c", way], { stdio: "ignore" })
    while (started() < before + JSON.parse(process.env.WAYS).length) yield* Effect.sleep(20)
    writeFileSync("begun", "")
    while (before === 0 && existsSync("hold")) yield* Effect.sleep(20)
    yield* outputs.text.write("t", String(version))
    yield* outputs.text.metadata({})
  }) })
export default Pipeline.make("busy",
  { description: "d", profiles: { p: { description: "p", needs: "nothing", make: () => ({}) } } }, () => busy({}))
`

const setUp = (options = "") => {
  const fixture = makeFixture([])
  const at = (file: string) => join(fixture.folder, file)
  fixture.write("busy.ts", pipeline(options))
  fixture.write("version.ts", "export const version = 1")
  fixture.write("hold", "")
  const lines = (file: string) => (existsSync(at(file)) ? readFileSync(at(file), "utf8").split("\n").slice(0, -1) : [])
  return {
    fixture,
    start: () => fixture.start(["run", "./busy.ts"], { WAYS: JSON.stringify(ways) }),
    begun: () => until(() => (existsSync(at("begun")) ? true : undefined)),
    release: () => rmSync(at("hold")),
    attempts: () => lines("attempts"),
    pids: () => lines("pids").map(Number)
  }
}

const executions = ({ query }: Fixture) =>
  query<{ status: string; class: string | null }>("SELECT status, class FROM execution ORDER BY id").map(
    row => row.class ?? row.status
  )

const runs = ({ query }: Fixture) =>
  query<{ status: string }>("SELECT status FROM run ORDER BY id").map(({ status }) => status)

/** After runs of which the last one succeeded. */
const assertNothingLeft = ({ fixture, pids }: ReturnType<typeof setUp>, attempts: number) => {
  assert.strictEqual(pids().length, attempts * ways.length)
  assert.deepStrictEqual(pids().filter(lives), [])
  assert.deepStrictEqual(fixture.query("SELECT * FROM lease"), [])
  for (const folder of ["actions", "checkpoints"]) {
    const path = join(fixture.cache, folder)
    assert.deepStrictEqual(existsSync(path) ? readdirSync(path) : [], [], folder)
  }
}

describe.skipIf(process.platform !== "linux")("nothing is left behind", () => {
  it("by an attempt that took too long when the next one begins, nor by that one", { timeout: 180_000 }, async () => {
    const world = setUp("timeout: 15, retries: { timeout: 1 },")
    const { code, stderr } = await world.start().ended
    assert.strictEqual(code, 0, stderr)
    assert.deepStrictEqual(executions(world.fixture), ["timeout", "done"])
    assert.deepStrictEqual(world.attempts(), ["1 0", "1 0"])
    assertNothingLeft(world, 2)
  })

  it(
    "by a result that is dropped because the code was edited, in one run or in two at once",
    { timeout: 180_000 },
    async () => {
      for (const many of [1, 2]) {
        const world = setUp()
        const first = world.start()
        await world.begun()
        const all = [first, ...Array.from({ length: many - 1 }, () => world.start())]
        if (many === 2)
          await until(() =>
            runs(world.fixture).filter(status => status === "running").length === 2 ? true : undefined
          )
        world.fixture.write("version.ts", "export const version = 2")
        world.release()
        for (const { code, stderr } of await Promise.all(all.map(({ ended }) => ended)))
          assert.strictEqual(code, 0, stderr)
        assert.deepStrictEqual(executions(world.fixture), ["stale", "done"])
        assert.deepStrictEqual(world.attempts(), ["1 0", "2 0"])
        assertNothingLeft(world, 2)
      }
    }
  )

  it.for(["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"] as const)("by a run that %s ends", async signal => {
    const world = setUp()
    const { child, ended } = world.start()
    await world.begun()
    child.kill(signal)
    const { code } = await ended
    assert.strictEqual(code, signal === "SIGKILL" ? null : 130)
    // A killed runner is followed by its guard, a little later.
    await until(() => (world.pids().some(lives) ? undefined : true))
    assert.strictEqual((await world.start().ended).code, 0)
    assert.deepStrictEqual(runs(world.fixture), [signal === "SIGKILL" ? "crashed" : "interrupted", "done"])
    assert.deepStrictEqual(world.attempts(), ["1 0", "1 0"])
    assertNothingLeft(world, 2)
  })

  it("by one of two runs at once that is killed: the other takes over", async () => {
    const world = setUp()
    const first = world.start()
    await world.begun()
    const second = world.start()
    await until(() => (runs(world.fixture).length === 2 ? true : undefined))
    first.child.kill("SIGKILL")
    const { code, stderr } = await second.ended
    assert.strictEqual(code, 0, stderr)
    const { stdout } = await world.fixture.start(["runs", "--json"]).ended
    const told = JSON.parse(stdout) as ReadonlyArray<{ readonly status: string }>
    assert.deepStrictEqual(
      told.map(({ status }) => status),
      ["done", "crashed"]
    )
    assert.deepStrictEqual(world.attempts(), ["1 0", "1 0"])
    assertNothingLeft(world, 2)
  })

  it("by one of two runs at once that is interrupted: the other is not disturbed", async () => {
    const world = setUp()
    const first = world.start()
    await world.begun()
    const second = world.start()
    await until(() => (runs(world.fixture).length === 2 ? true : undefined))
    second.child.kill("SIGINT")
    assert.strictEqual((await second.ended).code, 130)
    world.release()
    assert.strictEqual((await first.ended).code, 0)
    assert.deepStrictEqual(runs(world.fixture), ["done", "interrupted"])
    assertNothingLeft(world, 1)
  })
})

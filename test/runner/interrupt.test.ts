/** Ctrl-C, in real processes. */
import { assert, describe, it } from "vitest"
import { childrenOf, lives, until } from "./processes.ts"
import { type Fixture, makeFixture } from "./smallFixture.ts"

/** A run in the middle of an action, and the processes of its actions. */
const working = async (fixture: Fixture, line: string) => {
  const { child, ended } = fixture.start(["run", "./pipeline.ts", "--profile", "slow"])
  await until(() => (fixture.notes().includes(`begins ${line}`) ? true : undefined))
  const children = childrenOf(child.pid!)
  assert.isAbove(children.length, 0)
  return { child, ended, children }
}

describe.skipIf(process.platform !== "linux")("Ctrl-C", () => {
  it("once: the actions stop, the run is recorded as interrupted, leases are given back, exit code 130", async () => {
    const fixture = makeFixture(["slow a", "slow b", "slow c"])
    const { child, children, ended } = await working(fixture, "slow a")
    child.kill("SIGINT")
    const { code, signal, stderr } = await ended
    assert.deepStrictEqual({ code, signal }, { code: 130, signal: null }, stderr)
    assert.deepStrictEqual(
      fixture.query<{ status: string }>("SELECT status FROM run").map(run => run.status),
      ["interrupted"]
    )
    assert.deepStrictEqual(fixture.query("SELECT * FROM execution WHERE status = 'running'"), [])
    assert.deepStrictEqual(fixture.query("SELECT * FROM lease"), [])
    await until(() => (children.some(lives) ? undefined : true))
    assert.deepStrictEqual(await fixture.faults(), [])
  })

  it("twice: what does not listen is killed", async () => {
    const fixture = makeFixture(["deaf a"])
    const { child, children, ended } = await working(fixture, "deaf a")
    let told = ""
    child.stderr?.on("data", data => (told += String(data)))
    child.kill("SIGINT")
    // Two signals that come together count as one.
    await until(() => (told.includes("again to kill") ? true : undefined))
    child.kill("SIGINT")
    const { code, signal, stderr } = await ended
    assert.deepStrictEqual({ code, signal }, { code: 130, signal: null }, stderr)
    await until(() => (children.some(lives) ? undefined : true))
    const next = await fixture.run(["--only", "choose"])
    assert.strictEqual(next.code, 0, next.stderr)
  })
})

/** kill -9, in real processes: of the runner at every step of publishing, and of an action's process. */
import { assert, describe, it } from "vitest"
import { runnerFaultPoints } from "../../src/runner/Ports.ts"
import { faultPoints } from "../../src/store/Faults.ts"
import { childrenOf, lives, printsTo, until } from "./processes.ts"
import { type Fixture, makeFixture } from "./smallFixture.ts"

/** The steps of a run: what an action's process does to the store by itself, and what other verbs do, has tests of its own. */
const points = [...faultPoints.filter(point => /^(publish|directory)\./.test(point)), ...runnerFaultPoints]

const undisturbed = async () => {
  const fixture = makeFixture()
  const ended = await fixture.run()
  assert.strictEqual(ended.code, 0, ended.stderr)
  return fixture.results()
}

describe.skipIf(process.platform !== "linux")("kill -9", () => {
  let expected: Readonly<Record<string, string>>

  const killedAt = async (point: string, nth: number, fixture: Fixture) => {
    const killed = await fixture.run([], { PIPELINE_FAULT: `${point}:${nth}` })
    assert.strictEqual(killed.signal, "SIGKILL", `${point}:${nth} was not passed: ${killed.stderr}`)
    assert.deepStrictEqual(await fixture.faults(), [], `${point}:${nth}`)
    const next = await fixture.run()
    assert.strictEqual(next.code, 0, next.stderr)
    assert.deepStrictEqual(await fixture.faults(), [], `after ${point}:${nth}`)
    assert.deepStrictEqual(fixture.results(), expected, `${point}:${nth}`)
    assert.deepStrictEqual(fixture.query("SELECT * FROM lease"), [])
    assert.deepStrictEqual(
      fixture.query<{ status: string }>("SELECT status FROM run ORDER BY id").map(run => run.status),
      ["crashed", "done"]
    )
  }

  it("of the runner at any step of publishing loses nothing but unfinished work", { timeout: 300_000 }, async () => {
    // Paths are no part of keys: another copy of the fixture comes to the same results.
    expected = await undisturbed()
    const cases = points.map((point, i) => [point, 1 + (i % 3)] as const)
    // Two at a time.
    for (let i = 0; i < cases.length; i += 2)
      await Promise.all(cases.slice(i, i + 2).map(([point, nth]) => killedAt(point, nth, makeFixture())))
  })

  it("of the runner ends the processes of its actions, and an item put before is not computed again", async () => {
    const lines = ["a", "b", "slow c", "slow d", "slow e"]
    const fixture = makeFixture(lines)
    const { child, ended } = fixture.start(["run", "./pipeline.ts", "--profile", "slow"])
    const put = await until(() => {
      const items = fixture.notes().filter(note => note.startsWith("item slow"))
      return items.length > 0 ? items : undefined
    })
    const children = childrenOf(child.pid!)
    assert.isAbove(children.length, 0)
    child.kill("SIGKILL")
    await ended
    await until(() => (children.some(lives) ? undefined : true))
    const next = await fixture.run(["--profile", "slow"])
    assert.strictEqual(next.code, 0, next.stderr)
    const items = fixture.notes().filter(note => note.startsWith("item "))
    for (const item of ["item a", "item b", ...put]) assert.notInclude(items, item)
    assert.strictEqual(items.length, lines.length - 2 - put.length)
    assert.deepStrictEqual(await fixture.faults(), [])
  })

  it("of an action's process: tried once more, then a failure that says so", async () => {
    const fixture = makeFixture(["slow a", "slow b"])
    const { child, ended } = fixture.start(["run", "./pipeline.ts", "--profile", "slow"])
    for (let attempt = 1; attempt <= 2; attempt++) {
      await until(() => {
        const rows = fixture.query<{ attempt: number }>(
          "SELECT attempt FROM execution WHERE label = 'split' AND status = 'running'"
        )
        return rows[0]?.attempt === attempt ? true : undefined
      })
      await until(() => (fixture.notes().includes("split") ? true : undefined))
      const victim = childrenOf(child.pid!).find(printsTo("split"))
      process.kill(victim!, "SIGKILL")
    }
    const { code, stderr } = await ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /SIGKILL/)
    assert.match(stderr, /memory/)
    assert.deepStrictEqual(
      fixture
        .query<{ status: string; class: string }>("SELECT status, class FROM execution WHERE label = 'split'")
        .map(row => `${row.status} ${row.class}`),
      ["failed crashed", "failed crashed"]
    )
  })
})

/** Several processes at once on one pipeline and one cache. */
import { assert, describe, it } from "vitest"
import { makeFixture } from "./smallFixture.ts"

const processes = 8

describe("eight processes at once", () => {
  it("compute each key exactly once, and all succeed", { timeout: 120_000 }, async () => {
    const fixture = makeFixture()
    const ended = await Promise.all(Array.from({ length: processes }, () => fixture.run(["--jobs", "2"])))
    for (const { code, stderr } of ended) assert.strictEqual(code, 0, stderr)
    const notes = fixture.notes()
    assert.deepStrictEqual([...notes].sort(), [...new Set(notes)].sort(), "no side effect happened twice")
    const done = fixture.query<{ n: number }>(
      "SELECT count(*) AS n FROM execution WHERE status = 'done' GROUP BY action"
    )
    assert.deepStrictEqual(
      [...done],
      Array.from({ length: Object.keys(fixture.results()).length }, () => ({ n: 1 }))
    )
    assert.deepStrictEqual(fixture.query("SELECT * FROM execution WHERE status <> 'done'"), [])
    assert.deepStrictEqual(fixture.query("SELECT * FROM lease"), [])
    assert.deepStrictEqual(await fixture.faults(), [])
  })

  it("all report a failing stage with its cause, and exit 1", { timeout: 120_000 }, async () => {
    const fixture = makeFixture()
    const ended = await Promise.all(
      Array.from({ length: processes }, () => fixture.run(["--profile", "failing", "--keep-going", "--jobs", "2"]))
    )
    for (const { code, stderr } of ended) {
      assert.strictEqual(code, 1, stderr)
      assert.match(stderr, /shout/)
      assert.strictEqual(stderr.split("it was told to fail").length, 2, `once, with its cause: ${stderr}`)
      assert.match(stderr, /do not tell it to/)
    }
    const others = fixture.notes().filter(note => note !== "shout")
    assert.deepStrictEqual([...others].sort(), [...new Set(others)].sort())
  })
})

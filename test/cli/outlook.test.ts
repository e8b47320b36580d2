import { assert, describe, it } from "vitest"
import { Outlook } from "../../src/cli/terminal/outlook.ts"
import type { RunEvent } from "../../src/runner/Events.ts"

const begun = (nodes: number, reused: number, estimateMs?: number): RunEvent => ({
  type: "run-started",
  run: 1,
  pipeline: "p",
  profile: "q",
  nodes,
  reused,
  toRun: nodes - reused,
  unknown: 0,
  estimateMs
})
const started = (label: string, estimateMs?: number): RunEvent => ({
  type: "started",
  label,
  attempt: 1,
  log: "",
  gpus: [],
  estimateMs
})
const finished = (label: string, ms: number): RunEvent => ({ type: "finished", label, ms, summary: "" })
const reused = (label: string): RunEvent => ({ type: "reused", label, summary: "", by: "cache" })

const after = (...events: ReadonlyArray<readonly [at: number, event: RunEvent]>): Outlook => {
  const outlook = new Outlook()
  for (const [at, event] of events) outlook.add(event, at)
  return outlook
}

describe("the outlook of a run", () => {
  it("counts results that were there, announced or not, and those that came, each once", () => {
    assert.strictEqual(after([0, begun(3, 2)], [0, reused("a")], [0, reused("b")]).done, 2)
    // Of a large plan nobody is told which results were there.
    assert.strictEqual(after([0, begun(1000, 400)], [0, started("a")], [1, finished("a", 1)]).done, 401)
    const again = after(
      [0, begun(2, 0)],
      [0, started("a")],
      [1, finished("a", 1)],
      [2, started("a")],
      [3, finished("a", 1)]
    )
    assert.strictEqual(again.text(3), "1 of 2 done")
  })

  it("tells the time that is left from what was expected, as far as it is not done, one after the other", () => {
    const events = [
      [0, begun(3, 0, 30_000)],
      [0, started("a", 10_000)],
      [12_000, finished("a", 12_000)],
      [12_000, started("b", 10_000)]
    ] as const
    assert.strictEqual(after(...events).left(16_000), 16_000)
    assert.match(after(...events).text(16_000), /^1 of 3 done, about 16 s left$/)
    // What takes longer than it was expected to is not less than nothing.
    assert.strictEqual(after(...events).left(100_000), 10_000)
  })

  it("divides it by how much is done at once", () => {
    const two = after([0, begun(4, 0, 40_000)], [0, started("a", 10_000)], [0, started("b", 10_000)])
    assert.strictEqual(two.left(5000), 15_000)
  })

  it("takes what failed for work that is to be done still", () => {
    const failed: RunEvent = { type: "failed", label: "a", class: "transient", message: "", log: "", attempt: 1 }
    assert.strictEqual(after([0, begun(1, 0, 10_000)], [0, started("a", 10_000)], [5000, failed]).left(5000), 10_000)
  })

  it("promises nothing where something was never executed before", () => {
    assert.isUndefined(after([0, begun(2, 0)]).left(1000))
  })
})

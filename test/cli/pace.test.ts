import { describe, expect, it } from "vitest"
import { progressText } from "../../src/cli/text/eventText.ts"
import { Pace } from "../../src/cli/terminal/pace.ts"

const after = (...marks: ReadonlyArray<readonly [ms: number, done: number, total?: number, unit?: string]>): Pace => {
  const pace = new Pace()
  for (const [ms, done, total, unit = "steps"] of marks) pace.add({ done, total, unit }, ms)
  return pace
}

describe("the pace of an action", () => {
  it("is counted from where it began: a resumed training has done much before", () => {
    const pace = after([60_000, 9001, 10_000], [61_000, 9011, 10_000], [70_000, 9101, 10_000])
    expect(pace.rate).toBe(10)
    // 899 steps at 10 per second.
    expect(pace.left(70_000)).toBe(89_900)
    expect(pace.left(75_000)).toBe(84_900)
    expect(progressText(pace, 70_000)).toBe("9,101/10,000 steps   10/s   1 min 30 s left")
  })

  it("is not known before there is something to measure", () => {
    for (const pace of [after([0, 5, 10]), after([0, 5, 10], [100, 6, 10]), after([0, 5, 10], [9000, 5, 10])]) {
      expect(pace.rate).toBeUndefined()
      expect(pace.left(9000)).toBeUndefined()
    }
    expect(progressText(after([0, 5]), 0)).toBe("5 steps")
  })

  it("begins anew with a new phase", () => {
    const pace = after([0, 0, 1e6, "B"], [10_000, 1e6, 1e6, "B"], [11_000, 10, 100], [13_000, 30, 100])
    expect(pace.rate).toBe(10)
    expect(after([0, 0], [10_000, 100], [11_000, 0], [12_000, 4]).rate).toBe(4)
  })
})

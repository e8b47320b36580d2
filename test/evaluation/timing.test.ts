import { describe, expect, it } from "vitest"
import { quantile, timingOf } from "../../src/evaluation/timing.ts"

describe("figures of timed calls", () => {
  it("quantiles lie on straight lines between the values", () => {
    expect(quantile([1, 2, 3, 4, 5], 0.5)).toBe(3)
    expect(quantile([10, 20], 0.1)).toBe(11)
    expect(quantile([10, 20, 30], 0.9)).toBeCloseTo(28, 12)
    expect(quantile([7], 0.9)).toBe(7)
  })

  it("come from the calls: times per forward pass, tokens per second with and without what follows an end of text", () => {
    const call = { forwardMs: 50, passes: 4, flops: 2e9, tokens: 32, forwards: 8, usefulTokens: 12 }
    const timing = timingOf(
      [
        { ...call, ms: 120 },
        { ...call, ms: 80, usefulTokens: 4 },
        { ...call, ms: 100 }
      ],
      { steps: 4, newTokens: 16, peak: 1e11 }
    )
    expect(timing).toMatchObject({ milliseconds: [80, 100, 120], median: 100, msPerForward: 25, tokensPerForward: 4 })
    expect(timing.tokensPerSecond).toBeCloseTo(320, 9)
    expect(timing.usefulTokensPerSecond).toBeCloseTo(((12 + 4 + 12) / 3) * 10, 9)
    expect(timing.shareOfPeak).toBeCloseTo(2e9 / 0.05 / 1e11, 12)
    expect([timing.p10, timing.p90]).toEqual([expect.closeTo(84, 9), expect.closeTo(116, 9)])
  })
})

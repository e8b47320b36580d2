/** What a training logs of its work. */
import { assert, describe, it } from "vitest"
import { workMeasures } from "../../src/training/measures.ts"

describe("the share of the peak that a training reaches", () => {
  const logged = (reached: number, measured: number) =>
    workMeasures(
      { rows: 1, sequences: 1, tokens: 8 } as Parameters<typeof workMeasures>[0],
      { tokens: 8, labelled: 8, flops: 1 },
      { tokensPerSecond: 1, flopsPerSecond: reached },
      measured
    )

  it("is of the measured peak", () => {
    assert.deepInclude(logged(1e12, 4e12), { "flops_achieved(T)": 1, "flops_promised(T)": 4, mfu: 0.25 })
  })

  it("is never above one: what was reached is possible, whatever a busy machine measured before", () => {
    assert.deepInclude(logged(6e12, 4e12), { "flops_achieved(T)": 6, "flops_promised(T)": 6, mfu: 1 })
  })
})

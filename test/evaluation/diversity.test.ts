import { describe, expect, it } from "vitest"
import { diversity } from "../../src/evaluation/diversity.ts"

describe("diversity", () => {
  it("counts different tokens and pairs over all texts", () => {
    const { distinct1, distinct2 } = diversity([
      [1, 2, 1, 2],
      [1, 3]
    ])
    expect(distinct1).toBe(3 / 6)
    // 12 21 12 | 13
    expect(distinct2).toBe(3 / 4)
  })
  it("tells repetition within a text, not between texts", () => {
    expect(diversity([[1, 2, 3, 4, 1, 2, 3, 4]]).repetition).toBeCloseTo(1 / 5, 12)
    expect(
      diversity([
        [1, 2, 3, 4],
        [1, 2, 3, 4]
      ]).repetition
    ).toBe(0)
    expect(diversity([[7, 7, 7, 7, 7, 7]]).repetition).toBeCloseTo(2 / 3, 12)
  })
  it("gives the entropy of frequencies", () => {
    expect(diversity([[1, 2, 3, 4]]).entropy).toBeCloseTo(Math.log(4), 12)
    expect(
      diversity([
        [5, 5, 5],
        [1, 2]
      ]).entropy
    ).toBeCloseTo(Math.LN2 / 2, 12)
  })
  it("of nothing is 0", () => {
    expect(diversity([])).toEqual({ distinct1: 0, distinct2: 0, repetition: 0, entropy: 0 })
    expect(diversity([[]])).toEqual({ distinct1: 0, distinct2: 0, repetition: 0, entropy: 0 })
  })
})

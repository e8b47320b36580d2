import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { diversity } from "../../src/evaluation/diversity.ts"

describe("diversity", () => {
  it("counts different tokens and pairs of all texts together, and of each what no other has", () => {
    const found = diversity([
      [1, 2, 1, 2],
      [1, 2, 3]
    ])
    expect(found).toMatchObject({ distinctTokens: 3, distinctPairs: 3 })
    expect(found.texts.map(({ ownPairs, ownTokens, pairs }) => [pairs, ownTokens, ownPairs])).toEqual([
      [3, 0, 1],
      [2, 1, 1]
    ])
  })

  it("without a text has what that text alone had less", () => {
    const text = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 8 })
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 6 }), texts => {
        const whole = diversity(texts)
        for (const [i, { ownPairs, ownTokens }] of whole.texts.entries()) {
          const others = diversity(texts.toSpliced(i, 1))
          expect([whole.distinctTokens - ownTokens, whole.distinctPairs - ownPairs]).toEqual([
            others.distinctTokens,
            others.distinctPairs
          ])
        }
      })
    )
  })

  it("finds what a text repeats of itself", () => {
    const repetitions = (...texts: ReadonlyArray<ReadonlyArray<number>>) =>
      diversity(texts).texts.map(({ repetition }) => repetition)
    expect(repetitions([1, 2, 3, 4, 1, 2, 3, 4])[0]).toBeCloseTo(1 / 5, 12)
    expect(repetitions([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])).toEqual([0, 0])
    expect(repetitions([7, 7, 7, 7, 7, 7])[0]).toBeCloseTo(2 / 3, 12)
  })

  it("has the entropy of a text's own frequencies", () => {
    const entropies = diversity([
      [1, 2, 3, 4],
      [5, 5, 5],
      [1, 1, 2, 2]
    ]).texts.map(({ entropy }) => entropy)
    expect(entropies[0]).toBeCloseTo(Math.log(4), 12)
    expect(entropies[1]).toBe(0)
    expect(entropies[2]).toBeCloseTo(Math.log(2), 12)
  })

  it("exists without texts, and of empty ones", () => {
    expect(diversity([])).toEqual({ distinctTokens: 0, distinctPairs: 0, texts: [] })
    expect(diversity([[]]).texts).toEqual([{ pairs: 0, ownTokens: 0, ownPairs: 0, repetition: 0, entropy: 0 }])
  })
})

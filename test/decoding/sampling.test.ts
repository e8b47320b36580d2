import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { sampleToken } from "../../src/decoding/sampling.ts"

const logitsOf = (...p: ReadonlyArray<number>) => p.map(value => Math.log(value))
const logits = fc.array(fc.double({ min: -8, max: 8, noNaN: true }), { minLength: 1, maxLength: 20 })

/** The distribution that many evenly spaced numbers draw from. */
const distribution = (row: ReadonlyArray<number>, options: Parameters<typeof sampleToken>[1], draws = 2000) => {
  const counts = row.map(() => 0)
  for (let i = 0; i < draws; i++) counts[sampleToken(row, options, (i + 0.5) / draws).token]! += 1
  return counts.map(count => count / draws)
}

describe("sampling", () => {
  it("takes the most likely token at temperature 0, the first of equals", () => {
    expect(sampleToken([0, 3, 3, 1], { temperature: 0 }, 0.99).token).toBe(1)
  })

  it("tells the confidences of p = (.7, .2, .1)", () => {
    const { margin, negativeEntropy, probability } = sampleToken(logitsOf(0.7, 0.2, 0.1), { temperature: 0 }, 0)
    expect(probability).toBeCloseTo(0.7, 12)
    expect(margin).toBeCloseTo(0.5, 12)
    expect(negativeEntropy).toBeCloseTo(-0.8018, 4)
  })

  it("keeps the token that crosses topP, and the k likeliest", () => {
    const row = logitsOf(0.7, 0.2, 0.1)
    expect(distribution(row, { temperature: 1, topP: 0.8 })).toEqual([
      expect.closeTo(7 / 9, 2),
      expect.closeTo(2 / 9, 2),
      0
    ])
    expect(distribution(row, { temperature: 1, topK: 1 })).toEqual([1, 0, 0])
    expect(distribution(logitsOf(0.4, 0.2, 0.2, 0.2), { temperature: 1, topK: 2 })[3]).toBeGreaterThan(0.15)
  })

  it("draws with the tempered probabilities", () => {
    const p = distribution(logitsOf(0.5, 0.3, 0.2), { temperature: 0.5 })
    const total = 0.25 + 0.09 + 0.04
    for (const [i, expected] of [0.25, 0.09, 0.04].entries()) expect(p[i]).toBeCloseTo(expected / total, 2)
  })

  it("takes the most likely token where the temperature is next to nothing", () => {
    for (const temperature of [1e-300, 5e-324]) {
      const { probability, token } = sampleToken([1, 3, -Infinity, 2], { temperature, topP: 0.9 }, 0.5)
      expect([token, probability]).toEqual([1, 1])
    }
  })

  it("refuses logits that are no distribution, as damaged weights give them", () => {
    for (const row of [
      [1, NaN],
      [NaN, NaN],
      [Infinity, 1],
      [-Infinity, -Infinity]
    ])
      for (const temperature of [0, 1])
        expect(() => sampleToken(row, { temperature }, 0.5)).toThrow(/the model's logits are not all numbers/)
  })

  it("never draws what has no probability", () => {
    fc.assert(
      fc.property(logits, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (row, uniform) => {
        const masked = [...row, -Infinity]
        for (const temperature of [0, 0.7, 5]) {
          const { probability, token } = sampleToken(masked, { temperature, topP: 0.9, topK: 5 }, uniform)
          expect(token).toBeLessThan(row.length)
          expect(probability).toBeGreaterThan(0)
          expect(probability).toBeLessThanOrEqual(1 + 1e-12)
        }
      }),
      { seed: 4 }
    )
  })
})

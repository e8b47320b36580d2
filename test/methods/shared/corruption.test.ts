import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  complemented,
  corrupt,
  corruptForBound,
  corruptionKey,
  maskSchedule,
  ratioLimits
} from "../../../src/methods/shared/masks/corruption.ts"

const all = { low: 0.002, high: 0.998 }
const settings = { mdmMinMaskRatio: 0.002, mdmMaxMaskRatio: 0.998, mdmCurriculumSteps: 100 }

describe("corruption", () => {
  it("masks a share of t on average: first tokens and last tokens as well", () => {
    const n = 200
    const maskable = new Uint8Array(n).fill(1)
    const counts = new Float64Array(n)
    let deviation = 0
    let sum = 0
    const draws = 4000
    for (let example = 0; example < draws; example++) {
      const { masked, ratio } = corrupt(maskable, all, corruptionKey(1, 0, example))
      sum += ratio
      deviation += masked.reduce((total, bit) => total + bit, 0) / n - ratio
      for (const [i, bit] of masked.entries()) counts[i]! += bit
    }
    expect(Math.abs(sum / draws - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / draws))
    // Var of a share is at most 1/6n on average over t.
    expect(Math.abs(deviation / draws)).toBeLessThan(4 * Math.sqrt(1 / (6 * n) / draws))
    for (const count of [counts[0]!, counts[n - 1]!, counts[77]!])
      expect(Math.abs(count / draws - 0.5)).toBeLessThan(4 * Math.sqrt(0.25 / draws))
  })

  it("never masks what may not be masked, and always something that can be predicted", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ min: 0, max: 1, minLength: 1, maxLength: 40 }),
        fc.nat(),
        fc.double({ min: 0.002, max: 0.998, noNaN: true }),
        (maskable, example, low) => {
          const { masked, ratio } = corrupt(maskable, { low, high: 0.998 }, corruptionKey(7, 3, example))
          expect(ratio).toBeGreaterThanOrEqual(low)
          expect(ratio).toBeLessThanOrEqual(0.998)
          for (const [i, bit] of masked.entries()) if (bit === 1) expect(maskable[i]).toBe(1)
          const predictable = maskable.some((bit, i) => i > 0 && bit === 1)
          expect(masked.some((bit, i) => i > 0 && bit === 1)).toBe(predictable)
          if (!predictable) expect(masked.every(bit => bit === 0)).toBe(true)
        }
      )
    )
  })

  it("depends on seed, step and example alone", () => {
    const maskable = new Uint8Array(64).fill(1)
    const draw = (seed: number, step: number, example: number) =>
      corrupt(maskable, all, corruptionKey(seed, step, example)).masked.join("")
    expect(draw(1, 2, 3)).toBe(draw(1, 2, 3))
    expect(new Set([draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)]).size).toBe(4)
  })

  it("widens the limits over the curriculum", () => {
    expect(ratioLimits(settings, 0)).toEqual({ low: 0.15, high: 0.85 })
    const half = ratioLimits(settings, 50)
    expect(half.low).toBeCloseTo(0.076, 12)
    expect(half.high).toBeCloseTo(0.924, 12)
    for (const step of [100, 1000]) expect(ratioLimits(settings, step)).toEqual({ low: 0.002, high: 0.998 })
    expect(ratioLimits({ ...settings, mdmCurriculumSteps: 0 }, 0)).toEqual({ low: 0.002, high: 0.998 })
  })

  it("for a bound masks so that weights and masks together count every token once, on average", () => {
    const n = 10
    const maskable = new Uint8Array(n).fill(1)
    for (const scheduler of ["linear", "cosine"] as const) {
      const draws = 5000
      const [sums, shares] = [new Float64Array(draws), new Float64Array(draws)]
      for (let example = 0; example < draws; example++) {
        const { masked, weight } = corruptForBound(maskable, scheduler, corruptionKey(4, 0, example))
        shares[example] = masked.reduce((sum, bit) => sum + bit, 0) / n
        sums[example] = weight * shares[example]!
      }
      const mean = (of: Float64Array) => of.reduce((sum, x) => sum + x, 0) / draws
      const error = (of: Float64Array) => {
        const centre = mean(of)
        return Math.sqrt(of.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (draws - 1) / draws)
      }
      // The integral of -alpha' from 0 to 1, less what lies below t = 0.001.
      expect(Math.abs(mean(sums) - 1)).toBeLessThan(4 * error(sums) + 2e-3)
      // The mean of 1 - alpha: of cos(pi (1 - t) / 2) it is 2 / pi.
      expect(Math.abs(mean(shares) - (scheduler === "linear" ? 0.5 : 2 / Math.PI))).toBeLessThan(
        4 * error(shares) + 1e-3
      )
    }
    expect(maskSchedule("linear", 0.25)).toEqual({ ratio: 0.25, weight: 1 / (0.25 + 1e-6) })
    expect(maskSchedule("cosine", 1).ratio).toBe(1)
    expect(maskSchedule("cosine", 1).weight).toBe(0)
  })

  it("has a complement that masks what else may be masked, and nothing that may not", () => {
    fc.assert(
      fc.property(fc.uint8Array({ min: 0, max: 1, minLength: 2, maxLength: 40 }), fc.nat(), (maskable, example) => {
        const drawn = corrupt(maskable, all, corruptionKey(9, 0, example))
        const { labelled, masked, ratio } = complemented(drawn)
        for (const [i, bit] of masked.entries()) expect(bit + drawn.masked[i]!).toBe(maskable[i])
        expect(labelled).toEqual(masked)
        const count = maskable.reduce((sum, bit) => sum + bit, 0)
        expect(ratio * count).toBeCloseTo(
          masked.reduce((sum, bit) => sum + bit, 0),
          9
        )
      })
    )
  })
})

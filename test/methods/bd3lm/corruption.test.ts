import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { blockMasking, type BlockCorruption, corruptBlocks } from "../../../src/methods/bd3lm/corruption.ts"
import { corruptForBound, corruptionKey } from "../../../src/methods/shared/masks/corruption.ts"
import { randomKey } from "../../../src/tensor/random.ts"

const settings = (changes: Partial<BlockCorruption> = {}): BlockCorruption => ({
  attentionBlockSize: 4,
  samplingEpsMin: 1e-3,
  samplingEpsMax: 1,
  mdmLoss: "elbo",
  alphaScheduler: "linear",
  ...changes
})
const keys = (seed: number) => ({ tokens: randomKey(seed, "tokens"), order: randomKey(seed, "order") })
const ones = (n: number) => new Uint8Array(n).fill(1)

describe("masks of block diffusion", () => {
  it("of one block are those of a sequence, for the same loss and seed: masks, times and weights", () => {
    for (const alphaScheduler of ["linear", "cosine"] as const)
      for (let example = 0; example < 50; example++) {
        const lossMask = Uint8Array.from({ length: 1 + (example % 13) }, (_, i) => Number(i >= example % 4))
        const given = settings({ attentionBlockSize: 64, alphaScheduler })
        const { each, ...found } = blockMasking([{ lossMask }], given, 7)(0, example)
        const expected = corruptForBound(lossMask, alphaScheduler, corruptionKey(7, example, 0))
        expect(found.masked).toEqual(expected.masked)
        for (const [i, flag] of lossMask.entries()) {
          if (flag === 0) continue
          expect(each!.ratios[i]).toBe(expected.ratio)
          expect(each!.weights[i]).toBe(expected.weight)
          expect(found.ratio).toBeCloseTo(expected.ratio, 12)
        }
      }
  })

  it("have one time for each block that has tokens to learn, spread evenly, each uniform", () => {
    const maskable = Uint8Array.from({ length: 22 }, (_, i) => Number(i >= 6))
    const given = settings({ samplingEpsMin: 0.25, samplingEpsMax: 0.75 })
    const seeds = 4000
    // Blocks 0 has none, 1 has two tokens; 5 ends after two.
    const blocks = [1, 2, 3, 4, 5]
    const sums = blocks.map(() => ({ mean: 0, square: 0 }))
    for (let seed = 0; seed < seeds; seed++) {
      const { each, masked } = corruptBlocks(maskable, given, keys(seed))
      expect([...masked.subarray(0, 6)]).toEqual([0, 0, 0, 0, 0, 0])
      const times = blocks.map(block => {
        const own = new Set(Array.from(each!.ratios).slice(4 * block, 4 * block + 4))
        expect(own.size).toBe(1)
        return [...own][0]!
      })
      const sorted = times.toSorted((a, b) => a - b)
      for (const [i, time] of sorted.entries()) {
        expect(time).toBeGreaterThanOrEqual(0.25)
        expect(time).toBeLessThan(0.75)
        if (i > 0) expect(time - sorted[i - 1]!).toBeCloseTo(0.5 / blocks.length, 9)
      }
      for (const [b, time] of times.entries()) {
        sums[b]!.mean += time / seeds
        sums[b]!.square += time ** 2 / seeds
      }
    }
    for (const { mean, square } of sums) {
      expect(Math.abs(mean - 0.5)).toBeLessThan((4.5 * 0.5) / Math.sqrt(12 * seeds))
      expect(square - mean ** 2).toBeCloseTo(0.25 / 12, 3)
    }
  })

  it("mask each token with the probability of its block's time, and weigh it by that time", () => {
    let [expected, found, variance] = [0, 0, 0]
    for (let seed = 0; seed < 4000; seed++) {
      const { each, masked } = corruptBlocks(ones(12), settings(), keys(seed))
      for (const [i, bit] of masked.entries()) {
        const ratio = each!.ratios[i]!
        found += bit
        expected += ratio
        variance += ratio * (1 - ratio)
        expect(each!.weights[i]! * ratio).toBeCloseTo(1, 2)
      }
    }
    expect(Math.abs(found - expected)).toBeLessThan(4.5 * Math.sqrt(variance))
  })

  it("of the simple loss always leave something to learn where anything can be, and weigh 1", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer(),
        (maskable, attentionBlockSize, seed) => {
          const given = settings({ attentionBlockSize, mdmLoss: "simple" })
          const { each, masked, weight } = corruptBlocks(maskable, given, keys(seed))
          const learnable = maskable.some((flag, i) => i > 0 && flag === 1)
          expect(masked.some((bit, i) => i > 0 && bit === 1)).toBe(learnable)
          for (const [i, bit] of masked.entries()) {
            expect(bit === 1 && maskable[i] === 0).toBe(false)
            if (bit === 1) expect(each!.weights[i]).toBe(1)
          }
          expect(weight).toBe(1)
        }
      )
    )
  })
})

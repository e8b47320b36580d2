import { Schema } from "effect"
import { describe, expect, it } from "vitest"
import { LearningRate, layerwiseFactor, learningRate } from "../../src/training/schedule.ts"

const settings = (changes: Partial<typeof LearningRate.Encoded>): LearningRate =>
  Schema.decodeUnknownSync(LearningRate)({ lr: 1e-4, ...changes })

describe("learning rate", () => {
  it("follows a cosine from the end of the warm-up to its floor", () => {
    const cosine = settings({ lrMin: 1e-6, lrWarmupRatio: 0.01, lrDecayStyle: "cosine" })
    const at = (step: number) => learningRate(cosine, step, 100)
    expect(at(0)).toBe(0)
    expect(at(1)).toBeCloseTo(1e-4, 18)
    expect(at(100)).toBeCloseTo(1e-6, 18)
    expect(at(50.5)).toBeCloseTo((1e-4 + 1e-6) / 2, 12)
  })

  it("stays at the floor once a shorter cosine has ended", () => {
    const short = settings({ lrMin: 1e-6, lrDecayRatio: 0.5, lrDecayStyle: "cosine" })
    for (const step of [50, 51, 99]) expect(learningRate(short, step, 100)).toBeCloseTo(1e-6, 18)
  })

  it("rises from its start, and stays or falls linearly", () => {
    const warm = { lrStart: 2e-5, lrWarmupRatio: 0.1 }
    expect(learningRate(settings(warm), 0, 100)).toBe(2e-5)
    expect(learningRate(settings(warm), 5, 100)).toBeCloseTo(6e-5, 12)
    expect(learningRate(settings(warm), 60, 100)).toBe(1e-4)
    const linear = settings({ ...warm, lrDecayStyle: "linear", lrMin: 1e-5 })
    expect(learningRate(linear, 55, 100)).toBeCloseTo(5e-5, 12)
    expect(learningRate(linear, 99, 100)).toBeCloseTo(1e-5, 12)
  })

  it("is refused where it makes no sense", () => {
    expect(() => settings({ lr: -1 })).toThrow()
    expect(() => settings({ lrWarmupRatio: 2 })).toThrow()
  })
})

describe("layer-wise decay", () => {
  it("grows from the embeddings to the head", () => {
    const factors = (["embedding", 0, 1, 2, "head"] as const).map(layer => layerwiseFactor(0.25, layer, 3))
    expect(factors).toEqual([0.25, 0.25, 0.5, 1, 1])
    expect(layerwiseFactor(0, 1, 3)).toBe(1)
  })
})

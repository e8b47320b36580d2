/** Representation alignment: the loss, its draws, and its place in training. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { layerWeights, samplePositions, sampleWeights } from "../../../src/methods/shared/alignment/sampling.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { randomKey } from "../../../src/tensor/random.ts"
import { alignedLayers, alignmentWeight } from "../../../src/methods/shared/alignment/settings.ts"
import { byHand, config, stepOf, teacher } from "../../support/alignedTraining.ts"

describe("alignment", () => {
  it.live("is 1 minus the mean cosine of student and teacher, on the layers and positions that are named", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const plain = yield* stepOf(engine, undefined)
        for (const reprAlignPositions of ["loss_columns", "unmasked", "all"] as const)
          for (const alignLayers of [[3], [0, 2], undefined]) {
            const layers = alignLayers ?? [1, 2, 3]
            const settings = { reprAlignPositions, ...(alignLayers === undefined ? {} : { alignLayers }) }
            const { outcomes } = yield* stepOf(engine, teacher({ ...settings, reprAlignWt: 2 }))
            const expected = byHand(layers, reprAlignPositions)
            for (const layer of layers)
              expect(outcomes[0]!.report[`repr_align/cosine_layer_${layer}`]).toBeCloseTo(
                1 - byHand([layer], reprAlignPositions),
                5
              )
            expect(outcomes[0]!.report["repr_align/loss_share"]).toBeCloseTo(
              (2 * expected) / outcomes[0]!.losses["loss"]!,
              5
            )
            expect(outcomes[0]!.losses["repr_align"]).toBeCloseTo(expected, 5)
            expect(outcomes[0]!.losses["loss"]).toBeCloseTo(plain.outcomes[0]!.losses["loss"]! + 2 * expected, 5)
          }
      })
    )
  )

  it.live("is scaled by min-SNR like the losses beside it, and says so", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const settings = { reprAlignWt: 3, subgoalAlignWt: 2 }
        const plain = (yield* stepOf(engine, teacher(settings))).outcomes[0]!
        const scaled = (yield* stepOf(engine, teacher(settings), 2, 0, 1, { minSnrGamma: 0.25 })).outcomes[0]!
        expect(scaled.losses["loss"]).toBeCloseTo(plain.losses["loss"]! / 4, 5)
        expect(scaled.losses["repr_align"]).toBeCloseTo(plain.losses["repr_align"]!, 6)
        expect(scaled.losses["subgoal"]).toBeCloseTo(plain.losses["subgoal"]!, 6)
        expect(plain.report["repr_align/wt_effective"]).toBeCloseTo(3, 6)
        expect(scaled.report["repr_align/wt_effective"]).toBeCloseTo(0.75, 6)
      })
    )
  )

  it.live("reads the same states where layers are computed again in the backward pass", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        for (const aligned of [teacher({ subgoalAlignWt: 1 }), { ...teacher({}), states: undefined }]) {
          const { states, ...live } = aligned
          const given = states === undefined ? live : { ...live, states }
          const kept = (yield* stepOf(engine, given, 2, 0, 1)).outcomes[0]!
          const again = (yield* stepOf(engine, given, 2, 0, 1, {}, true)).outcomes[0]!
          expect(again.losses["loss"]).toBeCloseTo(kept.losses["loss"]!, 5)
          expect(again.losses["repr_align"]).toBeCloseTo(kept.losses["repr_align"]!, 6)
          expect(again.gradientNorm).toBeCloseTo(kept.gradientNorm, 5)
        }
      })
    )
  )

  it.live("logs the cosines of the layers that a step drew", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const { outcomes } = yield* stepOf(engine, teacher({ reprAlignNumSampleLayers: 1 }), 2, 0, 6)
        const logged = outcomes.map(({ report }) =>
          Object.keys(report).filter(name => name.startsWith("repr_align/cosine_layer_"))
        )
        for (const [step, names] of logged.entries()) {
          expect(names).toHaveLength(1)
          const layer = Number(names[0]!.split("_").at(-1))
          expect(outcomes[step]!.losses["repr_align"]).toBeCloseTo(byHand([layer], "loss_columns", step), 5)
        }
        expect(new Set(logged.flat()).size).toBeGreaterThan(1)
      })
    )
  )

  it.live("does not depend on how a step is cut into micro-batches", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const whole = yield* stepOf(engine, teacher({}))
        const cut = yield* stepOf(engine, teacher({}), 1)
        expect(cut.outcomes[0]!.losses["repr_align"]).toBeCloseTo(whole.outcomes[0]!.losses["repr_align"]!, 5)
        expect(cut.outcomes[0]!.gradientNorm).toBeCloseTo(whole.outcomes[0]!.gradientNorm, 4)
      })
    )
  )

  it.live(
    "with weight 0 gives the weights of a training without a teacher, bit by bit; with another weight it does not",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* makeOrt({ threads: 1 })
          const plain = yield* stepOf(engine, undefined, 2, 0.01)
          const none = yield* stepOf(engine, teacher({ reprAlignWt: 0, replayBufferCapacity: 60 }), 2, 0.01)
          expect(none.parameters).toEqual(plain.parameters)
          const some = yield* stepOf(engine, teacher({}), 2, 0.01)
          expect(some.parameters).not.toEqual(plain.parameters)
        })
      )
  )

  it.live("brings the student closer to its teacher than training without does", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const last = (reprAlignWt: number) =>
          Effect.map(stepOf(engine, teacher({ reprAlignWt, reprAlignPositions: "all" }), 2, 0.01, 60), ({ outcomes }) =>
            outcomes.slice(-5).reduce((sum, { losses }) => sum + losses["repr_align"]! / 5, 0)
          )
        expect(yield* last(10)).toBeLessThan(0.7 * (yield* last(1e-6)))
      })
    )
  )

  it("changes its weight along a cosine, and by default not at all", () => {
    const { settings } = teacher({ reprAlignWt: 10 })
    expect([0, 5, 9].map(step => alignmentWeight(settings, step, 10))).toEqual([10, 10, 10])
    const falling = teacher({ reprAlignWt: 10, reprAlignWtFinal: 1 }).settings
    expect(alignmentWeight(falling, 0, 10)).toBe(10)
    expect(alignmentWeight(falling, 5, 10)).toBeCloseTo(5.5, 12)
    expect(alignmentWeight(falling, 10, 10)).toBeCloseTo(1, 12)
    const off = teacher({ reprAlignWt: 0, reprAlignWtFinal: 1, subgoalAlignWt: 1 }).settings
    expect([0, 5, 10].map(step => alignmentWeight(off, step, 10))).toEqual([0, 0, 0])
  })

  it("refuses layers that the model does not have", () => {
    expect(() => alignedLayers(teacher({ alignLayers: [1, 4] }).settings, config)).toThrow(
      "there is no layer 4 to align; the model has layers 1 to 3"
    )
    expect(() => teacher({ alignLayers: [-1] })).toThrow()
    expect(() => alignedLayers(teacher({ alignLayers: [1, 1] }).settings, config)).toThrow(
      "layer 1 is to be aligned twice"
    )
  })
})

describe("what a step aligns", () => {
  it("has each layer's own weight on average, whatever the weights (10,000 draws)", () => {
    for (const exponent of [0, 2]) {
      const weights = layerWeights([0, 1, 2, 3, 4], { deepest: 4, exponent })
      expect(weights.reduce((sum, x) => sum + x, 0)).toBeCloseTo(1, 12)
      expect(weights[4]! / weights[0]!).toBeCloseTo(Math.exp(exponent), 10)
      const sums = weights.map(() => 0)
      const draws = 10_000
      for (let step = 0; step < draws; step++) {
        const drawn = sampleWeights(weights, 2, randomKey(1, "draw", step))
        expect(drawn.filter(x => x > 0)).toHaveLength(2)
        for (const [i, x] of drawn.entries()) sums[i]! += x
      }
      for (const [i, w] of weights.entries()) {
        const deviation = w * Math.sqrt((5 / 2 - 1) / draws)
        expect(Math.abs(sums[i]! / draws - w)).toBeLessThan(4 * deviation)
      }
    }
  })

  it("weighs layers as the published vector says", () => {
    const weights = layerWeights([16, 32, 48, 64], { deepest: 64, exponent: 2 })
    for (const [i, expected] of [0.1015, 0.1674, 0.276, 0.4551].entries()) expect(weights[i]).toBeCloseTo(expected, 4)
  })

  it("draws positions without replacement, at least one of some, none of none", () => {
    const positions = Array.from({ length: 20 }, (_, i) => 3 * i)
    const counts = new Map<number, number>()
    for (let step = 0; step < 4000; step++) {
      const drawn = samplePositions(positions, 0.25, randomKey(2, "draw", step))
      expect(new Set(drawn).size).toBe(5)
      for (const place of drawn) counts.set(place, (counts.get(place) ?? 0) + 1)
    }
    for (const place of positions) expect(Math.abs(counts.get(place)! / 4000 - 0.25)).toBeLessThan(0.03)
    expect(samplePositions([7, 9], 0.01, randomKey(1, "x"))).toHaveLength(1)
    expect(samplePositions([], 0.5, randomKey(1, "x"))).toEqual([])
    expect(samplePositions(positions, 1, randomKey(1, "x"))).toBe(positions)
  })
})

/** Replay: what is chosen, and that it is learnt. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { initialise } from "../../../src/models/parameters.ts"
import { diffusionObjective, DiffusionSettings } from "../../../src/methods/shared/masks/objective.ts"
import { replayed, ReplaySettings } from "../../../src/methods/shared/alignment/replay.ts"
import { allocateTraining, makeTrainer } from "../../../src/training/trainer.ts"
import { byHand, config, data, specs, stepOf, teacher } from "../../support/alignedTraining.ts"

const settings = (changes: Partial<typeof ReplaySettings.Encoded>): ReplaySettings =>
  Schema.decodeUnknownSync(ReplaySettings)(changes)

describe("what is replayed", () => {
  it("is one of the newest micro-batches, each as likely, once enough of them were seen", () => {
    const given = settings({ replayBufferCapacity: 6, replayWarmupSteps: 5, replayProb: 0.5 })
    const [steps, perStep] = [3000, 2]
    const ages = new Map<number, number>()
    let count = 0
    for (let step = 0; step < steps; step++)
      for (const place of replayed(given, 7, step, perStep)) {
        count++
        const age = (step - place.step) * perStep - place.microBatch
        ages.set(age, (ages.get(age) ?? 0) + 1)
        expect(place.step).toBeLessThanOrEqual(step)
        expect(step).toBeGreaterThanOrEqual(2)
      }
    // Of 2 x 3000 micro-batches, half.
    expect(Math.abs(count / (2 * steps) - 0.5)).toBeLessThan(4 * Math.sqrt(0.25 / (2 * steps)) + 1e-3)
    // Six may be chosen when the first of a step is pushed, ages 0 to 5; when the second is, ages -1 to 4.
    expect([...ages.keys()].sort((a, b) => a - b)).toEqual([-1, 0, 1, 2, 3, 4, 5])
    for (const age of [0, 1, 2, 3, 4])
      expect(Math.abs(ages.get(age)! / count - 1 / 6)).toBeLessThan(4 * Math.sqrt(5 / 36 / count))
    for (const age of [-1, 5])
      expect(Math.abs(ages.get(age)! / count - 1 / 12)).toBeLessThan(4 * Math.sqrt(11 / 144 / count))
  })

  it("depends on seed and step alone, and is nothing without a buffer", () => {
    const given = settings({ replayBufferCapacity: 100, replayWarmupSteps: 0 })
    expect(replayed(given, 1, 80, 3)).toEqual(replayed(given, 1, 80, 3))
    const all = (seed: number) => Array.from({ length: 50 }, (_, step) => replayed(given, seed, step, 1))
    expect(all(1)).not.toEqual(all(2))
    expect(replayed(settings({ replayWarmupSteps: 0 }), 1, 80, 3)).toEqual([])
  })
})

const often = { replayBufferCapacity: 2, replayWarmupSteps: 1, replayProb: 1, replayWeight: 0.4 }

describe("replay in a training", () => {
  it.live("adds the alignment of the earlier micro-batch, and nothing else of it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const plain = yield* stepOf(engine, teacher({}), 2, 0, 4)
        const again = yield* stepOf(engine, teacher(often), 2, 0, 4)
        const earlier = new Set<number>()
        for (const [step, { losses, microBatches, report }] of again.outcomes.entries()) {
          const [place] = replayed(teacher(often).settings, 6, step, 1)
          earlier.add(step - place!.step)
          const expected = byHand([1, 2, 3], "loss_columns", place!.step)
          expect(report["losses/replay"]).toBeCloseTo(expected, 5)
          const without = plain.outcomes[step]!
          for (const part of ["mdm", "path", "repr_align"]) expect(losses[part]).toBeCloseTo(without.losses[part]!, 6)
          expect(losses["loss"]).toBeCloseTo(without.losses["loss"]! + 0.4 * expected, 5)
          expect(report["repr_align/cosine_layer_2"]).toBeCloseTo(without.report["repr_align/cosine_layer_2"]!, 6)
          expect(report["repr_align/wt_effective"]).toBe(1)
          expect(microBatches.map(({ tokens }) => tokens)).toEqual([without.microBatches[0]!.tokens, 0])
          expect(without.report["losses/replay"]).toBeUndefined()
        }
        expect([...earlier].sort()).toEqual([0, 1])
      })
    )
  )

  it.live("has a real gradient", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const aligned = teacher({ ...often, reprAlignWt: 1e-6, replayWeight: 100 })
        // The gradient of the path loss is not that of its value.
        const objective = diffusionObjective(
          config,
          Schema.decodeUnknownSync(DiffusionSettings)({ pathWeight: 0 }),
          data(),
          aligned
        )
        const buffers = yield* allocateTraining(engine, specs, [])
        yield* initialise(engine, buffers.parameters, 5)
        const trainer = yield* makeTrainer(engine, objective, buffers, {
          optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
          groups: [],
          maxGradNorm: 0,
          checkpointLayers: false
        })
        const microBatches = yield* objective.microBatches(3)
        const run = Effect.suspend(() => trainer.step(microBatches, { lr: 0, update: 1 }))
        const { gradientNorm, losses } = yield* run
        expect((100 * losses["replay"]!) / losses["loss"]!).toBeGreaterThan(0.9)
        const gradient = (yield* engine.download(buffers.gradients.flat)) as Float32Array<ArrayBuffer>
        const start = (yield* engine.download(buffers.parameters.flat)) as Float32Array<ArrayBuffer>
        const moved = (by: number) =>
          Effect.gen(function* () {
            yield* engine.upload(
              buffers.parameters.flat,
              start.map((x, i) => x + (by * gradient[i]!) / gradientNorm)
            )
            return (yield* run).losses["loss"]!
          })
        const slope = ((yield* moved(0.01)) - (yield* moved(-0.01))) / 0.02
        expect(Math.abs(slope / gradientNorm - 1)).toBeLessThan(0.02)
      })
    )
  )
})

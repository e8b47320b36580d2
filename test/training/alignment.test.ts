/** Representation alignment: the loss, its draws, and its place in training. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../src/data/epochs.ts"
import { layerWeights, samplePositions, sampleWeights } from "../../src/diffusion/alignmentSampling.ts"
import { randomMasking } from "../../src/diffusion/corruption.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise, initialValues } from "../../src/models/parameters.ts"
import { randomKey } from "../../src/tensor/random.ts"
import type { Teacher } from "../../src/training/objectives/alignment.ts"
import { alignedLayers, alignmentWeight, AlignmentSettings } from "../../src/training/objectives/alignmentSettings.ts"
import { diffusionObjective, DiffusionSettings } from "../../src/training/objectives/diffusion.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"

const config = modelConfig({ vocabSize: 20, layers: 3 })
const mask = 19
const specs = parameterSpecs(config)
const values = new Map(specs.map(spec => [spec.name, initialValues(spec, 5)]))
const weight = (name: string) => values.get(name)!
const sequences = [
  [3, 1, 4, 1, 5],
  [9, 2, 6],
  [5, 3, 5, 8, 9, 7, 9]
].map(ids => Int32Array.from(ids))
const length = 9
const masking = randomMasking(
  sequences.map(ids => ({ lossMask: new Uint8Array(ids.length).fill(1) })),
  Schema.decodeUnknownSync(DiffusionSettings)({}),
  8
)
const epochs = makeEpochs(
  sequences.map(ids => ids.length),
  { seed: 1, capacity: length, rowsPerStep: 2 }
)

/** The teacher: the same weights, causal, clean. Float64. */
const teacherStates = sequences.map(ids => bruteForward(config, weight, [...ids], true).states)
const teacher = (settings: Partial<typeof AlignmentSettings.Encoded>): Teacher => ({
  settings: Schema.decodeUnknownSync(AlignmentSettings)({ reprAlignWt: 1, ...settings }),
  steps: 10,
  seed: 6,
  states: (example, layer) => Float32Array.from(teacherStates[example]![layer]!.flat())
})

const stepOf = (engine: Engine, aligned: Teacher | undefined, microBatchRows = 2, lr = 0, steps = 2) =>
  Effect.gen(function* () {
    const buffers = yield* allocateTraining(engine, specs, [])
    yield* initialise(engine, buffers.parameters, 5)
    const objective = diffusionObjective(
      config,
      Schema.decodeUnknownSync(DiffusionSettings)({}),
      { sequences, epochs, microBatchRows, length, pad: 0, mask, masking, averaging: "tokens" },
      aligned
    )
    const trainer = yield* makeTrainer(engine, objective, buffers, {
      optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
      groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
      maxGradNorm: 0,
      checkpointLayers: false
    })
    const outcomes = []
    for (let step = 0; step < steps; step++)
      outcomes.push(yield* trainer.step(yield* objective.microBatches(step), { lr, update: step + 1 }))
    return { outcomes, parameters: (yield* engine.download(buffers.parameters.flat)) as Float32Array }
  })

/** Mean distance 1 - cosine of some layers over the positions that a rule names, from the equations. */
const byHand = (layers: ReadonlyArray<number>, positions: "loss_columns" | "unmasked" | "all", step = 0): number => {
  const distances: Array<number> = []
  for (const example of epochs.rows(step).flat()) {
    const { masked } = masking(example, step)
    const ids = [...sequences[example]!].map((id, i) => (masked[i] === 1 ? mask : id))
    const { states } = bruteForward(config, weight, ids, false)
    for (const [i] of ids.entries()) {
      const wanted = { loss_columns: masked[i + 1] === 1, unmasked: masked[i] === 0, all: true }[positions]
      if (!wanted) continue
      for (const layer of layers) {
        const [a, b] = [states[layer]![i]!, teacherStates[example]![layer]![i]!]
        const dot = a.reduce((sum, x, j) => sum + x * b[j]!, 0)
        distances.push(1 - dot / (Math.hypot(...a) * Math.hypot(...b)))
      }
    }
  }
  return distances.reduce((sum, x) => sum + x, 0) / distances.length
}

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
            expect(outcomes[0]!.losses["repr_align"]).toBeCloseTo(expected, 5)
            expect(outcomes[0]!.losses["loss"]).toBeCloseTo(plain.outcomes[0]!.losses["loss"]! + 2 * expected, 5)
          }
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
          const none = yield* stepOf(engine, teacher({ reprAlignWt: 0 }), 2, 0.01)
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
    const falling = teacher({ reprAlignWt: 10, reprAlignWtFinal: 2 }).settings
    expect(alignmentWeight(falling, 0, 10)).toBe(10)
    expect(alignmentWeight(falling, 5, 10)).toBeCloseTo(6, 12)
    expect(alignmentWeight(falling, 10, 10)).toBeCloseTo(2, 12)
  })

  it("refuses layers that the model does not have", () => {
    expect(() => alignedLayers(teacher({ alignLayers: [1, 4] }).settings, config)).toThrow(
      "alignLayers names layer 4; the model has layers 1 to 3"
    )
    expect(() => teacher({ alignLayers: [-1] })).toThrow()
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

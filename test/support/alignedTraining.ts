/** Steps of a small training that is aligned with a teacher, and the same from the equations. */
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { randomMasking } from "../../src/methods/shared/masks/corruption.ts"
import type { Buffer, Engine } from "../../src/engines/Engine.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise, initialValues } from "../../src/models/parameters.ts"
import type { Teacher } from "../../src/methods/shared/alignment/aligning.ts"
import { AlignmentSettings } from "../../src/methods/shared/alignment/settings.ts"
import { type DiffusionData } from "../../src/methods/shared/masks/corruptedRows.ts"
import { diffusionObjective, DiffusionSettings } from "../../src/methods/shared/masks/objective.ts"
import { teacherBuffers } from "../../src/methods/shared/alignment/teacher.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "./tinyModel.ts"

export const config = modelConfig({ vocabSize: 20, layers: 3 })
export const mask = 19
export const specs = parameterSpecs(config)
const values = new Map(specs.map(spec => [spec.name, initialValues(spec, 5)]))
export const weight = (name: string) => values.get(name)!
export const sequences = [
  [3, 1, 4, 1, 5],
  [9, 2, 6],
  [5, 3, 5, 8, 9, 7, 9]
].map(ids => Int32Array.from(ids))
const length = 9
export const masking = randomMasking(
  sequences.map(ids => ({ lossMask: new Uint8Array(ids.length).fill(1) })),
  Schema.decodeUnknownSync(DiffusionSettings)({}),
  8
)
export const epochs = makeEpochs(
  sequences.map(ids => ids.length),
  { seed: 1, capacity: length, rowsPerStep: 2 }
)

/** The teacher: the same weights, causal, clean. Float64. */
export const teacherStates = sequences.map(ids => bruteForward(config, weight, [...ids], true).states)
export const teacher = (settings: Partial<typeof AlignmentSettings.Encoded>): Teacher => ({
  settings: Schema.decodeUnknownSync(AlignmentSettings)({ reprAlignWt: 1, ...settings }),
  steps: 10,
  seed: 6,
  states: (example, layer) => Float32Array.from(teacherStates[example]![layer]!.flat())
})

export const data = (microBatchRows = 2): DiffusionData => ({
  sequences,
  epochs,
  microBatchRows,
  length,
  pad: 0,
  mask,
  masking,
  averaging: "tokens"
})

export const stepOf = (
  engine: Engine,
  aligned: Teacher | undefined,
  microBatchRows = 2,
  lr = 0,
  steps = 2,
  changes: Partial<typeof DiffusionSettings.Encoded> = {},
  checkpointLayers = false
) =>
  Effect.gen(function* () {
    const objective = diffusionObjective(
      config,
      Schema.decodeUnknownSync(DiffusionSettings)(changes),
      data(microBatchRows),
      aligned
    )
    const buffers = yield* allocateTraining(engine, specs, [], objective.constants)
    yield* initialise(engine, buffers.parameters, 5)
    yield* initialise(engine, teacherBuffers(buffers.constants), 5)
    const trainer = yield* makeTrainer(engine, objective, buffers, {
      optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
      groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
      maxGradNorm: 0,
      checkpointLayers
    })
    const outcomes = []
    for (let step = 0; step < steps; step++) {
      const microBatches = yield* objective.microBatches(step)
      const outcome = yield* trainer.step(microBatches, { lr, update: step + 1 })
      outcomes.push({ ...outcome, report: objective.report!(outcome.losses, microBatches), microBatches })
    }
    const download = (buffer: Buffer) => Effect.map(engine.download(buffer), values => values as Float32Array)
    return {
      outcomes,
      parameters: yield* download(buffers.parameters.flat),
      constants: yield* download(buffers.constants.flat)
    }
  })

/** Mean distance 1 - cosine of some layers over the positions that a rule names, from the equations. */
export const byHand = (
  layers: ReadonlyArray<number>,
  positions: "loss_columns" | "unmasked" | "all",
  step = 0
): number => {
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

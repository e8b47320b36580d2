/** A tiny training, to compare engines and processes by its losses and gradients. */
import { Effect } from "effect"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise } from "../../src/models/parameters.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import { modelConfig } from "./tinyModel.ts"

const config = modelConfig({
  hiddenSize: 16,
  intermediateSize: 24,
  headDim: 8,
  vocabSize: 31,
  initializerRange: 0.2
})
const length = 12
const sequences = Array.from({ length: 40 }, (_, s) =>
  Int32Array.from({ length: 3 + (s % 9) }, (_token, i) => (s * 5 + i * i) % 31)
)

export interface TinyTraining {
  readonly steps: number
  /** Of the 4 rows of a step. */
  readonly microBatchRows: number
  /** By default none. */
  readonly lossScale?: number
}

/** The loss of every step, and the gradients (unscaled) and parameters after the last. */
export const trainTiny = (engine: Engine, { lossScale, microBatchRows, steps }: TinyTraining) =>
  Effect.scoped(
    Effect.gen(function* () {
      const buffers = yield* allocateTraining(engine, parameterSpecs(config), [])
      yield* initialise(engine, buffers.parameters, 3)
      const objective = causalObjective(config, {
        sequences,
        epochs: makeEpochs(
          sequences.map(sequence => sequence.length),
          { seed: 2, capacity: length, rowsPerStep: 4 }
        ),
        microBatchRows,
        length,
        pad: 0,
        averaging: "tokens"
      })
      const trainer = yield* makeTrainer(engine, objective, buffers, {
        optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
        groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
        maxGradNorm: 1,
        checkpointLayers: true
      })
      const losses: Array<number> = []
      const norms: Array<number> = []
      for (let step = 0; step < steps; step++) {
        const outcome = yield* trainer.step(yield* objective.microBatches(step), {
          lr: 0.01,
          update: step + 1,
          ...(lossScale === undefined ? {} : { lossScale })
        })
        losses.push(outcome.losses["loss"]!)
        norms.push(outcome.gradientNorm)
      }
      const numbers = (data: ArrayLike<number | bigint>) => Array.from(data, x => Number(x) / (lossScale ?? 1))
      return {
        losses,
        norms,
        gradients: numbers(yield* engine.download(buffers.gradients.flat)),
        parameters: Array.from(yield* engine.download(buffers.parameters.flat), Number)
      }
    })
  )

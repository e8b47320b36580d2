/** Pre-training: predict each token from those before it. */
import { Effect } from "effect"
import type { Epochs } from "../../tokens/epochs.ts"
import { packedArrays } from "../../tokens/packing.ts"
import type { ModelConfig } from "../../models/config.ts"
import { work } from "../../models/flops.ts"
import {
  predictionCount,
  predictionWeights,
  nextTokenLossData,
  nextTokenLossInputs,
  nextTokenLosses,
  nextTokens
} from "../../models/nextTokenLoss.ts"
import { add, mul, sum } from "../../tensor/ops.ts"
import { type Averaging, normalisers, type Objective } from "../../training/objective.ts"

export interface CausalSettings {
  readonly sequences: ReadonlyArray<ArrayLike<number>>
  /** For each sequence, 1 where a token is learnt, 0 where it is only read; by default all are learnt. */
  readonly supervised?: ReadonlyArray<ArrayLike<number>> | undefined
  readonly epochs: Epochs
  /** Rows of one forward pass; those of a step must be a multiple of it. */
  readonly microBatchRows: number
  readonly length: number
  readonly pad: number
  readonly averaging: Averaging
}

/** Mean cross-entropy of the tokens of a step, nats. */
export const causalObjective = (config: ModelConfig, settings: CausalSettings): Objective<never> => {
  const { averaging, epochs, length, microBatchRows, pad, sequences, supervised } = settings
  const shape = { rows: microBatchRows, length }
  return {
    inputs: {
      ...nextTokenLossInputs(shape),
      /** Share of each loss in the mean of its step; 0 for what is not predicted. */
      weights: { dtype: "f32", shape: [predictionCount(shape)] }
    },
    losses: (parameter, data, options) => {
      const { losses, routerLoss } = nextTokenLosses(config, parameter, data, { causal: true, ...options })
      const loss = sum(mul(losses, data("weights")))
      if (routerLoss === undefined) return { loss }
      // Counts as much in the step as the micro-batch's predictions do.
      const router = mul(routerLoss, sum(data("weights")))
      return { loss: add(loss, router), router }
    },
    microBatches: step =>
      Effect.sync(() => {
        const rows = epochs.rows(step)
        const parts = Array.from({ length: rows.length / microBatchRows }, (_, i) => {
          const some = rows.slice(i * microBatchRows, (i + 1) * microBatchRows)
          const packed = packedArrays(sequences, some, { capacity: length, pad })
          const weights = predictionWeights(packed, shape)
          if (supervised !== undefined) {
            const learnt = nextTokens(packedArrays(supervised, some, { capacity: length, pad: 0 }).ids, shape)
            for (const [j, flag] of learnt.entries()) weights[j]! *= flag
          }
          return { packed, weights, counted: weights.reduce((total, weight) => total + weight, 0) }
        })
        const scales = normalisers(
          parts.map(({ counted }) => counted),
          averaging
        )
        return parts.map(({ counted, packed, weights }, i) => ({
          inputs: { ...nextTokenLossData(packed, shape), weights: weights.map(weight => weight * scales[i]!) },
          ...work(config, packed.segmentIds, length, { causal: true }),
          labelled: counted
        }))
      })
  }
}

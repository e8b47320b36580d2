/** Likelihood of token sequences under a causal language model. */
import { Effect, type Scope } from "effect"
import { packedArrays, packRows } from "../tokens/packing.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { type BatchShape, predictionWeights, nextTokenLossData } from "../models/nextTokenLoss.ts"
import { makeTokenLosses } from "../sessions/tokenLosses.ts"

export interface Likelihood {
  /** Sum of negative log-likelihoods of all tokens but each sequence's first, nats. */
  readonly nats: number
  /** How many these are. */
  readonly tokens: number
}

/** exp of the mean loss of a token. */
export const perplexity = ({ nats, tokens }: Likelihood): number => Math.exp(nats / tokens)

/** Comparable between tokenizers. `bytes`: of the text of the predicted tokens. */
export const bitsPerByte = ({ nats }: Likelihood, bytes: number): number => nats / Math.LN2 / bytes

export interface CausalEvaluator {
  readonly measure: (
    sequences: ReadonlyArray<ArrayLike<number>>,
    onRows?: (done: number, total: number) => Effect.Effect<void>
  ) => Effect.Effect<Likelihood, EngineError>
}

/** Prepares a model whose parameters lie in buffers, by name. Sequences are cut at `length` tokens. */
export const makeCausalEvaluator = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { pad, ...shape }: BatchShape & { readonly pad: number }
): Effect.Effect<CausalEvaluator, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { length, rows } = shape
    const losses = yield* makeTokenLosses(engine, config, parameters, { ...shape, causal: true })
    return {
      measure: (sequences, onRows) =>
        Effect.gen(function* () {
          const all = packRows(
            sequences.map(sequence => sequence.length),
            sequences.keys(),
            { capacity: length }
          )
          let [nats, tokens] = [0, 0]
          for (let start = 0; start < all.length; start += rows) {
            const filled = Array.from({ length: rows }, (_, r) => all[start + r] ?? [])
            const packed = packedArrays(sequences, filled, { capacity: length, pad })
            const values = yield* losses(nextTokenLossData(packed, shape))
            for (const [i, weight] of predictionWeights(packed, shape).entries())
              if (weight > 0) {
                nats += values[i]!
                tokens++
              }
            if (onRows !== undefined) yield* onRows(Math.min(start + rows, all.length), all.length)
          }
          return { nats, tokens }
        })
    }
  })

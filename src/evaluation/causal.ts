/** Likelihood of token sequences under a causal language model. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import { makeTokenLosses } from "../sessions/tokenLosses.ts"
import { packed, sequenceLosses } from "./sequenceLosses.ts"

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

/** A sequence of which all tokens but the first count, or those that may be masked: 1 for each. */
export interface Counted {
  readonly ids: ArrayLike<number>
  readonly maskable?: ArrayLike<number>
}

export interface CausalEvaluator {
  readonly measure: (sequences: ReadonlyArray<ArrayLike<number>>) => Effect.Effect<Likelihood, EngineError>
  /** Of each sequence. */
  readonly each: (
    sequences: ReadonlyArray<Counted>,
    onRows?: (done: number, total: number) => Effect.Effect<void>
  ) => Effect.Effect<ReadonlyArray<Likelihood>, EngineError>
}

/** Prepares a model whose parameters lie in buffers, by name. Sequences are cut at `length` tokens. */
export const makeCausalEvaluator = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { pad, ...shape }: BatchShape & { readonly pad: number }
): Effect.Effect<CausalEvaluator, EngineError, Scope.Scope> =>
  Effect.map(makeTokenLosses(engine, config, parameters, { ...shape, causal: true }), losses => {
    const each: CausalEvaluator["each"] = (sequences, onRows) =>
      Effect.gen(function* () {
        const ids = sequences.map(sequence => sequence.ids)
        const found = sequences.map(() => ({ nats: 0, tokens: 0 }))
        const visit = (values: Float32Array, sequence: number) => {
          const sums = found[sequence]!
          for (const [i, value] of values.entries()) {
            if (sequences[sequence]!.maskable?.[i + 1] === 0) continue
            sums.nats += value
            sums.tokens++
          }
        }
        yield* sequenceLosses({ ...shape, losses, pad }, ids, packed(ids, shape), visit, onRows)
        return found
      })
    return {
      each,
      measure: sequences =>
        Effect.map(each(sequences.map(ids => ({ ids }))), found =>
          found.reduce((sum, { nats, tokens }) => ({ nats: sum.nats + nats, tokens: sum.tokens + tokens }), {
            nats: 0,
            tokens: 0
          })
        )
    }
  })

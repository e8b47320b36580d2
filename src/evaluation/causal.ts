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
  Effect.map(makeTokenLosses(engine, config, parameters, { ...shape, causal: true }), losses => ({
    measure: (sequences, onRows) =>
      Effect.gen(function* () {
        let [nats, tokens] = [0, 0]
        const visit = (values: Float32Array) => {
          for (const value of values) nats += value
          tokens += values.length
        }
        yield* sequenceLosses({ ...shape, losses, pad }, sequences, packed(sequences, shape), visit, { onRows })
        return { nats, tokens }
      })
  }))

/** Likelihood of token sequences under a causal language model. */
import { Effect, type Scope } from "effect"
import { packedArrays, packRows } from "../data/packing.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { type BatchShape, nextTokenLosses, packedData, packedTensors, predicted } from "../models/causal.ts"
import { type ModelConfig, parameterSpecs } from "../models/config.ts"
import { input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"

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
    const weights = new Map(parameterSpecs(config).map(spec => [spec.name, input(spec.name, "f32", spec.shape)]))
    const losses = nextTokenLosses(config, name => weights.get(name)!, packedTensors(shape), {
      checkpointLayers: false
    })
    const executable = yield* engine.compile(makeProgram({ losses }))
    const data = {
      ids: yield* engine.allocate("i32", [rows, length]),
      documents: yield* engine.allocate("i32", [rows, length]),
      positions: yield* engine.allocate("i32", [rows, length])
    }
    const output = yield* engine.allocate("f32", [rows * (length - 1)])
    const named = Object.fromEntries([...weights.keys()].map(name => [name, parameters[name]!]))
    const call = yield* engine.bind(executable, { ...named, ...data }, { losses: output })
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
            for (const [name, array] of Object.entries(packedData(packed)))
              yield* engine.upload(data[name as keyof typeof data], array)
            yield* engine.run([call])
            const values = (yield* engine.download(output)) as Float32Array
            for (const [i, weight] of predicted(packed, shape).entries())
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

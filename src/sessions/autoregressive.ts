/** Decoding token by token from a causal model, with a cache of keys and values. */
import { Effect, Stream, type Scope } from "effect"
import type { Buffer, Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { scoreMask } from "../models/layers/attention.ts"
import type { ModelConfig } from "../models/config.ts"
import type { KeyValues } from "../models/layers/layer.ts"
import { forward, logits, weightsOf } from "../models/decoder.ts"
import {
  add,
  and,
  constant,
  gather,
  input,
  iota,
  less,
  lessEqual,
  maximum,
  minimum,
  reshape,
  select,
  sub
} from "../tensor/ops.ts"
import { randomKey, uniformAt } from "../tensor/random.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type Sampling, sampleToken } from "../decoding/sampling.ts"
import { inputsOf, makeSession } from "./session.ts"

/** Tokens of a prompt that are read at once. */
const promptChunk = 32

const cacheName = (what: keyof KeyValues, layer: number): string => `${what}/${layer}`

/**
 * Reads `length` tokens from position `start` on. Inputs: tokens i32 [1, length], start i32 [], last i32 [] (which of the tokens is asked for
 * its successor), the caches f32 [1, capacity, KV, headDim]. Outputs: logits f32 [V], the caches with the tokens' keys and values.
 */
const readTokens = (config: ModelConfig, parameters: Buffers, length: number, capacity: number) => {
  const weights = weightsOf(config, inputsOf(parameters))
  const start = input("start", "i32", [])
  const slots = iota("i32", [capacity], 0)
  const positions = add(iota("i32", [1, length], 1), start)
  // A slot behind a query's position holds nothing yet, or what a padded prompt left there.
  const seen = lessEqual(reshape(slots, [1, capacity]), reshape(positions, [length, 1]))
  const mask = scoreMask(reshape(seen, [1, length, capacity]))

  const outputs: { [name: string]: Tensor } = {}
  const offset = sub(slots, start)
  const own = reshape(and(lessEqual(constant(0, "i32"), offset), less(offset, constant(length, "i32"))), [
    1,
    capacity,
    1,
    1
  ])
  const source = maximum(minimum(offset, length - 1), 0)
  const attended = (layer: number, fresh: KeyValues): KeyValues => {
    const remember = (what: keyof KeyValues): Tensor => {
      const name = cacheName(what, layer)
      const cache = input(name, "f32", [1, capacity, config.keyValueHeads, config.headDim])
      return (outputs[`${name}/next`] = select(own, gather(fresh[what], source, 1), cache))
    }
    return { keys: remember("keys"), values: remember("values") }
  }
  const { final } = forward(config, weights, input("tokens", "i32", [1, length]), {
    causal: true,
    positions,
    mask,
    attended
  })
  const last = gather(reshape(final, [length, config.hiddenSize]), reshape(input("last", "i32", []), [1]))
  return { logits: reshape(logits(last, weights), [config.vocabSize]), ...outputs }
}

export interface GenerateOptions {
  readonly prompt: ArrayLike<number>
  /** Tokens to be made at most. */
  readonly maxNewTokens: number
  readonly sampling: Sampling
  readonly seed: number
  /** Ends the text; not part of what is returned. */
  readonly stop: number
  /** Never drawn. */
  readonly suppressed: ReadonlyArray<number>
}

export interface Decoder {
  /** The continuation, token by token as it is made. The prompt needs a token. */
  readonly generate: (options: GenerateOptions) => Stream.Stream<number, EngineError>
}

/** Where a generation is. */
interface Made {
  /** Logits of the next token. */
  readonly row: Float32Array
  readonly made: number
}

/**
 * Prepares a model whose parameters lie in buffers for texts of at most `most` tokens, prompts included. One text at a time. Of the parameters, those of
 * the language model are read, whatever stands beside it.
 */
export const makeDecoder = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  most: number
): Effect.Effect<Decoder, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const capacity = Math.ceil(most / promptChunk) * promptChunk
    const caches: { [name: string]: Buffer } = {}
    for (let layer = 0; layer < config.layers; layer++)
      for (const what of ["keys", "values"] as const)
        caches[cacheName(what, layer)] = yield* engine.allocate("f32", [
          1,
          capacity,
          config.keyValueHeads,
          config.headDim
        ])
    const inPlace = Object.fromEntries(Object.keys(caches).map(name => [`${name}/next`, name]))
    const reader = (length: number) =>
      Effect.map(
        makeSession(engine, readTokens(config, parameters, length, capacity), { ...parameters, ...caches }, inPlace),
        ({ run }) =>
          /** Logits of the token after the last of `ids`, which come at `from`. */
          (ids: ReadonlyArray<number>, from: number) => {
            const tokens = new Int32Array(length)
            tokens.set(ids)
            const data = { tokens, start: Int32Array.of(from), last: Int32Array.of(ids.length - 1) }
            return Effect.map(run(data), found => found.logits)
          }
      )
    const readChunk = yield* reader(promptChunk)
    const readOne = yield* reader(1)

    return {
      generate: ({ maxNewTokens, prompt, sampling, seed, stop, suppressed }) => {
        const ids = Array.from(prompt)
        const key = randomKey(seed, "autoregressive sampling")
        const readPrompt = Effect.gen(function* () {
          if (ids.length === 0) return yield* Effect.die(new RangeError("a prompt needs at least one token"))
          if (ids.length + maxNewTokens > capacity)
            return yield* Effect.die(
              new RangeError(`${ids.length} + ${maxNewTokens} tokens do not fit into ${capacity}`)
            )
          let row: Float32Array = new Float32Array(0)
          for (let from = 0; from < ids.length; from += promptChunk)
            row = yield* readChunk(ids.slice(from, from + promptChunk), from)
          return row
        })
        const draw = (row: Float32Array, made: number): number => {
          for (const token of suppressed) row[token] = -Infinity
          return sampleToken(row, sampling, uniformAt(key, made)).token
        }
        return Stream.unwrap(
          Effect.map(readPrompt, first =>
            Stream.unfold({ row: first, made: 0 } as Made, ({ made, row }) =>
              Effect.gen(function* () {
                if (made >= maxNewTokens) return undefined
                const token = draw(row, made)
                if (token === stop) return undefined
                // The last token needs no successor.
                const isLast = made + 1 === maxNewTokens
                const following = isLast ? row : yield* readOne([token], ids.length + made)
                return [token, { row: following, made: made + 1 }] as const
              })
            )
          )
        )
      }
    }
  })

/** Decoding token by token from a causal model, with caches of what was read. */
import { Effect, Stream, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { allocateCache, cachedPass } from "../models/cache.ts"
import type { ModelConfig } from "../models/config.ts"
import { forward, logits, weightsOf } from "../models/decoder.ts"
import { add, gather, input, reshape } from "../tensor/ops.ts"
import { randomKey, uniformAt } from "../tensor/random.ts"
import { type Sampling, sampleToken } from "../decoding/sampling.ts"
import type { LoadedModel } from "../models/artifact.ts"
import { trainingFlops } from "../models/flops.ts"
import type { Generator, GeneratorShape } from "./generator.ts"
import { inputsOf, makeSession } from "./session.ts"

/** Tokens of a prompt that are read at once. */
const promptChunk = 32

/**
 * Reads `length` tokens from position `start` on. Inputs: tokens i32 [1, length], start i32 [1], last i32 [1] (which of the tokens is asked for
 * its successor), the caches. Outputs: logits f32 [V], the caches with the tokens' own.
 */
const readTokens = (config: ModelConfig, parameters: Buffers, length: number, capacity: number) => {
  const weights = weightsOf(config, inputsOf(parameters))
  const last = input("last", "i32", [1])
  const { inPlace, options, outputs } = cachedPass(config, {
    rows: 1,
    capacity,
    length,
    start: input("start", "i32", [1]),
    count: add(last, 1),
    sees: "before",
    keeps: "all"
  })
  const { final } = forward(config, weights, input("tokens", "i32", [1, length]), options)
  const predicting = gather(reshape(final, [length, config.hiddenSize]), last)
  return { outputs: { logits: reshape(logits(predicting, weights), [config.vocabSize]), ...outputs }, inPlace }
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
    const given = { ...parameters, ...(yield* allocateCache(engine, config, { rows: 1, capacity })) }
    const reader = (length: number) => {
      const { inPlace, outputs } = readTokens(config, parameters, length, capacity)
      return Effect.map(makeSession(engine, outputs, given, inPlace), ({ run }) =>
        /** Logits of the token after the last of `ids`, which come at `from`. */
        (ids: ReadonlyArray<number>, from: number) => {
          const tokens = new Int32Array(length)
          tokens.set(ids)
          const data = { tokens, start: Int32Array.of(from), last: Int32Array.of(ids.length - 1) }
          return Effect.map(run(data), found => found.logits)
        }
      )
    }
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

/** The continuation of prompt `number` of several, with a seed of its own, until the model ends it; no mask is drawn. */
export const continuationOf = (
  decoder: Decoder,
  { eosId, maskId }: Pick<LoadedModel["tokenizer"], "eosId" | "maskId">,
  { number, seed, ...asked }: Omit<GenerateOptions, "stop" | "suppressed"> & { readonly number: number }
): Stream.Stream<number, EngineError> =>
  decoder.generate({ ...asked, seed: seed + number, stop: eosId, suppressed: [maskId] })

/** Answers prompts token by token, one after the other; each text ends where the model ends it, and is filled with ends of text. */
export const causalGenerator = (
  engine: Engine,
  { config, parameters, tokenizer }: Pick<LoadedModel, "config" | "parameters" | "tokenizer">,
  { newTokens, promptTokens }: GeneratorShape,
  sampling: Sampling
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const decoder = yield* makeDecoder(engine, config, parameters, promptTokens + newTokens)
    // Forward is a third of forward and backward.
    const flopsOf = (tokens: number) => trainingFlops(config, [tokens], { causal: true }) / 3
    return {
      newTokens,
      stepsThatCount: () => newTokens,
      generate: ({ prompts, seed }) =>
        Effect.gen(function* () {
          const begun = performance.now()
          const forwards: Array<number> = []
          let flops = 0
          const sequences = yield* Effect.forEach(prompts, (prompt, number) =>
            Effect.map(
              Stream.runCollect(
                continuationOf(decoder, tokenizer, { prompt, number, maxNewTokens: newTokens, sampling, seed })
              ),
              made => {
                const ids = new Int32Array(prompt.length + newTokens).fill(tokenizer.eosId)
                ids.set(prompt)
                ids.set(made, prompt.length)
                // The end of text is one more token that was found.
                forwards.push(Math.min(newTokens, made.length + 1))
                flops += flopsOf(prompt.length + made.length)
                return ids
              }
            )
          )
          const passes = forwards.reduce((sum, own) => sum + own, 0)
          return { sequences, tokens: forwards, forwards, passes, forwardMs: performance.now() - begun, flops }
        })
    }
  })

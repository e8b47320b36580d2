/** Decoding token by token from a causal model, with caches of what was read. */
import { Effect, Queue, type Scope, Stream } from "effect"
import { decodeCausally } from "../decoding/causal.ts"
import type { Sampling } from "../decoding/sampling.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { LoadedModel } from "../models/artifact.ts"
import { isHybrid, type ModelConfig } from "../models/config.ts"
import { randomKey } from "../tensor/random.ts"
import { blockRows, type DecodedModel, type Generator, type GeneratorShape } from "./generator.ts"
import { makeTextReader } from "./textReader.ts"

/** Programs that read prompts are made for some multiples of so many tokens. */
const promptChunk = 32

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

/** As the texts of a batch are numbered, and drawn. */
const keyOf = (seed: number) => randomKey(seed, "autoregressive sampling")

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
  Effect.map(causalReader(engine, config, parameters, { rows: 1, length: most }), reader => ({
    generate: ({ maxNewTokens, prompt, sampling, seed, stop, suppressed }) =>
      Stream.callback<number, EngineError>(queue =>
        Effect.gen(function* () {
          yield* decodeCausally(reader, [{ ids: prompt, newTokens: maxNewTokens, key: keyOf(seed) }], {
            rows: 1,
            sampling,
            stop,
            suppressed,
            onTokens: (_number, tokens) => Queue.offerAll(queue, tokens)
          })
          yield* Queue.end(queue)
        })
      )
  }))

const causalReader = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  shape: { readonly rows: number; readonly length: number }
) => makeTextReader(engine, config, parameters, { ...shape, causal: true, tokenShift: true, blockSize: promptChunk })

/** The continuation of prompt `number` of several, with a seed of its own, until the model ends it; no mask is drawn. */
export const continuationOf = (
  decoder: Decoder,
  { eosId, maskId }: Pick<LoadedModel["tokenizer"], "eosId" | "maskId">,
  { number, seed, ...asked }: Omit<GenerateOptions, "stop" | "suppressed"> & { readonly number: number }
): Stream.Stream<number, EngineError> =>
  decoder.generate({ ...asked, seed: seed + number, stop: eosId, suppressed: [maskId] })

export interface Speculation {
  /** Drafts tokens that the other model verifies: a diffusion model of the same tokenizer, or the same model. */
  readonly drafter: DecodedModel
  /** Tokens that are drafted at once. */
  readonly draftTokens: number
}

/**
 * Answers prompts token by token, some side by side; each text ends where the model ends it, and is filled with ends of text. With `speculation` the texts are the same, and another model's drafts save
 * passes.
 */
export const causalGenerator = (
  engine: Engine,
  { config, parameters, tokenizer }: Pick<LoadedModel, "config" | "parameters" | "tokenizer">,
  shape: GeneratorShape,
  sampling: Sampling,
  speculation?: Speculation
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { newTokens, promptTokens, prompts: expected } = shape
    const { eosId: stop, maskId: mask } = tokenizer
    const size = { rows: Math.min(blockRows, expected), length: promptTokens + newTokens }
    const reader = yield* causalReader(engine, config, parameters, size)
    const drafting = speculation && {
      ...speculation,
      drafter: yield* makeTextReader(engine, speculation.drafter.config, speculation.drafter.parameters, {
        ...size,
        tokenShift: speculation.drafter.tokenShift,
        blockSize: speculation.draftTokens
      }),
      mask,
      tokenShift: speculation.drafter.tokenShift,
      recurrent: isHybrid(config)
    }
    const flopsSoFar = () => reader.flops() + (drafting?.drafter.flops() ?? 0)
    return {
      newTokens,
      stepsThatCount: () => newTokens,
      generate: ({ prompts, seed }) =>
        Effect.gen(function* () {
          const [begun, flops] = [performance.now(), flopsSoFar()]
          const { passes, texts } = yield* decodeCausally(
            reader,
            prompts.map((ids, number) => ({ ids, newTokens, key: keyOf(seed + number) })),
            { rows: size.rows, sampling, stop, suppressed: [mask] },
            drafting
          )
          return {
            sequences: texts.map(({ tokens }, number) => {
              const prompt = prompts[number]!
              const ids = new Int32Array(prompt.length + newTokens).fill(stop)
              ids.set(Array.from(prompt))
              ids.set(tokens, prompt.length)
              return ids
            }),
            // The end of text is one more token that was found.
            tokens: texts.map(({ ended, tokens }) => tokens.length + (ended ? 1 : 0)),
            forwards: texts.map(({ forwards }) => forwards),
            passes,
            forwardMs: performance.now() - begun,
            flops: flopsSoFar() - flops
          }
        })
    }
  })

/** Decoding token by token from a causal model, with caches of what was read. */
import { Effect, Queue, type Scope, Stream } from "effect"
import { type CausalTexts, decodeCausally } from "../decoding/causal.ts"
import type { Ending } from "../decoding/ending.ts"
import type { Sampling } from "../decoding/sampling.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
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
  /** End the text; not part of what is returned. */
  readonly ends: ReadonlySet<number>
  /** Never drawn. */
  readonly suppressed: ReadonlyArray<number>
}

export interface Decoder {
  /** The continuation, token by token as it is made. The prompt needs a token. */
  readonly generate: (options: GenerateOptions) => Stream.Stream<number, EngineError>
}

export interface Speculation {
  /** Drafts tokens that the other model verifies: a diffusion model of the same tokenizer, or the same model. */
  readonly drafter: DecodedModel
  /** Tokens that are drafted at once. */
  readonly draftTokens: number
}

export interface CausalRequest<E> {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  readonly newTokens: number
  readonly sampling: Sampling
  /** Text number i is drawn as the first one of seed + i. */
  readonly seed: number
  /** Ends a text before the model does. */
  readonly ending?: Ending | undefined
  /** Told of a text's new tokens as they come. */
  readonly onTokens?: (number: number, tokens: ReadonlyArray<number>) => Effect.Effect<void, E>
}

export interface CausalWriter {
  readonly write: <E = never>(request: CausalRequest<E>) => Effect.Effect<CausalTexts, EngineError | E>
  /** Floating-point operations of the matrix products of all passes so far. */
  readonly flops: () => number
}

const keyOf = (seed: number) => randomKey(seed, "autoregressive sampling")

/** Prepares a model for some texts at a time, of at most `length` tokens, prompts included. With `speculation` the texts are the same, and drafts save passes. */
export const makeCausalWriter = (
  engine: Engine,
  { config, parameters, tokenizer }: Pick<DecodedModel, "config" | "parameters" | "tokenizer">,
  shape: { readonly rows: number; readonly length: number },
  speculation?: Speculation
): Effect.Effect<CausalWriter, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { ends, maskId: mask } = tokenizer
    const reader = yield* causalReader(engine, config, parameters, shape)
    const drafting = speculation && {
      draftTokens: speculation.draftTokens,
      drafter: yield* makeTextReader(engine, speculation.drafter.config, speculation.drafter.parameters, {
        ...shape,
        tokenShift: speculation.drafter.tokenShift,
        blockSize: speculation.draftTokens
      }),
      mask,
      tokenShift: speculation.drafter.tokenShift,
      recurrent: isHybrid(config)
    }
    return {
      flops: () => reader.flops() + (drafting?.drafter.flops() ?? 0),
      write: ({ ending, newTokens, onTokens, prompts, sampling, seed }) =>
        decodeCausally(
          reader,
          prompts.map((ids, number) => ({ ids, newTokens, key: keyOf(seed + number) })),
          {
            rows: shape.rows,
            sampling,
            ends,
            suppressed: [mask],
            ending,
            ...(onTokens === undefined ? {} : { onTokens })
          },
          drafting
        )
    }
  })

export const causalReader = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  shape: { readonly rows: number; readonly length: number }
) => makeTextReader(engine, config, parameters, { ...shape, causal: true, tokenShift: true, blockSize: promptChunk })

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
    generate: ({ ends, maxNewTokens, prompt, sampling, seed, suppressed }) =>
      Stream.callback<number, EngineError>(queue =>
        Effect.gen(function* () {
          yield* decodeCausally(reader, [{ ids: prompt, newTokens: maxNewTokens, key: keyOf(seed) }], {
            rows: 1,
            sampling,
            ends,
            suppressed,
            onTokens: (_number, tokens) => Queue.offerAll(queue, tokens)
          })
          yield* Queue.end(queue)
        })
      )
  }))

/** Answers prompts token by token, some side by side; each text ends where the model ends it, and is filled with ends of text. */
export const causalGenerator = (
  engine: Engine,
  model: Pick<DecodedModel, "config" | "parameters" | "tokenizer">,
  { newTokens, promptTokens, prompts: expected }: GeneratorShape,
  sampling: Sampling,
  speculation?: Speculation
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> =>
  Effect.map(
    makeCausalWriter(
      engine,
      model,
      { rows: Math.min(blockRows, expected), length: promptTokens + newTokens },
      speculation
    ),
    ({ flops, write }) => ({
      newTokens,
      stepsThatCount: () => newTokens,
      generate: ({ ending, prompts, seed }) =>
        Effect.gen(function* () {
          const [begun, before] = [performance.now(), flops()]
          const { passes, texts } = yield* write({ prompts, newTokens, sampling, seed, ending })
          return {
            sequences: texts.map(({ tokens }, number) => {
              const prompt = prompts[number]!
              const ids = new Int32Array(prompt.length + newTokens).fill(model.tokenizer.eosId)
              ids.set(Array.from(prompt))
              ids.set(tokens, prompt.length)
              return ids
            }),
            // The end of text is one more token that was found.
            tokens: texts.map(({ ended, tokens }) => tokens.length + (ended ? 1 : 0)),
            forwards: texts.map(({ forwards }) => forwards),
            passes,
            forwardMs: performance.now() - begun,
            flops: flops() - before
          }
        })
    })
  )

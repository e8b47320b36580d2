/** Decoding token by token from a causal model, with caches of what was read. */
import { Effect, type Scope } from "effect"
import { type CausalSettings, CausalText, causalStep, type CausalTexts, decodeCausally } from "../decoding/causal.ts"
import type { Ending } from "../decoding/ending.ts"
import { OpenBatch } from "../decoding/openBatch.ts"
import { misfit } from "../decoding/textPass.ts"
import { type Drawing, textKeys } from "../decoding/draws.ts"
import type { Sampling } from "../decoding/sampling.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { isHybrid, type ModelConfig } from "../models/config.ts"
import { blockRows, type DecodedModel, type Generator, generatorOf, type GeneratorShape } from "./generator.ts"
import { makeTextReader } from "./textReader.ts"

/** Programs that read prompts are made for some multiples of so many tokens. */
const promptChunk = 32

export interface Speculation {
  /** Drafts tokens that the other model verifies: a diffusion model of the same tokenizer, or the same model. */
  readonly drafter: DecodedModel
  /** Tokens that are drafted at once. */
  readonly draftTokens: number
}

export interface CausalRequest<E> extends Drawing {
  readonly newTokens: number
  readonly sampling: Sampling
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

interface CausalShape {
  readonly rows: number
  readonly length: number
}

/** The model, and what drafts for it. */
const readers = (
  engine: Engine,
  { config, parameters, tokenizer }: Pick<DecodedModel, "config" | "parameters" | "tokenizer">,
  shape: CausalShape,
  speculation: Speculation | undefined
) =>
  Effect.gen(function* () {
    const reader = yield* causalReader(engine, config, parameters, shape)
    const drafting = speculation && {
      draftTokens: speculation.draftTokens,
      drafter: yield* makeTextReader(engine, speculation.drafter.config, speculation.drafter.parameters, {
        ...shape,
        tokenShift: speculation.drafter.tokenShift,
        blockSize: speculation.draftTokens
      }),
      mask: tokenizer.maskId,
      tokenShift: speculation.drafter.tokenShift,
      recurrent: isHybrid(config)
    }
    return { reader, drafting, flops: () => reader.flops() + (drafting?.drafter.flops() ?? 0) }
  })

/** Prepares a model for some texts at a time, of at most `length` tokens, prompts included. With `speculation` the texts are the same, and drafts save passes. */
export const makeCausalWriter = (
  engine: Engine,
  model: Pick<DecodedModel, "config" | "parameters" | "tokenizer">,
  shape: CausalShape,
  speculation?: Speculation
): Effect.Effect<CausalWriter, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { ends, maskId: mask } = model.tokenizer
    const { drafting, flops, reader } = yield* readers(engine, model, shape, speculation)
    return {
      flops,
      write: ({ ending, newTokens, onTokens, sampling, ...drawing }) =>
        decodeCausally(
          reader,
          textKeys(drawing).map((key, i) => ({ ids: drawing.prompts[i]!, newTokens, key })),
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

/** Answers prompts token by token, some side by side; each text ends where the model ends it, and is filled with ends of text. */
export const causalGenerator = (
  engine: Engine,
  model: Pick<DecodedModel, "config" | "parameters" | "tokenizer">,
  { newTokens, promptTokens, prompts: expected }: GeneratorShape,
  sampling: Sampling,
  speculation?: Speculation
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const shape = { rows: Math.min(blockRows, expected), length: promptTokens + newTokens }
    const { drafting, flops, reader } = yield* readers(engine, model, shape, speculation)
    const { ends, maskId } = model.tokenizer
    const settings: CausalSettings = { sampling, ends, suppressed: [maskId] }
    return generatorOf({
      newTokens,
      stepsThatCount: () => newTokens,
      flops,
      open: ({ watched = false } = {}) => ({
        batch: new OpenBatch(shape.rows, causalStep(reader, drafting)),
        begin: ({ ending, key, prompt: ids }) => {
          const unfit = misfit(reader, [{ ids, newTokens }])
          if (unfit !== undefined) throw unfit
          return new CausalText({ ids, newTokens, key, ending }, { ...settings, watched })
        }
      })
    })
  })

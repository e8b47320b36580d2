/**
 * What makes texts behind prompts in some number of steps: all that evaluation, benchmarks and `pipeline generate` know of how a model decodes. A model
 * that decodes in a way of its own is one more function that returns a `Generator`.
 */
import { Effect, type Scope } from "effect"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { LoadedModel } from "../models/artifact.ts"
import { trainingFlops } from "../models/flops.ts"
import { type DenoiserExtension, makeDenoiser } from "./query.ts"
import { stepsThatCount } from "../decoding/diffusion.ts"
import { isResident, makeResidentDecoder } from "./resident.ts"
import { goesInBlocks, type MaskDecoding } from "../decoding/blockSettings.ts"
import type { Ending } from "../decoding/ending.ts"
import { wholeReader } from "../decoding/textPass.ts"
import { goesBothWays, type ModelConfig } from "../models/config.ts"
import { makeTextReader } from "./textReader.ts"
import { blockDecoder, type Decode, inBatches, type MaskOptions, wholeDecoder } from "./maskDecoders.ts"
import type { CanvasShape } from "../decoding/canvas.ts"

export interface GenerationRequest {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  /** Denoising steps that are allowed. */
  readonly steps: number
  /** In place of the one that the decoding has, where it goes block by block. */
  readonly threshold?: number
  /** The same prompts and seed give the same texts. */
  readonly seed: number
  /** Whether what a method makes of the prompts before the first step may be that of an earlier request with the same prompts and seed: it is counted again, but takes no time. */
  readonly reuse?: boolean
  /**
   * Ends texts before their end of text, where they are decoded token by token or block by block: behind the tokens that it says are the whole text stand ends of text. What decodes all new tokens together
   * does not ask it
   */
  readonly ending?: Ending | undefined
  /**
   * Told of a text by its number, prompt and new tokens with the masks that are left, after a step; and how sure the model was of each new token when it was revealed: its probability at temperature 1 and
   * without filters, NaN of masks
   */
  readonly onStep?: (number: number, step: number, text: Int32Array, confidence: Float32Array) => Effect.Effect<void>
}

export interface GeneratedTexts {
  /** Prompts and new tokens. No mask is left. */
  readonly sequences: ReadonlyArray<Int32Array>
  /** Of each text the tokens that were decoded, all new ones, or those until the end of text where decoding ends with it; and the forward passes that they took. */
  readonly tokens: ReadonlyArray<number>
  readonly forwards: ReadonlyArray<number>
  /** Of these passes those that each text took before its first step, for what a method draws then. Left out: none. */
  readonly ahead?: ReadonlyArray<number>
  /** Of all forward passes, each of as many texts as the model takes at once: how many, their time, ms, and floating-point operations by formula. */
  readonly passes: number
  readonly forwardMs: number
  readonly flops: number
}

export interface Generator<E> {
  /** Tokens that are made behind every prompt, what comes after an end of text included. */
  readonly newTokens: number
  /** Of an allowed number of steps those that can make a difference: what asks for more gets the same texts. */
  readonly stepsThatCount: (steps: number) => number
  readonly generate: (request: GenerationRequest) => Effect.Effect<GeneratedTexts, E>
}

export interface GeneratorShape {
  /** Prompts that are asked for, for planning; more are taken as well. */
  readonly prompts: number
  /** The longest prompt. */
  readonly promptTokens: number
  readonly newTokens: number
}

/** Logits that are brought to the host at once, at most, in bytes. */
const logitBytes = 2 ** 28
const bytesOfLogit = 4

/** Rows whose logits fit, at least one. */
export const rowsThatFit = (vocabSize: number, { newTokens, prompts }: GeneratorShape): number =>
  Math.max(1, Math.min(prompts, Math.floor(logitBytes / (newTokens * vocabSize * bytesOfLogit))))

/** Texts that are decoded block by block side by side, at most: with more, rows wait for the last text without work; with fewer, a pass of a small model is mostly overhead. */
export const blockRows = 16

/** Prompts that are decoded together. */
export interface Batch {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  readonly seed: number
  /** Number of the first prompt. */
  readonly first: number
  /** As in a request. */
  readonly reuse: boolean
}

/** What a method adds to decoding by masked diffusion. */
export interface Extended {
  readonly extension: DenoiserExtension
  /** Called before the first pass of prompts, of as many at once as there are rows; returns forward passes, time and operations of its own. */
  readonly begin: (
    batch: Batch
  ) => Effect.Effect<Pick<GeneratedTexts, "forwardMs" | "flops"> & { readonly forwards: number }, EngineError>
  /** Operations that it adds to a forward pass. */
  readonly flops: number
}

/** Of a model what its decoding reads. */
export type DecodedModel = Pick<LoadedModel, "config" | "parameters" | "tokenShift"> & {
  readonly tokenizer: Pick<LoadedModel["tokenizer"], "maskId" | "padId" | "eosId" | "ends">
}

/** Why a model cannot be read with the cache that a decoding asks for. `extended`: whether a method adds to every pass. */
export const cacheFault = (
  config: ModelConfig,
  { cache = "none" }: Pick<MaskDecoding, "cache">,
  extended: boolean
): string | undefined => {
  if (cache === "none") return undefined
  if (extended) return `cache ${cache} does not go with a method that puts anything beside the language model`
  return cache === "dual" && goesBothWays(config, false)
    ? "cache dual does not go with hybrid_bidirectional two_scan: layers from right to left begin at the text's end; set cache to prefix"
    : undefined
}

/** Decodes by masked diffusion: where the model computes, if the settings allow that, or else on the host. */
export const maskedGenerator = (
  engine: Engine,
  { config, parameters, tokenShift, tokenizer }: DecodedModel,
  shape: GeneratorShape,
  decoding: MaskDecoding,
  extend?: (canvas: CanvasShape) => Effect.Effect<Extended, EngineError, Scope.Scope>
): Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope> =>
  Effect.gen(function* () {
    const { newTokens, promptTokens } = shape
    const fault = cacheFault(config, decoding, extend !== undefined)
    if (fault !== undefined) return yield* permanent(fault, "leave the cache out")
    const inBlocks = goesInBlocks(decoding)
    const rows = Math.min(rowsThatFit(config.vocabSize, shape), inBlocks ? blockRows : Infinity)
    const canvas = { rows, length: promptTokens + newTokens, newTokens }
    const { ends, eosId: eos, maskId: mask, padId: pad } = tokenizer
    const options: MaskOptions = { rows, newTokens, mask, pad, ends, eos, decoding }
    const extended = extend === undefined ? undefined : yield* extend(canvas)
    const onHost = makeDenoiser(engine, config, parameters, {
      ...canvas,
      places: rows * newTokens,
      tokenShift,
      ...(extended === undefined ? {} : { extension: extended.extension })
    })
    const blockSize = Math.min(decoding.blockLength ?? newTokens, newTokens)
    const { attentionBlockSize } = config
    const reading = { tokenShift, attentionBlockSize }
    // Forward is a third of forward and backward.
    const ofModel = trainingFlops(config, Array<number>(rows).fill(canvas.length), { causal: false }) / 3
    const flopsPerPass = ofModel + (extended?.flops ?? 0)
    /** What is decoded, with the operations of its passes. */
    const counted =
      <E>(decode: Decode<E>, flopsSoFar?: () => number) =>
      (request: GenerationRequest): Effect.Effect<GeneratedTexts, E> =>
        Effect.suspend(() => {
          const before = flopsSoFar?.() ?? 0
          return Effect.map(decode(request), made => ({
            ...made,
            flops: flopsSoFar === undefined ? made.passes * flopsPerPass : flopsSoFar() - before
          }))
        })
    const prepare = Effect.gen(function* () {
      if (inBlocks && extended === undefined) {
        const reader = yield* makeTextReader(engine, config, parameters, {
          rows,
          length: canvas.length,
          mask,
          tokenShift,
          blockSize
        })
        return counted(blockDecoder(reader, { ...options, ...reading }), reader.flops)
      }
      if (inBlocks) return counted(blockDecoder(wholeReader(yield* onHost, pad), { ...options, ...reading }))
      return counted(
        inBatches(
          extended === undefined && isResident(decoding)
            ? yield* makeResidentDecoder(engine, config, parameters, { ...canvas, mask, tokenShift, decoding })
            : wholeDecoder(yield* onHost, options),
          options
        )
      )
    })
    const decode = yield* prepare
    return {
      newTokens,
      stepsThatCount: steps => stepsThatCount({ ...decoding, steps }, newTokens),
      generate: request =>
        Effect.gen(function* () {
          const { prompts, reuse = false, seed, threshold } = request
          if (threshold !== undefined && !inBlocks)
            return yield* Effect.die(new TypeError("a threshold goes with decoding block by block"))
          const before: Array<number> = []
          let [flops, forwardMs, passes] = [0, 0, 0]
          const batches = extended === undefined ? 0 : Math.ceil(prompts.length / rows)
          for (let batch = 0; batch < batches; batch++) {
            const first = batch * rows
            const some = prompts.slice(first, first + rows)
            const begun = yield* extended!.begin({ prompts: some, seed, first, reuse })
            for (const _ of some) before.push(begun.forwards)
            passes += begun.forwards
            flops += begun.flops
            forwardMs += begun.forwardMs
          }
          const made = yield* decode(request)
          return {
            sequences: made.sequences,
            tokens: made.tokens,
            forwards: made.forwards.map((own, i) => own + (before[i] ?? 0)),
            ahead: prompts.map((_, i) => before[i] ?? 0),
            passes: passes + made.passes,
            forwardMs: forwardMs + made.forwardMs,
            flops: flops + made.flops
          }
        })
    }
  })

/** The tokens before the first of those that end a text. */
export const untilEnd = (tokens: Int32Array, ends: ReadonlySet<number>): Int32Array => {
  const end = tokens.findIndex(token => ends.has(token))
  return end < 0 ? tokens : tokens.subarray(0, end)
}

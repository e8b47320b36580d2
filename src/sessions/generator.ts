/**
 * What makes texts behind prompts in some number of steps: all that evaluation, benchmarks and `pipeline generate` know of how a model decodes. A model
 * that decodes in a way of its own is one more function that returns a `Generator`.
 */
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { LoadedModel } from "../models/artifact.ts"
import { trainingFlops } from "../models/flops.ts"
import { type DenoiserExtension, makeDenoiser } from "./query.ts"
import { type Denoiser, diffusionGenerate, type DiffusionRequest, stepsThatCount } from "../decoding/diffusion.ts"
import { type BatchRequest, type BatchResult, isResident, makeResidentDecoder } from "./resident.ts"
import { blocksOf, decodeBlocks, type MaskDecoding } from "../decoding/blocks.ts"
import { randomKey } from "../tensor/random.ts"
import type { CanvasShape } from "../decoding/canvas.ts"
import { append, greatest } from "../pipeline/lists.ts"

export interface GenerationRequest {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  /** Denoising steps that are allowed. */
  readonly steps: number
  /** The same prompts and seed give the same texts. */
  readonly seed: number
  /** Told of some rows, prompt and new tokens with the masks that are left, after a step; `first` is the number of their first prompt. */
  readonly onStep?: (step: number, rows: ReadonlyArray<Int32Array>, first: number) => Effect.Effect<void>
}

export interface GeneratedTexts {
  /** Prompts and new tokens. No mask is left. */
  readonly sequences: ReadonlyArray<Int32Array>
  /** Forward passes that a text took. */
  readonly forwards: number
  /** Of all forward passes together: time, ms, and floating-point operations by formula. */
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

/** Prompts that are decoded together. */
export interface Batch {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  readonly seed: number
  /** Number of the first prompt. */
  readonly first: number
}

/** What a method adds to decoding by masked diffusion. */
export interface Extended {
  readonly extension: DenoiserExtension
  /** Called before the first pass of a batch; returns forward passes, time and operations of its own. */
  readonly begin: (batch: Batch) => Effect.Effect<Omit<GeneratedTexts, "sequences">, EngineError>
  /** Operations that it adds to a forward pass. */
  readonly flops: number
}

/** Of a model what its decoding reads. */
export type DecodedModel = Pick<LoadedModel, "config" | "parameters" | "tokenShift"> & {
  readonly tokenizer: Pick<LoadedModel["tokenizer"], "maskId" | "padId" | "eosId">
}

/** Decodes by masked diffusion: where the model computes, if the settings allow that, or else on the host. */
export const maskedGenerator = (
  engine: Engine,
  { config, parameters, tokenShift, tokenizer }: DecodedModel,
  shape: GeneratorShape,
  decoding: MaskDecoding,
  extend?: (canvas: CanvasShape) => Effect.Effect<Extended, EngineError, Scope.Scope>
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { newTokens, promptTokens } = shape
    const rows = rowsThatFit(config.vocabSize, shape)
    const canvas = { rows, length: promptTokens + newTokens, newTokens }
    const mask = tokenizer.maskId
    const extended = extend === undefined ? undefined : yield* extend(canvas)
    const { blockLength } = decoding
    const decode =
      extended === undefined && isResident(decoding)
        ? yield* makeResidentDecoder(engine, config, parameters, { ...canvas, mask, tokenShift, decoding })
        : (blockLength === undefined ? hostDecoder : blockDecoder)(
            yield* makeDenoiser(engine, config, parameters, {
              ...canvas,
              places: rows * newTokens,
              tokenShift,
              ...(extended === undefined ? {} : { extension: extended.extension })
            }),
            { mask, eos: tokenizer.eosId, maxNewTokens: newTokens, decoding }
          )
    // Forward is a third of forward and backward.
    const ofModel = trainingFlops(config, Array<number>(rows).fill(canvas.length), { causal: false }) / 3
    const flopsPerForward = ofModel + (extended?.flops ?? 0)
    return {
      newTokens,
      stepsThatCount: steps => stepsThatCount({ ...decoding, steps }, newTokens),
      generate: ({ onStep, prompts, seed, steps }) =>
        Effect.gen(function* () {
          const sequences: Array<Int32Array> = []
          let [forwards, flops, forwardMs] = [0, 0, 0]
          for (let first = 0; first < prompts.length; first += rows) {
            const some = prompts.slice(first, first + rows)
            const begun = yield* extended?.begin({ prompts: some, seed, first }) ?? Effect.succeed(nothingYet)
            const made = yield* decode({
              prompts: some,
              pad: tokenizer.padId,
              seed,
              firstRow: first,
              steps,
              ...(onStep === undefined ? {} : { onStep: (step, texts) => onStep(step, texts, first) })
            })
            append(sequences, made.sequences)
            forwards = Math.max(forwards, begun.forwards + made.forwards)
            flops += begun.flops + made.forwards * flopsPerForward
            forwardMs += begun.forwardMs + made.forwardMs
          }
          return { sequences, forwards, forwardMs, flops }
        })
    }
  })

const nothingYet: Omit<GeneratedTexts, "sequences"> = { forwards: 0, forwardMs: 0, flops: 0 }

/** The tokens before the first end of text. */
export const untilEnd = (tokens: Int32Array, eos: number): Int32Array => {
  const end = tokens.indexOf(eos)
  return end < 0 ? tokens : tokens.subarray(0, end)
}

/** A decoder where logits come to the host: what is common to all that it is asked for. */
interface HostOptions extends Pick<DiffusionRequest, "mask" | "maxNewTokens"> {
  readonly eos: number
  readonly decoding: MaskDecoding
}

/** Decodes all new tokens at once. */
const hostDecoder =
  <E>(denoiser: Denoiser<E>, { decoding, mask, maxNewTokens }: HostOptions) =>
  ({ steps, ...request }: BatchRequest): Effect.Effect<BatchResult, E> =>
    timed(denoiser, asked =>
      diffusionGenerate(asked, { ...request, mask, maxNewTokens, settings: { ...decoding, steps } })
    )

/** Decodes block by block. */
const blockDecoder =
  <E>(denoiser: Denoiser<E>, { decoding, eos, mask, maxNewTokens: newTokens }: HostOptions) =>
  ({ firstRow = 0, pad, prompts, seed, steps }: BatchRequest): Effect.Effect<BatchResult, E> =>
    timed(denoiser, asked =>
      Effect.map(
        decodeBlocks(
          asked,
          prompts.map((ids, row) => ({ ids, newTokens, key: randomKey(seed, "block tokens", firstRow + row) })),
          { mask, pad, eos, settings: blocksOf(decoding, { newTokens, steps }) }
        ),
        texts => ({
          sequences: texts.map(({ tokens }, row) => {
            const ids = Int32Array.from(prompts[row]!)
            const whole = new Int32Array(ids.length + newTokens).fill(eos)
            whole.set(ids)
            whole.set(tokens, ids.length)
            return whole
          }),
          forwards: greatest(
            texts.map(({ forwards }) => forwards),
            0
          )
        })
      )
    )

/** Tells how long the model took. */
const timed = <E>(
  denoiser: Denoiser<E>,
  decode: (denoiser: Denoiser<E>) => Effect.Effect<Omit<BatchResult, "forwardMs">, E>
): Effect.Effect<BatchResult, E> =>
  Effect.suspend(() => {
    let forwardMs = 0
    const watched: Denoiser<E> = {
      ...denoiser,
      logits: (...given) =>
        Effect.suspend(() => {
          const begun = performance.now()
          return Effect.tap(denoiser.logits(...given), () =>
            Effect.sync(() => void (forwardMs += performance.now() - begun))
          )
        })
    }
    return Effect.map(decode(watched), made => ({ ...made, forwardMs }))
  })

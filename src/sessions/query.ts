/** A bidirectional model on an engine that is asked about places of a canvas: what is common to all that decodes with masks. */
import { Effect, type Scope } from "effect"
import { canvasArrays } from "../decoding/canvas.ts"
import type { Denoiser, TextAt } from "../decoding/diffusion.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { halvesForward } from "../models/blockDiffusion.ts"
import { forward, type Forward, type ForwardOptions, logits, type ModelWeights, weightsOf } from "../models/decoder.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import { gather, input, reshape } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type Data, inputsOf, makeSession } from "./session.ts"

/** Inputs of rows of tokens, i32 [rows, length] each. */
export const rowTensors = ({ length, rows }: BatchShape) => ({
  ids: input("ids", "i32", [rows, length]),
  /** From 0 on, and -1 for padding. */
  segmentIds: input("segmentIds", "i32", [rows, length]),
  positions: input("positions", "i32", [rows, length])
})
export type RowTensors = ReturnType<typeof rowTensors>

/** What a method adds to a plain masked-diffusion model. */
export interface DenoiserExtension {
  readonly trace: (
    parameter: (name: string) => Tensor,
    canvas: RowTensors
  ) => Pick<ForwardOptions, "embedded"> & {
    /** What the head reads, [rows, length, d], instead of the hidden states after the final norm. */
    readonly final?: (passed: Forward) => Tensor
  }
  /** The data that it reads, for rows of ids [rows, length] as they are before a pass, and the texts of the first rows: `pad` columns of padding stand before each. */
  readonly data: (ids: Int32Array, texts: ReadonlyArray<TextAt & { readonly pad: number }>) => Data
}

/** How a model reads tokens with masks. */
export interface MaskedReading {
  /** Whether the token at a place is predicted from the state before it, as in an autoregressive model, or from that at the place itself. Default true. */
  readonly tokenShift?: boolean
  readonly extension?: DenoiserExtension
  /** Whether each block with masks is read behind blocks without (models/blockDiffusion.ts), where rows hold masks in several blocks. Decoding, which ends one block before the next, reads so by itself. */
  readonly halves?: boolean
}

/** `rows`: at most; a canvas may have fewer. */
export interface QueryOptions extends BatchShape, MaskedReading {
  /** Places that are asked for at once, at most. */
  readonly places: number
}

/** The rows without masks, for passes that read them as well: an input of the name `clean`. */
export const cleanTensor = ({ length, rows }: BatchShape): Tensor => input("clean", "i32", [rows, length])

/**
 * A bidirectional pass over rows of tokens with masks, with what a method adds to it. `clean`: where each block is read behind clean ones, which goes without an extension. `read`: what the head reads,
 * [rows x length, d].
 */
export const maskedForward = (
  config: ModelConfig,
  parameter: (name: string) => Tensor,
  canvas: RowTensors,
  { clean, extension, tokenShift }: Omit<MaskedReading, "halves"> & { readonly clean?: Tensor | undefined } = {}
): { readonly passed: Forward; readonly read: Tensor; readonly weights: ModelWeights } => {
  const weights = weightsOf(config, parameter)
  if (clean !== undefined) {
    const { ids: noisy, ...places } = canvas
    const shifted = tokenShift === undefined ? {} : { tokenShift }
    const passed = halvesForward(config, weights, { noisy, clean }, { ...places, ...shifted })
    return { passed, read: reshape(passed.final, [-1, config.hiddenSize]), weights }
  }
  const { final = (passed: Forward) => passed.final, ...embedding } = extension?.trace(parameter, canvas) ?? {}
  const passed = forward(config, weights, canvas.ids, { causal: false, ...canvas, ...embedding })
  return { passed, read: reshape(final(passed), [-1, config.hiddenSize]), weights }
}

/**
 * Answers about the tokens at places of the canvas (row x length + column), one after the other. `pads`: how many columns at the beginning of each row are
 * padding. `texts`: of each row, for an extension.
 */
export type Query<E> = (
  canvas: Int32Array,
  pads: ReadonlyArray<number>,
  places: ReadonlyArray<number>,
  texts?: ReadonlyArray<TextAt>
) => Effect.Effect<Float32Array, E>

/** Prepares a model whose parameters lie in buffers. `answer`: from the hidden states that predict the tokens, [places, d], to f32 [places, …]. */
export const makeQuery = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { extension, length, places: most, rows, tokenShift = true }: QueryOptions,
  answer: (hiddenStates: Tensor, weights: ModelWeights) => Tensor
): Effect.Effect<Query<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const canvas = rowTensors({ rows, length })
    const { read, weights } = maskedForward(config, inputsOf(parameters), canvas, extension && { extension })
    // The head is the larger half of a small model: it reads only the columns that are asked for.
    const answers = answer(gather(read, input("columns", "i32", [most])), weights)
    const { run } = yield* makeSession(engine, { answers }, parameters)
    return (ids, pads, places, texts = []) =>
      Effect.gen(function* () {
        if (ids.length !== pads.length * length || pads.length > rows || places.length > most)
          return yield* Effect.die(
            new RangeError(`made for ${rows} rows and ${most} places, asked for ${pads.length} and ${places.length}`)
          )
        const arrays = canvasArrays({ ids, pads }, { rows, length })
        const asked = new Int32Array(most)
        for (const [i, place] of places.entries()) asked[i] = tokenShift ? place - 1 : place
        const found = yield* run({
          ...arrays,
          columns: asked,
          ...extension?.data(
            arrays.ids,
            texts.map((text, r) => ({ ...text, pad: pads[r]! }))
          )
        })
        return found.answers.subarray(0, places.length * (answers.size / most))
      })
  })

/** A model as what diffusion decoders ask: logits of tokens at places of a canvas. */
export const makeDenoiser = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  options: QueryOptions
): Effect.Effect<Denoiser<EngineError>, EngineError, Scope.Scope> =>
  Effect.map(makeQuery(engine, config, parameters, options, logits), query => ({
    vocabSize: config.vocabSize,
    length: options.length,
    logits: query
  }))

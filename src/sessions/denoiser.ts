/** A bidirectional model on an engine as what diffusion decoders ask: logits of tokens at places of a canvas. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { parameterInputs, prepare } from "../engines/prepared.ts"
import type { ModelConfig } from "../models/config.ts"
import { forward, type Forward, type ForwardOptions, logits, weightsOf } from "../models/decoder.ts"
import type { HostArray } from "../tensor/dtype.ts"
import { gather, input, reshape } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import type { Denoiser } from "../decoding/diffusion.ts"

/** The canvas, each i32 [rows, length]. */
export interface CanvasTensors {
  readonly ids: Tensor
  /** 0, and -1 for padding. */
  readonly segmentIds: Tensor
  readonly positions: Tensor
}

/** What a method adds to a plain masked-diffusion model. */
export interface DenoiserExtension {
  readonly trace: (
    parameter: (name: string) => Tensor,
    canvas: CanvasTensors
  ) => Pick<ForwardOptions, "embedded"> & {
    /** What the head reads, [rows, length, d], instead of the states after the final norm. */
    readonly final?: (passed: Forward) => Tensor
  }
  /** The data that it reads, for rows of ids [rows, length] as they are before a pass. */
  readonly data: (ids: Int32Array) => { readonly [name: string]: HostArray }
}

export interface DenoiserOptions {
  /** At most; a canvas may have fewer. */
  readonly rows: number
  /** Tokens of a row, prompt and new ones. */
  readonly length: number
  /** Places that are asked for at once, at most. */
  readonly wanted: number
  /** Whether the token at a place is predicted from the state before it, as in an autoregressive model, or from that at the place itself. Default true. */
  readonly tokenShift?: boolean
  readonly extension?: DenoiserExtension
}

/** Where each row's text begins: documents and positions of rows that are padded on the left. */
export const canvasArrays = (
  pads: ReadonlyArray<number>,
  { length, rows }: Pick<DenoiserOptions, "rows" | "length">
) => {
  const segmentIds = new Int32Array(rows * length)
  const positions = new Int32Array(rows * length)
  for (const [row, pad] of pads.entries())
    for (let i = 0; i < length; i++) {
      segmentIds[row * length + i] = i < pad ? -1 : 0
      positions[row * length + i] = Math.max(0, i - pad)
    }
  return { segmentIds, positions }
}

/** Prepares a model whose parameters lie in buffers. */
export const makeDenoiser = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { extension, length, rows, tokenShift = true, wanted }: DenoiserOptions
): Effect.Effect<Denoiser<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const parameter = parameterInputs(parameters)
    const weights = weightsOf(config, parameter)
    const ids = input("ids", "i32", [rows, length])
    const segmentIds = input("segmentIds", "i32", [rows, length])
    const positions = input("positions", "i32", [rows, length])
    const { final: read = ({ final }: Forward) => final, ...embedding } =
      extension?.trace(parameter, { ids, segmentIds, positions }) ?? {}
    const passed = forward(config, weights, ids, { causal: false, segmentIds, positions, ...embedding })
    // The head is the larger half of a small model: it reads only the rows that are asked for.
    const columns = input("columns", "i32", [wanted])
    const states = gather(reshape(read(passed), [rows * length, config.hiddenSize]), columns)
    const { run } = yield* prepare(engine, { logits: logits(states, weights) }, parameters)
    return {
      vocabSize: config.vocabSize,
      length,
      logits: (canvas, pads, places) =>
        Effect.gen(function* () {
          if (canvas.length !== pads.length * length || pads.length > rows || places.length > wanted)
            return yield* Effect.die(
              new RangeError(
                `made for ${rows} rows and ${wanted} places, asked for ${pads.length} and ${places.length}`
              )
            )
          const all = new Int32Array(rows * length)
          all.set(canvas)
          const asked = new Int32Array(wanted)
          for (const [i, place] of places.entries()) asked[i] = tokenShift ? place - 1 : place
          const { logits: found } = yield* run({
            ids: all,
            ...canvasArrays(pads, { length, rows }),
            columns: asked,
            ...extension?.data(all)
          })
          return found!.subarray(0, places.length * config.vocabSize)
        })
    }
  })

/** Parameters from checkpoints in Hugging Face layout to an engine, and back. */
import { Effect, Schema } from "effect"
import { nf4Group, quantise } from "../formats/bitsandbytes.ts"
import type { FileError } from "../formats/fileError.ts"
import { shorten } from "../formats/safetensors.ts"
import {
  type SaveOptions,
  saveTensors,
  type StoredTensor,
  type StoredTensors,
  TensorFilesError
} from "../formats/tensorFiles.ts"
import { visible } from "../pipeline/Problem.ts"
import type { Buffer, Engine, EngineError } from "../engines/Engine.ts"
import type { Nf4Layout } from "../tensor/nf4.ts"
import { sameShape } from "../tensor/shape.ts"
import { elements, type Shape, shapeText } from "../tensor/Tensor.ts"
import { downloadNf4, fillNf4, nf4Layout, type ParameterBuffers, type ParameterSpec } from "./parameters.ts"

/** A checkpoint that does not hold what the model needs. */
export class WeightsError extends Schema.TaggedError<WeightsError>()("WeightsError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

export interface Aliases {
  /** Name in a checkpoint -> name of the parameter that holds the same. */
  readonly [alias: string]: string
}

/** Buffers of older checkpoints that are computed here. */
const computed = /\.rotary_emb\.inv_freq$/

/** Names that a message lists before it counts the rest. */
const listed = 5
/** Axes that a message lists of a stored shape. */
const listedAxes = 16
const storedShape = (shape: Shape): string => (shape.length > listedAxes ? `of ${shape.length} axes` : shapeText(shape))

/** A tensor in NF4 may not say its shape. */
const hasShape = ({ nf4, shape }: StoredTensor, wanted: Shape): boolean =>
  nf4 === undefined || nf4.shaped
    ? sameShape(shape, wanted)
    : Math.ceil(elements(shape) / 2) === Math.ceil(elements(wanted) / 2)

/**
 * The stored tensor of each parameter. Fails with the names of all that are missing, unknown or misshapen. A tied head may be stored
 * too, under its alias. Tensors of the names in `others` belong to the model too, and are not asked for. `what` the message says first.
 */
export const matchWeights = (
  specs: ReadonlyArray<ParameterSpec>,
  tensors: StoredTensors,
  aliases: Aliases = {},
  others: ReadonlyArray<Pick<ParameterSpec, "name">> = [],
  what = "the weights do not fit the model's config.json"
): Effect.Effect<ReadonlyMap<string, StoredTensor>, WeightsError> => {
  const found = new Map<string, StoredTensor>()
  const missing: Array<string> = []
  const misshapen: Array<string> = []
  for (const { name, shape } of specs) {
    const tensor = tensors.get(name)
    if (tensor === undefined) missing.push(name)
    else if (!hasShape(tensor, shape))
      misshapen.push(`${name} is ${storedShape(tensor.shape)}, expected ${shapeText(shape)}`)
    else found.set(name, tensor)
  }
  const known = new Set([...[...specs, ...others].map(({ name }) => name), ...Object.keys(aliases)])
  const unknown = [...tensors.keys()].filter(name => !known.has(name) && !computed.test(name))
  const list = (what: string, names: ReadonlyArray<string>): ReadonlyArray<string> => {
    if (names.length === 0) return []
    const rest = names.length > listed ? `, and ${names.length - listed} more` : ""
    return [`${what}: ${names.slice(0, listed).join(", ")}${rest}`]
  }
  const faults = [
    ...list("missing", missing),
    ...list("unknown", unknown.map(shorten)),
    ...list("of another shape", misshapen)
  ]
  return faults.length === 0
    ? Effect.succeed(found)
    : Effect.fail(
        new WeightsError({
          message: visible(`${what}; ${faults.join("; ")}`)
        })
      )
}

/** Elements that are read and handed over at once. */
const piece = 2 ** 24

/** Formats that an engine may read itself. */
const direct = { F32: "f32", F16: "f16", BF16: "bf16" } as const
const isDirect = (format: string): format is keyof typeof direct => Object.hasOwn(direct, format)

/** Copies a stored tensor, or its elements from `from` to `to`, into a buffer, piece by piece. */
export const loadTensor = Effect.fn("loadTensor")(function* (
  engine: Engine,
  buffer: Buffer,
  tensor: StoredTensor,
  from = 0,
  to = elements(tensor.shape)
): Effect.fn.Return<void, EngineError | FileError | TensorFilesError> {
  const whole = from === 0 && to === elements(tensor.shape)
  if (engine.load !== undefined && tensor.parts !== undefined && whole) {
    let at = 0
    for (const part of tensor.parts) {
      yield* loadTensor(engine, yield* engine.view(buffer, at, part.shape), part)
      at += elements(part.shape)
    }
    return
  }
  if (engine.load !== undefined && isDirect(tensor.dtype) && tensor.nf4 === undefined && whole)
    return yield* engine.load(buffer, { path: tensor.path, dtype: direct[tensor.dtype], offset: tensor.offset })
  for (let start = from; start < to; start += piece) {
    const end = Math.min(to, start + piece)
    const view = end - start === to - from ? buffer : yield* engine.view(buffer, start - from, [end - start])
    yield* engine.upload(view, yield* tensor.floats(start, end))
  }
})

/** Copies stored tensors into their buffers. Tensors of the names in `others` belong to the model too, and stay where they are. */
export const loadWeights = Effect.fn("loadWeights")(function* (
  engine: Engine,
  { specs, views }: Pick<ParameterBuffers, "specs" | "views">,
  tensors: StoredTensors,
  aliases: Aliases = {},
  others: ReadonlyArray<Pick<ParameterSpec, "name">> = []
) {
  const found = yield* matchWeights(specs, tensors, aliases, others)
  for (const spec of specs) yield* loadParameter(engine, spec, views, found.get(spec.name)!)
})

/** Copies a stored tensor to where a parameter lies. What is stored in NF4 stays as it is; what is to be, and is not, is quantised. */
export const loadParameter = Effect.fn("loadParameter")(function* (
  engine: Engine,
  spec: ParameterSpec,
  views: ParameterBuffers["views"],
  tensor: StoredTensor
) {
  const { nf4 } = tensor
  const layout = nf4Layout(spec)
  const n = elements(spec.shape)
  if (layout === undefined) return yield* loadTensor(engine, views[spec.name]!, tensor, 0, n)
  if (nf4 === undefined) {
    const values = yield* tensor.floats(0, n)
    return yield* fillNf4(engine, spec.name, views, yield* quantise(spec.name, spec.shape, values, layout))
  }
  const text = ({ blockSize, doubleQuant }: Nf4Layout): string =>
    `in blocks of ${blockSize} with${doubleQuant ? "" : "out"} double quantisation`
  if (text(nf4.layout) !== text(layout))
    return yield* new TensorFilesError({
      message: visible(
        `the weight ${spec.name} is stored in NF4 ${text(nf4.layout)}, the model wants it ${text(layout)}; to quantise it again would lose more of it`
      )
    })
  yield* fillNf4(engine, spec.name, views, yield* nf4.content)
})

/** Writes parameters as safetensors files, each where `place` says, under the names that checkpoints have for them; returns the files' names. */
export const saveWeights = <E>(
  engine: Engine,
  place: (name: string) => Effect.Effect<string, E>,
  { specs, views }: Pick<ParameterBuffers, "specs" | "views">,
  options: SaveOptions,
  stored = (name: string): string => name
) =>
  saveTensors<E | EngineError>(
    place,
    specs.map(spec => {
      const { name, shape } = spec
      const layout = nf4Layout(spec)
      return layout === undefined
        ? {
            name: stored(name),
            shape,
            floats: Effect.map(engine.download(views[name]!), data => data as Float32Array<ArrayBuffer>)
          }
        : nf4Group(stored(name), shape, { layout, format: options.format }, downloadNf4(engine, name, layout, views))
    }),
    options
  )

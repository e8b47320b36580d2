/** Parameters from checkpoints in Hugging Face layout to an engine, and back. */
import { Effect, Schema } from "effect"
import { shorten } from "../formats/safetensors.ts"
import { type SaveOptions, saveTensors, type StoredTensor, type StoredTensors } from "../formats/tensorFiles.ts"
import { visible } from "../pipeline/Problem.ts"
import type { Buffer, Engine, EngineError } from "../engines/Engine.ts"
import { sameShape } from "../tensor/shape.ts"
import { elements, type Shape, shapeText } from "../tensor/Tensor.ts"
import { fill, type ParameterBuffers, type ParameterSpec } from "./parameters.ts"

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

/**
 * The stored tensor of each parameter. Fails with the names of all that are missing, unknown or misshapen. A tied head may be stored
 * too, under its alias. Tensors of the names in `others` belong to the model too, and are not asked for.
 */
export const matchWeights = (
  specs: ReadonlyArray<ParameterSpec>,
  tensors: StoredTensors,
  aliases: Aliases = {},
  others: ReadonlyArray<Pick<ParameterSpec, "name">> = []
): Effect.Effect<ReadonlyMap<string, StoredTensor>, WeightsError> => {
  const found = new Map<string, StoredTensor>()
  const missing: Array<string> = []
  const misshapen: Array<string> = []
  for (const { name, shape } of specs) {
    const tensor = tensors.get(name)
    if (tensor === undefined) missing.push(name)
    else if (!sameShape(tensor.shape, shape))
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
          message: visible(`the weights do not fit the model's config.json; ${faults.join("; ")}`)
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
) {
  if (engine.load !== undefined && isDirect(tensor.dtype) && from === 0 && to === elements(tensor.shape))
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
  for (const spec of specs) {
    const tensor = found.get(spec.name)!
    if (spec.storage === "nf4") yield* fill(engine, spec, views, yield* tensor.floats(0, elements(spec.shape)))
    else yield* loadTensor(engine, views[spec.name]!, tensor)
  }
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
    specs.map(({ name, shape }) => ({
      name: stored(name),
      shape,
      floats: Effect.map(engine.download(views[name]!), data => data as Float32Array<ArrayBuffer>)
    })),
    options
  )

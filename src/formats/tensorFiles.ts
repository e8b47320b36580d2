/** The tensors of a model's safetensors files, one or several (shards): read by ranges, and written. */
import { open, writeFile } from "node:fs/promises"
import { Effect, Schema } from "effect"
import { visible } from "../pipeline/Problem.ts"
import { elements, type Shape } from "../tensor/Tensor.ts"
import { type FileError, onFile } from "./fileError.ts"
import { decodeFloats, encodeFloats, floatBytes, type FloatFormat, isFloatFormat } from "./floats.ts"
import { fileSource } from "./randomAccess.ts"
import { encodeHeader, readHeader, shorten, type TensorInfo } from "./safetensors.ts"
import { readText } from "./textFile.ts"

/** Tensors that are not what a model needs, or an index that does not fit its files. */
export class TensorFilesError extends Schema.TaggedError<TensorFilesError>()("TensorFilesError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

export interface StoredTensor extends TensorInfo {
  /** Name of its file. */
  readonly file: string
  /** Where that file lies; `offset` counts from its beginning. */
  readonly path: string
  /** Elements `from` to `to` in row-major order as f32. */
  readonly floats: (from: number, to: number) => Effect.Effect<Float32Array<ArrayBuffer>, FileError | TensorFilesError>
}

export type StoredTensors = ReadonlyMap<string, StoredTensor>

const indexFile = "model.safetensors.index.json"
const Index = Schema.Struct({ weight_map: Schema.Record(Schema.String, Schema.String) })

/** Files by their names in the model's repository. */
export interface NamedFile {
  readonly name: string
  readonly path: string
}

/** Finds the tensors of all safetensors files among some; where there is an index, it must fit them. */
export const openTensors = Effect.fn("openTensors")(function* (files: ReadonlyArray<NamedFile>) {
  const refuse = (message: string) => new TensorFilesError({ message: visible(message) })
  const tensors = new Map<string, StoredTensor>()
  const shards = files.filter(({ name }) => name.endsWith(".safetensors"))
  if (shards.length === 0) return yield* refuse("the model has no safetensors file")
  for (const { name: file, path } of shards) {
    const source = fileSource(path)
    const size = yield* source.size
    const header = yield* readHeader({
      file,
      size,
      readRange: (offset, length) => source.read(offset, offset + length)
    })
    for (const tensor of header.tensors.values()) {
      const other = tensors.get(tensor.name)
      if (other !== undefined)
        return yield* refuse(`the tensor ${shorten(tensor.name)} is in ${other.file} and in ${file}`)
      tensors.set(tensor.name, {
        ...tensor,
        file,
        path,
        floats: (from, to) => {
          const { dtype } = tensor
          if (!isFloatFormat(dtype))
            return Effect.fail(
              refuse(`${file}: the tensor ${tensor.name} is ${dtype}; weights are F32, BF16, F16 or F64`)
            )
          const width = floatBytes(dtype)
          return Effect.flatMap(source.read(tensor.offset + from * width, tensor.offset + to * width), bytes =>
            bytes.length === (to - from) * width
              ? Effect.succeed(decodeFloats(dtype, bytes))
              : Effect.fail(refuse(`${file} ended while its tensor ${tensor.name} was read: it changed`))
          )
        }
      })
    }
  }
  const index = files.find(({ name }) => name === indexFile)
  if (index !== undefined) {
    const text = yield* readText(index.path, indexFile)
    const { weight_map: places } = yield* Effect.mapError(
      Schema.decodeUnknownEffect(Schema.fromJsonString(Index))(text),
      ({ message }) => refuse(`${indexFile}: ${message}`)
    )
    for (const [name, file] of Object.entries(places))
      if (tensors.get(name)?.file !== file) {
        const why = shards.some(shard => shard.name === file) ? "does not hold it" : "is not there"
        return yield* refuse(`${indexFile} says that the tensor ${shorten(name)} is in ${shorten(file)}, which ${why}`)
      }
  }
  return tensors as StoredTensors
})

/** A tensor to be written. */
export interface TensorToSave<E> {
  readonly name: string
  readonly shape: Shape
  readonly floats: Effect.Effect<Float32Array<ArrayBuffer>, E>
}

export interface SaveOptions {
  readonly format: Extract<FloatFormat, "F32" | "BF16" | "F16">
  /** A file holds tensors of at most so many bytes, or one larger tensor. */
  readonly maxFileBytes?: number
}

/** As other tools of the field cut large models. */
const defaultFileBytes = 5e9

/**
 * Writes `model.safetensors`, or shards and their index where that would be too large. The same tensors give the same bytes. Holds one
 * tensor at a time. `place` gives the path of each file by its name. Returns the names.
 */
export const saveTensors = Effect.fn("saveTensors")(function* <E>(
  place: (name: string) => Effect.Effect<string, E>,
  tensors: ReadonlyArray<TensorToSave<E>>,
  { format, maxFileBytes = defaultFileBytes }: SaveOptions
) {
  const bytesOf = ({ shape }: TensorToSave<E>): number => elements(shape) * floatBytes(format)
  const shards: Array<Array<TensorToSave<E>>> = [[]]
  let filled = 0
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor)
    if (filled > 0 && filled + bytes > maxFileBytes) {
      shards.push([])
      filled = 0
    }
    shards.at(-1)!.push(tensor)
    filled += bytes
  }
  const five = (n: number): string => String(n).padStart(5, "0")
  const names = shards.map((_, i) =>
    shards.length === 1 ? "model.safetensors" : `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`
  )
  for (const [i, shard] of shards.entries()) yield* saveShard(yield* place(names[i]!), shard, format)
  if (shards.length === 1) return names
  const index = {
    metadata: { total_size: tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0) },
    weight_map: Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!])))
  }
  const path = yield* place(indexFile)
  yield* onFile(path, `write ${path}`, () => writeFile(path, `${JSON.stringify(index, null, 2)}\n`))
  return [...names, indexFile]
})

const saveShard = <E>(path: string, tensors: ReadonlyArray<TensorToSave<E>>, format: SaveOptions["format"]) => {
  const byName = new Map(tensors.map(tensor => [tensor.name, tensor]))
  // Readers of the field refuse files that do not say which framework's conventions they follow.
  const header = encodeHeader(
    tensors.map(({ name, shape }) => ({ name, dtype: format, shape })),
    [["format", "pt"]]
  )
  return Effect.acquireUseRelease(
    onFile(path, `write ${path}`, () => open(path, "w")),
    file =>
      Effect.gen(function* () {
        const write = (bytes: Uint8Array) => onFile(path, `write ${path}`, () => file.writeFile(bytes))
        yield* write(header.bytes)
        for (const { name } of header.tensors) yield* write(encodeFloats(format, yield* byName.get(name)!.floats))
      }),
    file => Effect.promise(() => file.close())
  )
}

/** The tensors of a model's safetensors files, one or several (shards): read by ranges, and written. */
import { open, writeFile } from "node:fs/promises"
import { Effect, Schema } from "effect"
import { visible } from "../pipeline/Problem.ts"
import type { Nf4Content, Nf4Layout } from "../tensor/nf4.ts"
import { elements, type Shape } from "../tensor/Tensor.ts"
import { type FileError, onFile } from "./fileError.ts"
import { decodeFloats, encodeFloats, floatBytes, type FloatFormat, isFloatFormat } from "./floats.ts"
import { fileSource } from "./randomAccess.ts"
import { dtypeBits, encodeHeader, readHeader, shorten, type TensorInfo, type TensorSpec } from "./safetensors.ts"
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
  /** Bytes `from` to `to` as they lie in the file. */
  readonly bytes: (from: number, to: number) => Effect.Effect<Uint8Array<ArrayBuffer>, FileError | TensorFilesError>
  /** Those that it is made of, one behind the other, where it is no one piece of a file (joinedTensors.ts). */
  readonly parts?: ReadonlyArray<StoredTensor>
  /** What it is made of, where it is a weight in NF4 (bitsandbytes.ts). */
  readonly nf4?: StoredNf4
}

/** A weight in NF4, as files hold it. */
export interface StoredNf4 {
  readonly layout: Nf4Layout
  /** What it was before by PyTorch's name, as in `bfloat16`. */
  readonly dtype: string
  /** Whether its shape is known: one that is not is taken for a list of its numbers, a missing last one among them. */
  readonly shaped: boolean
  readonly content: Effect.Effect<Nf4Content, FileError | TensorFilesError>
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
      const bytes: StoredTensor["bytes"] = (from, to) =>
        Effect.flatMap(source.read(tensor.offset + from, tensor.offset + to), read =>
          read.length === to - from
            ? Effect.succeed(read)
            : Effect.fail(refuse(`${file} ended while its tensor ${tensor.name} was read: it changed`))
        )
      tensors.set(tensor.name, {
        ...tensor,
        file,
        path,
        bytes,
        floats: (from, to) => {
          const { dtype } = tensor
          if (!isFloatFormat(dtype))
            return Effect.fail(
              refuse(`${file}: the tensor ${tensor.name} is ${dtype}; weights are F32, BF16, F16 or F64`)
            )
          const width = floatBytes(dtype)
          return Effect.map(bytes(from * width, to * width), read => decodeFloats(dtype, read))
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

/** A tensor to be written as floats of the files' format. */
export interface TensorToSave<E> {
  readonly name: string
  readonly shape: Shape
  readonly floats: Effect.Effect<Float32Array<ArrayBuffer>, E>
}

/** A tensor that is written as it is, piece by piece. */
export interface TensorCopy<E> {
  readonly tensor: TensorSpec
  /** One behind the other. */
  readonly pieces: ReadonlyArray<Effect.Effect<Uint8Array, E>>
}

export type Saved<E> = TensorToSave<E> | TensorCopy<E> | TensorGroup<E>

/** Bytes that are copied at once. */
const copiedAtOnce = 2 ** 26

/** A stored tensor as it is, of whatever dtype. */
export const copyOf = (tensor: StoredTensor): TensorCopy<FileError | TensorFilesError> => withRows(tensor, [])

/** A stored tensor with some rows of its first axis replaced; these in ascending order, as their bytes. */
export const withRows = <E>(
  tensor: StoredTensor,
  rows: ReadonlyArray<{ readonly row: number; readonly bytes: Effect.Effect<Uint8Array, E> }>
): TensorCopy<E | FileError | TensorFilesError> => {
  const { bytes, dtype, name, shape, size } = tensor
  const rowBytes = size / (shape[0] ?? 1)
  const range = (from: number, to: number) =>
    Array.from({ length: Math.ceil((to - from) / copiedAtOnce) }, (_, i) =>
      bytes(from + i * copiedAtOnce, Math.min(to, from + (i + 1) * copiedAtOnce))
    )
  const ends = [0, ...rows.map(({ row }) => (row + 1) * rowBytes)]
  return {
    tensor: { name, dtype, shape },
    pieces: [
      ...rows.flatMap(({ bytes, row }, i) => [...range(ends[i]!, row * rowBytes), bytes]),
      ...range(ends.at(-1)!, size)
    ]
  }
}

/** Tensors that are made together, and written as they are. */
export interface TensorGroup<E> {
  readonly tensors: ReadonlyArray<TensorSpec>
  /** Of each. */
  readonly bytes: Effect.Effect<ReadonlyArray<Uint8Array>, E>
}

export interface SaveOptions {
  readonly format: Extract<FloatFormat, "F32" | "BF16" | "F16">
  /** A file holds tensors of at most so many bytes, or one larger group. */
  readonly maxFileBytes?: number
}

/** As other tools of the field cut large models. */
const defaultFileBytes = 5e9

/** What is written to a file: where each tensor goes, and the bytes that go there one behind the other. */
interface Part<E> {
  readonly tensors: ReadonlyArray<TensorSpec>
  readonly write: (
    append: (name: string, bytes: Uint8Array) => Effect.Effect<void, FileError>
  ) => Effect.Effect<void, E | FileError>
  readonly size: number
}

const partOf = <E>(saved: Saved<E>, format: SaveOptions["format"]): Part<E> => {
  if ("pieces" in saved) {
    const { pieces, tensor } = saved
    const tensors = [tensor]
    return {
      tensors,
      size: sizeOf(tensors),
      write: append =>
        Effect.forEach(pieces, piece => Effect.flatMap(piece, bytes => append(tensor.name, bytes)), { discard: true })
    }
  }
  const group: TensorGroup<E> =
    "tensors" in saved
      ? saved
      : {
          tensors: [{ name: saved.name, dtype: format, shape: saved.shape }],
          bytes: Effect.map(saved.floats, values => [encodeFloats(format, values)])
        }
  return {
    tensors: group.tensors,
    size: sizeOf(group.tensors),
    write: append =>
      Effect.flatMap(group.bytes, all =>
        Effect.forEach(all, (bytes, i) => append(group.tensors[i]!.name, bytes), { discard: true })
      )
  }
}

const sizeOf = (tensors: ReadonlyArray<TensorSpec>): number =>
  tensors.reduce((sum, { dtype, shape }) => sum + (elements(shape) * dtypeBits[dtype]) / 8, 0)

/**
 * Writes `model.safetensors`, or shards and their index where that would be too large. The same tensors give the same bytes. Holds one
 * tensor, or group, at a time. `place` gives the path of each file by its name. Returns the names.
 */
export const saveTensors = Effect.fn("saveTensors")(function* <E>(
  place: (name: string) => Effect.Effect<string, E>,
  tensors: ReadonlyArray<Saved<E>>,
  { format, maxFileBytes = defaultFileBytes }: SaveOptions
) {
  const parts = tensors.map(tensor => partOf(tensor, format))
  const shards: Array<Array<Part<E>>> = [[]]
  let filled = 0
  for (const part of parts) {
    if (filled > 0 && filled + part.size > maxFileBytes) {
      shards.push([])
      filled = 0
    }
    shards.at(-1)!.push(part)
    filled += part.size
  }
  const five = (n: number): string => String(n).padStart(5, "0")
  const names = shards.map((_, i) =>
    shards.length === 1 ? "model.safetensors" : `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`
  )
  for (const [i, shard] of shards.entries()) yield* saveFile(yield* place(names[i]!), shard)
  if (shards.length === 1) return names
  const placed = shards.flatMap((shard, i) => shard.flatMap(part => part.tensors.map(({ name }) => [name, names[i]!])))
  const index = {
    metadata: { total_size: parts.reduce((sum, { size }) => sum + size, 0) },
    weight_map: Object.fromEntries(placed) as { readonly [name: string]: string }
  }
  const path = yield* place(indexFile)
  yield* onFile(path, `write ${path}`, () => writeFile(path, `${JSON.stringify(index, null, 2)}\n`))
  return [...names, indexFile]
})

/** Writes one safetensors file by itself. */
export const saveTensorFile = <E>(path: string, tensors: ReadonlyArray<Saved<E>>, format: SaveOptions["format"]) =>
  saveFile(
    path,
    tensors.map(tensor => partOf(tensor, format))
  )

/** Writes one safetensors file, part after part, each tensor where the header has it. */
const saveFile = <E>(path: string, parts: ReadonlyArray<Part<E>>) => {
  // Readers of the field refuse files that do not say which framework's conventions they follow.
  const header = encodeHeader(
    parts.flatMap(({ tensors }) => tensors),
    [["format", "pt"]]
  )
  const ends = new Map(header.tensors.map(({ name, offset }) => [name, offset]))
  return Effect.acquireUseRelease(
    onFile(path, `write ${path}`, () => open(path, "w")),
    file => {
      const write = (bytes: Uint8Array, offset: number) =>
        onFile(path, `write ${path}`, async () => {
          for (let done = 0; done < bytes.length;) {
            const length = Math.min(bytes.length - done, writtenAtOnce)
            done += (await file.write(bytes, done, length, offset + done)).bytesWritten
          }
        })
      const append = (name: string, bytes: Uint8Array) =>
        Effect.suspend(() => {
          const end = ends.get(name)!
          ends.set(name, end + bytes.length)
          return write(bytes, end)
        })
      return Effect.andThen(
        write(header.bytes, 0),
        Effect.forEach(parts, part => part.write(append), { discard: true })
      )
    },
    file => Effect.promise(() => file.close())
  )
}

/** The system takes no more than 2 GiB. */
const writtenAtOnce = 2 ** 30

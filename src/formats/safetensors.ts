/**
 * The headers of safetensors files: read with every rule of the format checked, and written.
 * A file is 8 bytes with the length N of the header (little-endian), N bytes of JSON, and the tensors' bytes without gaps.
 * Source: the format's description and reference implementation in the `safetensors` repository of Hugging Face.
 */
import { Effect, Result, Schema } from "effect"
import { visible } from "../pipeline/Problem.ts"
import { HeaderFault, parseHeaderJson } from "./safetensorsJson.ts"

/** Bits of one element, by the names of the format. */
export const dtypeBits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E5M2FNUZ: 8,
  F8_E4M3FNUZ: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64
} as const

export type Dtype = keyof typeof dtypeBits

export const isDtype = (name: string): name is Dtype => Object.hasOwn(dtypeBits, name)

/** Longest header in bytes, as in the reference implementation. */
export const longestHeader = 100_000_000

/** A tensor of a file. */
export interface TensorInfo {
  readonly name: string
  readonly dtype: Dtype
  /** Empty for a scalar. */
  readonly shape: ReadonlyArray<number>
  /** Where the tensor's bytes begin, counted from the beginning of the file. */
  readonly offset: number
  /** Bytes of the tensor. */
  readonly size: number
}

export interface SafetensorsHeader {
  /** By name, in the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly metadata: ReadonlyMap<string, string>
  /** Where the header ends and the first tensor's bytes begin. */
  readonly dataOffset: number
}

/** A file that is not safetensors, or breaks one of the format's rules. */
export class SafetensorsError extends Schema.TaggedError<SafetensorsError>()("SafetensorsError", {
  class: Schema.tag("permanent"),
  file: Schema.String,
  /** The tensor at fault, when one is. */
  tensor: Schema.optionalKey(Schema.String),
  /** Where in the file, in bytes from its beginning. */
  offset: Schema.Int,
  message: Schema.String
}) {}

/** Access to a file's bytes, wherever it is. */
export interface RangeReader<E, R = never> {
  /** Its name in messages. */
  readonly file: string
  /** Its size in bytes. */
  readonly size: number
  /** Reads `length` bytes from `offset`. It is asked for bytes inside the file only. */
  readonly readRange: (offset: number, length: number) => Effect.Effect<Uint8Array, E, R>
}

/** Reads the header with two range reads: its length, and itself. */
export const readHeader = Effect.fn("safetensors.readHeader")(function* <E, R>({
  file,
  size,
  readRange
}: RangeReader<E, R>) {
  const failed = (offset: number, what: string) => fault(file, new HeaderFault(offset, what))
  if (size < 8) return yield* failed(0, `the file has ${size} bytes, too few for the length of a header`)
  const prefix = yield* readRange(0, 8)
  if (prefix.length !== 8) return yield* failed(0, `8 bytes were asked for, ${prefix.length} came`)
  const length = yield* Effect.fromResult(headerLength(prefix, size, file))
  const json = yield* readRange(8, length)
  if (json.length !== length) return yield* failed(8, `${length} bytes were asked for, ${json.length} came`)
  return yield* Effect.fromResult(parse(json, size, file))
})

const headerLength = (prefix: Uint8Array, size: number, file: string): Result.Result<number, SafetensorsError> => {
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true)
  const failed = (what: string) => Result.fail(fault(file, new HeaderFault(0, what)))
  if (length > BigInt(longestHeader)) return failed(`the header would have ${length} bytes, more than ${longestHeader}`)
  if (length > BigInt(size - 8)) return failed(`the header would have ${length} bytes, the file has ${size}`)
  return Result.succeed(Number(length))
}

const parse = (json: Uint8Array, size: number, file: string): Result.Result<SafetensorsHeader, SafetensorsError> => {
  try {
    return Result.succeed(check(json, size))
  } catch (cause) {
    if (cause instanceof HeaderFault) return Result.fail(fault(file, cause))
    throw cause
  }
}

/** Throws a HeaderFault, with offsets from the beginning of the file. */
const check = (json: Uint8Array, size: number): SafetensorsHeader => {
  const dataOffset = 8 + json.length
  const { entries, metadata } = parseHeaderJson(json, 8)
  const tensors = new Map<string, TensorInfo>()
  for (const { name, at, dtype, shape, dataOffsets } of entries) {
    if (!isDtype(dtype)) throw new HeaderFault(at, `the dtype ${JSON.stringify(dtype.slice(0, 40))} is not known`, name)
    const [begin, end] = dataOffsets
    if (begin > end) throw new HeaderFault(at, `data_offsets run backwards, from ${begin} to ${end}`, name)
    if (end > size - dataOffset) {
      throw new HeaderFault(at, `data_offsets end at ${end}, the data at ${size - dataOffset}`, name)
    }
    const bytes = tensorBytes(dtype, shape)
    if (typeof bytes === "string") throw new HeaderFault(at, bytes, name)
    if (bytes !== end - begin) {
      const what = `${dtype} of shape [${shape.slice(0, 16).join(",")}] takes ${bytes} bytes, data_offsets hold ${end - begin}`
      throw new HeaderFault(at, what, name)
    }
    tensors.set(name, { name, dtype, shape, offset: dataOffset + begin, size: bytes })
  }
  checkLayout([...tensors.values()], dataOffset, size)
  return { tensors, metadata, dataOffset }
}

/** The tensors cover the rest of the file, each byte once. */
const checkLayout = (tensors: ReadonlyArray<TensorInfo>, dataOffset: number, size: number) => {
  // Empty tensors stand before the one that begins at the same byte.
  const inOrder = [...tensors].sort((a, b) => a.offset - b.offset || a.size - b.size)
  let end = dataOffset
  for (const tensor of inOrder) {
    if (tensor.offset > end) {
      throw new HeaderFault(end, `${tensor.offset - end} bytes before it belong to no tensor`, tensor.name)
    }
    if (tensor.offset < end)
      throw new HeaderFault(tensor.offset, "its bytes overlap with another tensor's", tensor.name)
    end += tensor.size
  }
  if (end < size) throw new HeaderFault(end, `${size - end} bytes at the end of the file belong to no tensor`)
}

/** Bytes of a tensor, or why there is no such number. */
const tensorBytes = (dtype: Dtype, shape: ReadonlyArray<number>): number | string => {
  let elements = 1
  for (const dimension of shape) {
    elements *= dimension
    // As in the reference implementation, a later 0 does not make up for it.
    if (!Number.isSafeInteger(elements * dtypeBits[dtype])) {
      return `the shape [${shape.slice(0, 16).join(",")}] has more elements than any file holds`
    }
  }
  const bits = elements * dtypeBits[dtype]
  return bits % 8 === 0 ? bits / 8 : `${elements} elements of ${dtypeBits[dtype]} bits do not fill whole bytes`
}

const fault = (file: string, { offset, what, tensor }: HeaderFault) => {
  const name = tensor === undefined ? "" : `tensor ${JSON.stringify(shorten(tensor))}: `
  return new SafetensorsError({
    file,
    offset,
    message: visible(`${file}: not a valid safetensors file: ${name}${what} (at byte ${offset})`),
    ...(tensor === undefined ? {} : { tensor })
  })
}

/** A name as messages show it: a file may give a tensor a name of any length. */
export const shorten = (name: string): string => (name.length > 100 ? `${name.slice(0, 99)}…` : name)

/** A tensor to be written. */
export interface TensorSpec {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: ReadonlyArray<number>
}

/** The beginning of a file, and where the tensors' bytes go. */
export interface EncodedHeader {
  /** Length, JSON and padding; its own length is a multiple of 8. */
  readonly bytes: Uint8Array
  /** In the order in which their bytes must follow. */
  readonly tensors: ReadonlyArray<TensorInfo>
  /** Bytes of the whole file. */
  readonly size: number
}

/**
 * Writes the header for some tensors. The same tensors and metadata give the same bytes, in whatever order they come:
 * tensors are laid out by falling element size, then by name (so each is aligned to its element), metadata by key.
 * Throws a TypeError that names the tensor for what the format cannot hold.
 */
export const encodeHeader = (
  tensors: Iterable<TensorSpec>,
  metadata: Iterable<readonly [key: string, value: string]> = []
): EncodedHeader => {
  const inOrder = [...tensors].sort(
    (a, b) => dtypeBits[b.dtype] - dtypeBits[a.dtype] || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))
  )
  const names = new Set<string>()
  const fields: Array<string> = []
  const pairs = [...metadata].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  if (pairs.length > 0) {
    const keys = new Set<string>()
    for (const [key, value] of pairs) {
      if (keys.has(key)) throw new TypeError(`the metadata has the key ${JSON.stringify(key)} twice`)
      if (!key.isWellFormed() || !value.isWellFormed()) {
        throw new TypeError(`the metadata ${JSON.stringify(key)} holds half of a surrogate pair`)
      }
      keys.add(key)
    }
    fields.push(
      `"__metadata__":{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`
    )
  }
  const laidOut: Array<TensorInfo> = []
  let end = 0
  for (const { name, dtype, shape } of inOrder) {
    const refuse = (why: string) => new TypeError(`tensor ${JSON.stringify(shorten(name))}: ${why}`)
    if (name === "__metadata__" || !name.isWellFormed()) throw refuse("this is not a name for a tensor")
    if (names.has(name)) throw refuse("the name is there twice")
    names.add(name)
    if (!isDtype(dtype)) throw refuse(`the dtype ${JSON.stringify(dtype)} is not known`)
    if (!shape.every(dimension => Number.isSafeInteger(dimension) && dimension >= 0)) {
      throw refuse(`the shape [${shape.join(",")}] has a dimension that is no whole number`)
    }
    const size = tensorBytes(dtype, shape)
    if (typeof size === "string") throw refuse(size)
    fields.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${end},${end + size}]}`
    )
    laidOut.push({ name, dtype, shape, offset: end, size })
    end += size
  }
  const json = Buffer.from(`{${fields.join(",")}}`)
  const length = Math.ceil(json.length / 8) * 8
  if (length > longestHeader) throw new TypeError(`the header has ${length} bytes, more than ${longestHeader}`)
  const bytes = Buffer.alloc(8 + length, " ")
  bytes.writeBigUInt64LE(BigInt(length))
  json.copy(bytes, 8)
  return {
    bytes,
    tensors: laidOut.map(tensor => ({ ...tensor, offset: tensor.offset + bytes.length })),
    size: bytes.length + end
  }
}

/**
 * The bytes of a record's sequences: the payload of one item of a chunk set of tokens. Little-endian, without padding:
 *
 *     header    "DSEQ" | u8 version = 1 | u8 flags | u16 0 | u32 count | f64 idx, if flag 1
 *     sequence  u32 length n | u32 promptLength | u8 mask | n ids, each u16 or, if flag 2, i32 | if mask = 1: ceil(n / 8) bytes
 *
 * `mask` 0: all tokens from `promptLength` on are learnt. `mask` 1: a bit a token follows, the first token in the lowest
 * bit of the first byte; unused bits are 0. The place of the record in a corpus is not stored, because a set knows it.
 */
import { Result, Schema } from "effect"
import type { Sequence, SequenceContent } from "./sequences.ts"

/** Bytes that are not the sequences of a record; `message` tells where they stop making sense. */
export class SequenceCodecError extends Schema.TaggedError<SequenceCodecError>()("SequenceCodecError", {
  /** In bytes from the start. */
  offset: Schema.Int,
  message: Schema.String
}) {}

const magic = 0x51455344 // "DSEQ"
const version = 1
const hasIdx = 1
const wideIds = 2
const headerSize = 12
const sequenceHeaderSize = 9

/** Writes the sequences of one record; equal sequences give equal bytes. All must have the same `idx`, or none. */
export const encodeSequences = (sequences: ReadonlyArray<SequenceContent>): Uint8Array<ArrayBuffer> => {
  const idx = sequences[0]?.idx
  if (sequences.some(sequence => sequence.idx !== idx))
    throw new RangeError("the sequences of one record share its idx")
  const wide = sequences.some(({ ids }) => ids.some(id => id > 0xffff))
  const idSize = wide ? 4 : 2
  const plain = sequences.map(({ lossMask, promptLength }) =>
    lossMask.every((bit, i) => bit === Number(i >= promptLength))
  )
  const size = sequences.reduce(
    (sum, { ids }, i) => sum + sequenceHeaderSize + ids.length * idSize + (plain[i] ? 0 : Math.ceil(ids.length / 8)),
    headerSize + (idx === undefined ? 0 : 8)
  )
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, magic, true)
  view.setUint8(4, version)
  view.setUint8(5, (idx === undefined ? 0 : hasIdx) | (wide ? wideIds : 0))
  view.setUint32(8, sequences.length, true)
  let at = headerSize
  if (idx !== undefined) {
    view.setFloat64(at, idx, true)
    at += 8
  }
  for (const [i, { ids, lossMask, promptLength }] of sequences.entries()) {
    if (lossMask.length !== ids.length) throw new RangeError("a loss mask is as long as its ids")
    view.setUint32(at, ids.length, true)
    view.setUint32(at + 4, promptLength, true)
    view.setUint8(at + 8, plain[i] ? 0 : 1)
    at += sequenceHeaderSize
    for (const id of ids) {
      if (id < 0) throw new RangeError(`a token id is never negative, got ${id}`)
      if (wide) view.setInt32(at, id, true)
      else view.setUint16(at, id, true)
      at += idSize
    }
    if (plain[i]) continue
    for (const [j, bit] of lossMask.entries()) {
      const place = at + (j >> 3)
      bytes[place] = (bytes[place] ?? 0) | (bit << (j & 7))
    }
    at += Math.ceil(ids.length / 8)
  }
  return bytes
}

/** Reads what `encodeSequences` wrote. `document` is the place of the record in its corpus. */
export const decodeSequences = (
  bytes: Uint8Array,
  document: number
): Result.Result<ReadonlyArray<Sequence>, SequenceCodecError> => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const fail = (offset: number, what: string) =>
    Result.fail(new SequenceCodecError({ offset, message: `token sequences, byte ${offset}: ${what}` }))
  if (bytes.length < headerSize) return fail(bytes.length, `the bytes end inside the header of ${headerSize} bytes`)
  if (view.getUint32(0, true) !== magic) return fail(0, 'they do not begin with "DSEQ"')
  if (view.getUint8(4) !== version) {
    return fail(4, `version ${view.getUint8(4)} is unknown here, which reads version ${version}`)
  }
  const flags = view.getUint8(5)
  if ((flags & ~(hasIdx | wideIds)) !== 0 || view.getUint16(6, true) !== 0) return fail(5, "unknown flags are set")
  const count = view.getUint32(8, true)
  let at = headerSize
  let idx: number | undefined
  if ((flags & hasIdx) !== 0) {
    if (bytes.length < at + 8) return fail(bytes.length, "the bytes end inside idx")
    idx = view.getFloat64(at, true)
    if (!Number.isSafeInteger(idx)) return fail(at, "idx is not an integer")
    at += 8
  }
  const idSize = (flags & wideIds) === 0 ? 2 : 4
  const sequences: Array<Sequence> = []
  for (let chunk = 0; chunk < count; chunk += 1) {
    if (bytes.length < at + sequenceHeaderSize) {
      return fail(bytes.length, `the bytes end before sequence ${chunk} of ${count}`)
    }
    const length = view.getUint32(at, true)
    const promptLength = view.getUint32(at + 4, true)
    const mask = view.getUint8(at + 8)
    if (promptLength > length) return fail(at + 4, `a prompt of ${promptLength} in a sequence of ${length} tokens`)
    if (mask > 1) return fail(at + 8, `unknown kind of mask ${mask}`)
    const start = at + sequenceHeaderSize
    const maskStart = start + length * idSize
    const end = maskStart + (mask === 1 ? Math.ceil(length / 8) : 0)
    if (end > bytes.length) return fail(bytes.length, `the bytes end inside sequence ${chunk} of ${count}`)
    const ids = new Int32Array(length)
    for (let i = 0; i < length; i += 1) {
      const id = idSize === 2 ? view.getUint16(start + i * 2, true) : view.getInt32(start + i * 4, true)
      if (id < 0) return fail(start + i * 4, `the token id ${id} is negative`)
      ids[i] = id
    }
    const lossMask = new Uint8Array(length)
    if (mask === 0) lossMask.fill(1, promptLength)
    else for (let i = 0; i < length; i += 1) lossMask[i] = ((bytes[maskStart + (i >> 3)] ?? 0) >> (i & 7)) & 1
    sequences.push({ ids, lossMask, promptLength, ...(idx === undefined ? {} : { idx }), document, chunk })
    at = end
  }
  return at === bytes.length ? Result.succeed(sequences) : fail(at, `${bytes.length - at} bytes too many`)
}

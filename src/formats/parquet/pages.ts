/**
 * Walks the headers of a column chunk's pages, which the decoder does not show: how many bytes hold the rows asked for, and
 * that no page has another checksum than its header says or is there to fill our memory.
 * https://parquet.apache.org/docs/file-format/data-pages/, in the compact protocol of
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */
import { crc32 } from "node:zlib"
import { Damage, integer } from "./damage.ts"
import type { Chunk } from "./footer.ts"

/** No page that we decompress is larger, in bytes; and no column of a row group. */
const maxPageBytes = 2 ** 30
const maxChunkBytes = 2 ** 32

/** Up to so many bytes any ratio is taken; beyond, pages that decompress to so many times their size are there to fill our memory. */
const harmlessBytes = 2 ** 26
const largestRatio = 2000

/** What follows a page's header, in bytes from the start of the file; `end` is exclusive. */
export interface Page {
  readonly start: number
  readonly end: number
  /** Where it holds texts, they are the last thing in it, one behind the other. */
  readonly endsWithText: boolean
}

export interface PageWalk {
  readonly pages: ReadonlyArray<Page>
  /** Where the last whole page ends, in bytes from the chunk's start. */
  readonly end: number
  /** Whether these pages hold the rows asked for; undefined where only their decoding can tell. */
  readonly enough: boolean | undefined
  /** With how many bytes of the chunk the walk would get further. */
  readonly needed: number
}

/** Walks the pages within `bytes`, the chunk's first ones, until they hold `rows` rows. Throws `Damage`. */
export const walkPages = (chunk: Chunk, bytes: Uint8Array, rows: number): PageWalk => {
  const size = chunk.end - chunk.start
  const pages: Array<Page> = []
  let end = 0
  let values = 0
  /** NaN as soon as a page of lists does not say how many rows it has. */
  let rowCount = 0
  let packedBytes = 0
  let unpackedBytes = 0
  while (values < chunk.valueCount && !(rowCount >= rows)) {
    const at = chunk.start + end
    const goOn = (needed: number) => ({
      pages,
      end,
      enough: Number.isNaN(rowCount) ? undefined : false,
      needed
    })
    const number = (value: unknown, most: number, what: string) => integer(value, most, what, at)
    const { headerEnd, fields } = readHeader(bytes, end, at)
    if (headerEnd === undefined) {
      if (bytes.length < size) return goOn(Math.min(size, Math.max(bytes.length * 2, end + 65_536)))
      throw new Damage(`the column ends after ${values} of ${chunk.valueCount} values`, at)
    }
    const packed = number(fields.get(3), size - headerEnd, "the size of a page")
    packedBytes += packed
    unpackedBytes += number(fields.get(2), maxPageBytes, "the decompressed size of a page")
    if (unpackedBytes > maxChunkBytes)
      throw new Damage(`the pages of a column decompress to more than ${maxChunkBytes} bytes`, at)
    if (unpackedBytes > harmlessBytes && unpackedBytes > largestRatio * packedBytes)
      throw new Damage(`pages of ${packedBytes} bytes are said to decompress to ${unpackedBytes}`, at)
    if (headerEnd + packed > bytes.length) return goOn(headerEnd + packed)
    end = headerEnd + packed
    const crc = fields.get(4)
    if (typeof crc === "number" && crc32(bytes.subarray(headerEnd, end)) !== crc >>> 0)
      throw new Damage("a page does not have its checksum", at)
    const header = fields.get(dataHeader) ?? fields.get(dataHeaderV2)
    const inside: Fields = header instanceof Map ? header : new Map()
    const encoding = inside.get(fields.has(dataHeader) ? 2 : 4)
    const isDictionary = fields.has(dictionaryHeader)
    pages.push({
      start: chunk.start + headerEnd,
      end: chunk.start + end,
      endsWithText: isDictionary || encoding === plain || encoding === deltaLengthByteArray
    })
    if (isDictionary) continue
    const found = number(inside.get(1), chunk.valueCount - values, "the number of values of a page")
    values += found
    if (!chunk.repeated) rowCount = values
    else rowCount += fields.has(dataHeader) ? NaN : number(inside.get(3), found, "the number of rows of a page")
  }
  return { pages, end, enough: true, needed: end }
}

// Fields of a page's header, and encodings, by their numbers.
const dataHeader = 5
const dictionaryHeader = 7
const dataHeaderV2 = 8
const plain = 0
const deltaLengthByteArray = 6

/** The header that begins at `start`; without an end when the bytes stop before it does. `at` is its place in the file. */
const readHeader = (bytes: Uint8Array, start: number, at: number) => {
  const cursor = { bytes, at: start, file: at }
  try {
    return { fields: readStruct(cursor), headerEnd: cursor.at }
  } catch (error) {
    if (error !== outOfBytes) throw error
    return { fields: new Map() as Fields, headerEnd: undefined }
  }
}

/** Integers and structures by the number of their field; of other values it is enough to pass them. */
type Fields = Map<number, number | Fields>

interface Cursor {
  readonly bytes: Uint8Array
  at: number
  /** Where the header begins in the file. */
  readonly file: number
}

const outOfBytes = Symbol("out of bytes")

const readByte = (cursor: Cursor): number => {
  const value = cursor.bytes[cursor.at++]
  if (value === undefined) throw outOfBytes
  return value
}

/** A number of at most 64 bits, seven in each byte. */
const readVarint = (cursor: Cursor): number => {
  let value = 0
  for (let shift = 0; shift < 70; shift += 7) {
    const next = readByte(cursor)
    value += (next & 0x7f) * 2 ** shift
    if (next < 0x80) return value
  }
  throw new Damage("a number in a page header has more than 64 bits", cursor.file)
}

const zigzag = (value: number) => (value % 2 === 0 ? value / 2 : -(value + 1) / 2)

/** What there is to pass of values that do not matter: true, false, 8 bits, a double, bytes behind their number. */
const widths: { readonly [type: number]: number } = { 1: 0, 2: 0, 3: 1, 7: 8, 8: 0 }

const readStruct = (cursor: Cursor, depth = 0): Fields => {
  if (depth > 16) throw new Damage("a page header is nested too deeply", cursor.file)
  const fields: Fields = new Map()
  for (let field = 0; ;) {
    const header = readByte(cursor)
    const type = header & 15
    if (type === 0) return fields
    field = header >> 4 === 0 ? zigzag(readVarint(cursor)) : field + (header >> 4)
    const number = (type >= 4 && type <= 6) || type === 8 ? readVarint(cursor) : 0
    if (type >= 4 && type <= 6) fields.set(field, zigzag(number))
    else if (type === 12) fields.set(field, readStruct(cursor, depth + 1))
    else if (type in widths) cursor.at += widths[type]! + number
    else throw new Damage(`a page header has a field of the type ${type}, which none should have`, cursor.file)
  }
}

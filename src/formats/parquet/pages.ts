/** Walks the pages of a column chunk, checking all that a decoder will rely on, up to the page that completes the rows asked for. */
import type { DecodedArray, PageHeader } from "hyparquet"
import { parquetHeader } from "hyparquet/src/column.js"
import { deltaBinaryUnpack } from "hyparquet/src/delta.js"
import { crc32 } from "node:zlib"
import { decompress } from "./codecs.ts"
import type { Chunk } from "./footer.ts"
import { Damage } from "./parquetError.ts"
import { bitWidth, checkDeltas, checkRuns } from "./runs.ts"
import { structEnd } from "./thrift.ts"
import { append } from "../../pipeline/lists.ts"

/** A page as stored and as decompressed: the decoder looks up what the check has decompressed already. */
export interface UnpackedPage {
  readonly packed: Uint8Array
  readonly unpacked: Uint8Array
}

export interface PageWalk {
  /**
   * Checks the pages within `bytes`, which are the chunk's first bytes; called again with more of them until it returns
   * `done`. `needed` is how many bytes it takes to get further. Throws `Damage` with offsets from the chunk's start.
   */
  readonly advance: (bytes: Uint8Array) => { readonly done: true } | { readonly done: false; readonly needed: number }
  /** Where the last page that was checked ends. */
  readonly end: () => number
  readonly pages: ReadonlyArray<UnpackedPage>
}

/** No page that we decompress is larger, in bytes; and no column of a row group, whose pages are in memory together. */
const maxPageBytes = 2 ** 30
const maxChunkBytes = 2 ** 32

/** Up to so many bytes any ratio is taken; beyond, pages that decompress to so many times their size are there to fill our memory. */
const harmlessBytes = 2 ** 26
const largestRatio = 2000

export const walkPages = (chunk: Chunk, rows: number): PageWalk => {
  const { leaf, valueCount } = chunk
  const size = chunk.end - chunk.start
  const pages: Array<UnpackedPage> = []
  let end = 0
  let values = 0
  let rowsBegun = 0
  let dictionary: number | undefined
  let packedBytes = 0
  let unpackedBytes = 0

  /** A row of a flat column is complete with its value; a list may continue in the next page, so one more row must have begun. */
  const enough = () => values === valueCount || (leaf.flat ? rowsBegun >= rows : rowsBegun > rows)

  const page = (bytes: Uint8Array): number | undefined => {
    const headerEnd = structEnd(bytes, end)
    if (headerEnd === undefined) {
      if (bytes.length < size) return Math.min(size, bytes.length + Math.max(65_536, bytes.length))
      throw new Damage(`the column ends after ${values} of ${valueCount} values`, end)
    }
    const header = parquetHeader({ view: viewOf(bytes.subarray(0, headerEnd)), offset: end })
    const packedSize = integer(header.compressed_page_size, size - headerEnd, "the size of a page")
    integer(header.uncompressed_page_size, maxPageBytes, "the decompressed size of a page")
    if (headerEnd + packedSize > bytes.length) return headerEnd + packedSize
    unpackedBytes += header.uncompressed_page_size
    packedBytes += packedSize
    if (unpackedBytes > maxChunkBytes)
      throw new Damage(`the pages of a column decompress to more than ${maxChunkBytes} bytes`)
    if (unpackedBytes > harmlessBytes && unpackedBytes > largestRatio * packedBytes)
      throw new Damage(`pages of ${packedBytes} bytes are said to decompress to ${unpackedBytes}`)
    const packed = bytes.subarray(headerEnd, headerEnd + packedSize)
    if (header.crc !== undefined && crc32(packed) !== header.crc >>> 0)
      throw new Damage("a page does not have its checksum")
    const checked = checkPage(chunk, header, packed, dictionary, valueCount - values)
    append(pages, checked.pages)
    dictionary = checked.dictionary ?? dictionary
    values += checked.values
    rowsBegun += checked.rows
    end = headerEnd + packedSize
    return undefined
  }

  return {
    pages,
    end: () => end,
    advance: bytes => {
      while (!enough()) {
        const start = end
        try {
          const needed = page(bytes)
          if (needed !== undefined) return { done: false, needed }
        } catch (error) {
          if (error instanceof Damage) throw new Damage(error.message, error.offset ?? start)
          throw new Damage(
            `a page cannot be decoded (${error instanceof Error ? error.message : String(error)})`,
            start
          )
        }
      }
      return { done: true }
    }
  }
}

interface Checked {
  readonly pages: ReadonlyArray<UnpackedPage>
  /** Number of entries, if the page is a dictionary. */
  readonly dictionary?: number
  readonly values: number
  /** Rows that begin in the page. */
  readonly rows: number
}

const checkPage = (
  chunk: Chunk,
  header: PageHeader,
  packed: Uint8Array,
  dictionary: number | undefined,
  valuesLeft: number
): Checked => {
  const { leaf } = chunk
  const unpackedSize = header.uncompressed_page_size
  if (header.type === "DICTIONARY_PAGE") {
    const { dictionary_page_header: info } = header
    if (info === undefined || dictionary !== undefined) throw new Damage("an unexpected dictionary page")
    const entries = integer(info.num_values, 8 * unpackedSize, "the size of a dictionary")
    const unpacked = decompress(chunk.codec, packed, unpackedSize)
    checkPlain(chunk, unpacked, 0, entries)
    return { pages: [{ packed, unpacked }], dictionary: entries, values: 0, rows: 0 }
  }
  if (header.type === "DATA_PAGE") {
    const { data_page_header: info } = header
    if (info === undefined) throw new Damage("a page without its header")
    const values = integer(info.num_values, valuesLeft, "the number of values of a page")
    for (const encoding of [info.definition_level_encoding, info.repetition_level_encoding]) {
      if (encoding !== "RLE" && (leaf.maxDefinition > 0 || leaf.maxRepetition > 0)) {
        throw new Damage(`levels in the encoding ${encoding}, which is not supported`)
      }
    }
    const unpacked = decompress(chunk.codec, packed, unpackedSize)
    let at = 0
    const levels = (max: number, what: string) => {
      if (max === 0) return undefined
      const start = at + 4
      if (start > unpacked.length) throw new Damage(`${what} are cut off`)
      at = start + viewOf(unpacked).getUint32(at, true)
      if (at > unpacked.length) throw new Damage(`${what} are cut off`)
      return checkRuns(unpacked, start, at, bitWidth(max), values, max, what)
    }
    const repetition = levels(leaf.maxRepetition, "repetition levels")
    const definition = levels(leaf.maxDefinition, "definition levels")
    checkValues(chunk, unpacked, at, info.encoding, definition?.maxima ?? values, dictionary)
    return { pages: [{ packed, unpacked }], values, rows: repetition?.zeros ?? values }
  }
  if (header.type === "DATA_PAGE_V2") {
    const { data_page_header_v2: info } = header
    if (info === undefined) throw new Damage("a page without its header")
    const values = integer(info.num_values, valuesLeft, "the number of values of a page")
    const nulls = integer(info.num_nulls, values, "the number of nulls of a page")
    const repetitionEnd = integer(info.repetition_levels_byte_length, packed.length, "the size of repetition levels")
    const levelsEnd =
      repetitionEnd +
      integer(info.definition_levels_byte_length, packed.length - repetitionEnd, "the size of definition levels")
    const levels = (start: number, end: number, max: number, what: string) =>
      max === 0 ? undefined : checkRuns(packed, start, end, bitWidth(max), values, max, what)
    const repetition = levels(0, repetitionEnd, leaf.maxRepetition, "repetition levels")
    const definition = levels(repetitionEnd, levelsEnd, leaf.maxDefinition, "definition levels")
    const present = definition?.maxima ?? values
    if (values - nulls !== present) {
      throw new Damage(`a page with ${present} of ${values} values is said to have ${nulls} nulls`)
    }
    const rows = repetition?.zeros ?? values
    if (info.num_rows !== rows) throw new Damage(`a page with ${rows} rows is said to have ${info.num_rows}`)
    const body = packed.subarray(levelsEnd)
    const codec = info.is_compressed === false ? "UNCOMPRESSED" : chunk.codec
    const size = integer(unpackedSize - levelsEnd, maxPageBytes, "the decompressed size of a page")
    const unpacked = decompress(codec, body, size)
    checkValues(chunk, unpacked, 0, info.encoding, present, dictionary)
    return { pages: [{ packed: body, unpacked }], values, rows }
  }
  throw new Damage(`a page of the type ${header.type}, which is not supported`)
}

/** Checks that `count` values in the given encoding fit into the page, from `at` on. */
const checkValues = (
  chunk: Chunk,
  page: Uint8Array,
  at: number,
  encoding: string,
  count: number,
  dictionary: number | undefined
): void => {
  const type = typeOf(chunk)
  switch (encoding) {
    case "PLAIN":
      return checkPlain(chunk, page, at, count)
    case "PLAIN_DICTIONARY":
    case "RLE_DICTIONARY": {
      if (dictionary === undefined) throw new Damage("values refer to a dictionary, but there is none")
      // A page of nulls only may end before the width.
      if (count === 0) return
      const width = page[at]
      if (width === undefined) throw new Damage("dictionary indices are cut off")
      if (dictionary === 0) throw new Damage("values refer to a dictionary without entries")
      checkRuns(page, at + 1, page.length, width, count, dictionary - 1, "dictionary indices")
      return
    }
    case "RLE": {
      if (type !== "BOOLEAN") throw new Damage(`values of the type ${type} in the encoding RLE, which is not possible`)
      if (count === 0) return
      if (at + 4 > page.length) throw new Damage("truth values are cut off")
      const end = at + 4 + viewOf(page).getUint32(at, true)
      if (end > page.length) throw new Damage("truth values are cut off")
      return void checkRuns(page, at + 4, end, 1, count, 1, "truth values")
    }
    case "BYTE_STREAM_SPLIT":
      if (count * widthOf(chunk) > page.length - at) throw new Damage(`${count} values do not fit into their page`)
      return
    case "DELTA_BINARY_PACKED":
      if (type !== "INT32" && type !== "INT64")
        throw new Damage(`values of the type ${type} as deltas, which is not possible`)
      if (count > 0) checkDeltas(page, at, count)
      return
    case "DELTA_LENGTH_BYTE_ARRAY":
      if (count > 0) lengthsAt(page, at, count)
      return
    case "DELTA_BYTE_ARRAY": {
      if (count === 0) return
      const suffixesAt = checkDeltas(page, at, count)
      const prefixes = unpackDeltas(page, at, count)
      const suffixes = lengthsAt(page, suffixesAt, count)
      // Each value repeats the start of the one before: a damaged length would let the values grow without end.
      for (let i = 0, previous = 0; i < count; i++) {
        const prefix = prefixes[i]!
        if (prefix < 0 || prefix > previous) throw new Damage(`a value repeats ${prefix} bytes of one with ${previous}`)
        previous = prefix + suffixes[i]!
      }
      return
    }
    default:
      throw new Damage(`values in the encoding ${encoding}, which is not supported`)
  }
}

const checkPlain = (chunk: Chunk, page: Uint8Array, at: number, count: number): void => {
  const type = typeOf(chunk)
  if (type === "BYTE_ARRAY") {
    const view = viewOf(page)
    let end = at
    for (let i = 0; i < count; i++) {
      if (end + 4 > page.length) throw new Damage(`values are cut off after ${i} of ${count}`)
      end += 4 + view.getUint32(end, true)
      if (end > page.length) throw new Damage(`value ${i} of ${count} of a page is longer than the rest of the page`)
    }
    return
  }
  const bytes = type === "BOOLEAN" ? Math.ceil(count / 8) : count * widthOf(chunk)
  if (bytes > page.length - at) throw new Damage(`${count} values do not fit into their page`)
}

/** Checks lengths in deltas from `at` on, followed by as many bytes as they say; returns them. */
const lengthsAt = (page: Uint8Array, at: number, count: number): DecodedArray & Int32Array => {
  const end = checkDeltas(page, at, count)
  const lengths = unpackDeltas(page, at, count)
  let sum = 0
  for (const length of lengths) {
    if (length < 0) throw new Damage(`a value is said to have ${length} bytes`)
    sum += length
  }
  if (sum > page.length - end) throw new Damage(`values of ${sum} bytes do not fit into their page`)
  return lengths
}

const unpackDeltas = (page: Uint8Array, at: number, count: number): Int32Array => {
  const values = new Int32Array(count)
  deltaBinaryUnpack({ view: viewOf(page), offset: at }, count, values)
  return values
}

const typeOf = (chunk: Chunk) => chunk.leaf.schemaPath.at(-1)?.element.type

/** Bytes of one value of a type of fixed size. */
const widthOf = (chunk: Chunk): number => {
  switch (typeOf(chunk)) {
    case "INT32":
    case "FLOAT":
      return 4
    case "INT64":
    case "DOUBLE":
      return 8
    case "INT96":
      return 12
    case "FIXED_LEN_BYTE_ARRAY":
      return chunk.leaf.schemaPath.at(-1)?.element.type_length ?? 0
    default:
      throw new Damage(`values of the type ${typeOf(chunk)} in an encoding for numbers`)
  }
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const integer = (value: unknown, most: number, what: string): number => {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= most) return value
  throw new Damage(`${what} is ${typeof value === "number" ? value : "missing"}, which cannot be`)
}

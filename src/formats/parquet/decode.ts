/** Decodes columns of a row group into values. */
import { type Compressors, type DecodedArray, type ParquetParsers, parquetScan } from "hyparquet"
import { compressors } from "./codecs.ts"
import { Damage } from "./damage.ts"
import type { Footer } from "./footer.ts"
import { type PageWalk, walkPages } from "./pages.ts"
import { TextBounds } from "./texts.ts"

/** Values of a column; or, for each of its chunks, how many of its first bytes it takes. */
export type Column = { readonly values: ReadonlyArray<unknown> } | { readonly needed: ReadonlyArray<number> }

/**
 * The first `rows` values of a top-level column of a row group, with whatever is nested below it, from the first bytes of each of its
 * chunks. Throws `Damage`, and what the decoder throws when the bytes make no sense to it.
 */
export const decodeColumn = async (
  footer: Footer,
  group: number,
  column: string,
  rows: number,
  bytes: ReadonlyArray<Uint8Array>
): Promise<Column> => {
  const { chunks: all, rowCount } = footer.shape.groups[group]!
  const chunks = all.filter(chunk => chunk.column === column)
  const walks = chunks.map((chunk, i) => walkPages(chunk, bytes[i]!, rows))
  const needed = { needed: walks.map(walk => walk.needed) }
  if (walks.some(({ end, enough }) => enough === false || (enough === undefined && end === 0))) return needed
  // One row more than wanted: when it has begun, the list before it is complete. And where there is none, none must come.
  const found = await decode(footer, group, column, rows + 1, bytes, walks)
  const complete = walks.every(walk => walk.enough === true)
  if (!complete && found.length <= rows) return needed
  if (found.length < rows) throw new Damage(`the column has ${found.length} values for ${rows} rows`)
  if (rows === rowCount && found.length > rows)
    throw new Damage(`the column has more than ${rows} values for ${rows} rows`)
  const values = Array.from(found.slice(0, rows) as ArrayLike<unknown>)
  if (chunks[0]!.top && !chunks[0]!.repeated && values.includes(undefined))
    throw new Damage(`row ${values.indexOf(undefined)} refers to a value that is not there`)
  return { values: values.map(plain) }
}

const decode = async (
  footer: Footer,
  group: number,
  column: string,
  rows: number,
  bytes: ReadonlyArray<Uint8Array>,
  walks: ReadonlyArray<PageWalk>
): Promise<DecodedArray> => {
  const stored = footer.metadata.row_groups[group]!
  const { chunks } = footer.shape.groups[group]!
  const own = stored.columns.flatMap((each, i) => (chunks[i]!.column === column ? [{ each, chunk: chunks[i]! }] : []))
  /** The one row group, as if it had but the pages given. */
  const metadata = {
    ...footer.metadata,
    num_rows: BigInt(rows),
    row_groups: [
      {
        ...stored,
        num_rows: BigInt(rows),
        columns: own.map(({ each }, i) => ({
          ...each,
          meta_data: { ...each.meta_data!, total_compressed_size: BigInt(walks[i]!.end) }
        }))
      }
    ]
  }
  const bounds = new TextBounds()
  /** The bytes [start, end) of the file, as far as they were read; zeros elsewhere, where nobody looks. */
  const slice = (start: number, end: number): ArrayBuffer => {
    const result = new Uint8Array(end - start)
    for (const [i, { chunk }] of own.entries()) {
      const from = Math.max(start, chunk.start)
      const to = Math.min(end, chunk.start + walks[i]!.end)
      if (from < to) result.set(bytes[i]!.subarray(from - chunk.start, to - chunk.start), from - start)
    }
    for (const { pages } of walks) bounds.read(result.buffer, start, pages)
    return result.buffer
  }
  const scan = await parquetScan({
    file: { byteLength: Number.MAX_SAFE_INTEGER, slice: (start, end) => slice(start, end ?? start) },
    metadata,
    columns: [column],
    useOffsetIndex: false,
    compressors: watched(bounds),
    parsers: parsers(
      own.every(({ chunk }) => chunk.text),
      bounds
    )
  })
  const values = await scan.readColumn({ column, rowStart: 0, rowEnd: rows })
  bounds.check()
  return values
}

const watched = (bounds: TextBounds): Compressors =>
  Object.fromEntries(
    Object.entries(compressors).map(([codec, unpack]) => [
      codec,
      (packed: Uint8Array, length: number) => {
        const unpacked = unpack(packed, length)
        bounds.unpacked(packed, unpacked)
        return unpacked
      }
    ])
  )

/** Text must be UTF-8: silent replacement characters would end up in training data. */
const parsers = (annotated: boolean, bounds: TextBounds): Partial<ParquetParsers> => {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  const text = (bytes: Uint8Array | undefined, orBytes: boolean): unknown => {
    if (bytes === undefined) return undefined
    bounds.text(bytes)
    try {
      return utf8.decode(bytes)
    } catch {
      if (orBytes) return bytes
      throw new Damage("a text is not valid UTF-8")
    }
  }
  return {
    // Old writers do not mark texts as such, so unmarked bytes are texts if they can be.
    stringFromBytes: bytes => text(bytes, !annotated),
    jsonFromBytes: bytes => (bytes === undefined ? undefined : JSON.parse(String(text(bytes, false))))
  }
}

/** Values as JSON would have them, as far as it goes: numbers instead of small bigints, null instead of undefined. */
const plain = (value: unknown): unknown => {
  if (value === undefined) return null
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== "object" || value === null || value instanceof Date || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(plain)
  if (ArrayBuffer.isView(value)) return Array.from(value as Int32Array | BigInt64Array, plain)
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]))
}

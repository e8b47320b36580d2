/** Decodes columns of a row group into values, once their pages have been checked. */
import { Effect } from "effect"
import { type Compressors, type DecodedArray, type ParquetParsers, parquetScan } from "hyparquet"
import type { RandomAccess } from "../randomAccess.ts"
import { codecs, decompress } from "./codecs.ts"
import type { Chunk, Footer, RowGroup } from "./footer.ts"
import { type UnpackedPage, walkPages } from "./pages.ts"
import { Damage, guarded, guardedPromise, parquetError, type ParquetError, type Place } from "./parquetError.ts"

/** The first bytes of a chunk, up to the end of the last page needed, checked. */
interface CheckedChunk {
  readonly chunk: Chunk
  readonly bytes: Uint8Array
  readonly pages: ReadonlyArray<UnpackedPage>
}

/** How much of a chunk is read at first when not all of its rows are wanted; then as much as its pages turn out to need. */
const firstRead = 256 * 1024

const readChunk = Effect.fnUntraced(function* <E>(
  file: RandomAccess<E>,
  place: Place,
  chunk: Chunk,
  rows: number,
  allRows: boolean
): Effect.fn.Return<CheckedChunk, E | ParquetError> {
  const size = chunk.end - chunk.start
  const walk = walkPages(chunk, rows)
  let bytes = new Uint8Array(0)
  let needed = allRows ? size : Math.min(size, firstRead)
  for (;;) {
    const more = yield* file.read(chunk.start + bytes.length, chunk.start + needed)
    if (more.length < needed - bytes.length) {
      return yield* parquetError(
        place,
        "the file ends here, before its footer says so",
        chunk.start + bytes.length + more.length
      )
    }
    bytes = bytes.length === 0 ? more : new Uint8Array(Buffer.concat([bytes, more]))
    const known = bytes
    const step = yield* guarded(place, chunk.start, () => walk.advance(known))
    if (step.done) return { chunk, bytes: bytes.subarray(0, walk.end()), pages: walk.pages }
    // Asking for a little more than is missing saves requests when pages are small.
    needed = Math.min(size, Math.max(step.needed, Math.min(bytes.length * 2, step.needed + firstRead)))
  }
})

/** Reads the first `rows` values of a top-level column of a row group, with whatever is nested below it. */
export const readColumn = Effect.fnUntraced(function* <E>(
  file: RandomAccess<E>,
  footer: Footer,
  group: RowGroup,
  column: string,
  rows: number
): Effect.fn.Return<ReadonlyArray<unknown>, E | ParquetError> {
  const place = { file: file.name, rowGroup: group.index, column }
  const chunks = group.chunks.filter(({ leaf }) => leaf.path[0] === column)
  const checked: Array<CheckedChunk> = []
  for (const chunk of chunks) checked.push(yield* readChunk(file, place, chunk, rows, rows >= group.rowCount))
  const decoded = yield* guardedPromise(place, () => decode(footer, group, column, checked, rows))
  return yield* guarded(place, 0, () => {
    if (decoded.length !== rows) throw new Damage(`the column has ${decoded.length} values for ${rows} rows`)
    return Array.from(decoded as ArrayLike<unknown>, plain)
  })
})

const decode = async (
  footer: Footer,
  group: RowGroup,
  column: string,
  checked: ReadonlyArray<CheckedChunk>,
  rows: number
): Promise<DecodedArray> => {
  const annotated = checked.every(({ chunk }) => isText(chunk))
  const scan = await parquetScan({
    file: { byteLength: Number.MAX_SAFE_INTEGER, slice: (start, end) => slice(checked, start, end ?? start) },
    metadata: onlyColumn(footer, group, checked),
    columns: [column],
    useOffsetIndex: false,
    compressors: compressorsOf(checked),
    parsers: parsers(annotated)
  })
  return scan.readColumn({ column, rowStart: 0, rowEnd: rows })
}

/** The footer's metadata, reduced to the one row group and the bytes that were read. */
const onlyColumn = (footer: Footer, group: RowGroup, checked: ReadonlyArray<CheckedChunk>) => {
  const stored = footer.metadata.row_groups[group.index]!
  const columns = checked.map(({ bytes, chunk }) => {
    const column = stored.columns[group.chunks.indexOf(chunk)]!
    return { ...column, meta_data: { ...column.meta_data!, total_compressed_size: BigInt(bytes.length) } }
  })
  return { ...footer.metadata, num_rows: stored.num_rows, row_groups: [{ ...stored, columns }] }
}

/** The bytes [start, end) of the file, as far as they were read; zeros elsewhere, where nobody looks. */
const slice = (checked: ReadonlyArray<CheckedChunk>, start: number, end: number): ArrayBuffer => {
  const result = new Uint8Array(end - start)
  for (const { bytes, chunk } of checked) {
    const from = Math.max(start, chunk.start)
    const to = Math.min(end, chunk.start + bytes.length)
    if (from < to) result.set(bytes.subarray(from - chunk.start, to - chunk.start), from - start)
  }
  return result.buffer
}

/** Decompressors that know the pages which the check has decompressed. */
const compressorsOf = (checked: ReadonlyArray<CheckedChunk>): Compressors => {
  const known = new Map<string, Array<UnpackedPage>>()
  const keyOf = (packed: number, unpacked: number) => `${packed}:${unpacked}`
  for (const page of checked.flatMap(({ pages }) => pages)) {
    const key = keyOf(page.packed.length, page.unpacked.length)
    const same = known.get(key)
    if (same === undefined) known.set(key, [page])
    else same.push(page)
  }
  const compressors: Compressors = {}
  for (const codec of codecs) {
    compressors[codec] = (input, length) => {
      const candidates = known.get(keyOf(input.length, length)) ?? []
      const page = candidates.find(candidate => Buffer.compare(candidate.packed, input) === 0)
      return page?.unpacked ?? decompress(codec, input, length)
    }
  }
  return compressors
}

const isText = ({ leaf }: Chunk) => {
  const element = leaf.schemaPath.at(-1)?.element
  return (
    element?.converted_type === "UTF8" || element?.converted_type === "ENUM" || element?.logical_type?.type === "STRING"
  )
}

/** Text must be UTF-8: silent replacement characters would end up in training data. */
const parsers = (annotated: boolean): Partial<ParquetParsers> => {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  const text = (bytes: Uint8Array | undefined, orBytes: boolean): unknown => {
    if (bytes === undefined) return undefined
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

/** Reads Parquet files: their shape, their first rows without fetching the rest, or all rows one after another. */
import { Effect, type Scope, Stream } from "effect"
import type { FileError } from "./fileError.ts"
import { type Decoder, decoder, type DecoderLimits } from "./parquet/decoder.ts"
import type { Reply, Request } from "./parquet/decoderProcess.ts"
import type { Shape } from "./parquet/footer.ts"
import { parquetError, type ParquetError, type Place } from "./parquet/parquetError.ts"
import { fileSource, type RandomAccess } from "./randomAccess.ts"
import type { Fields } from "./records.ts"
import { append } from "../pipeline/lists.ts"

export { ParquetError } from "./parquet/parquetError.ts"

/**
 * One row, by the names of its columns. Nulls are null; integers are numbers where a number can hold them, else bigints;
 * lists are arrays, structures objects, times Dates; bytes that are not text are Uint8Arrays.
 */
export type ParquetRow = { readonly [column: string]: unknown }

export interface ParquetShape {
  readonly rowCount: number
  /** Names of the top-level columns, in the file's order. */
  readonly columns: ReadonlyArray<string>
  readonly rowsPerGroup: ReadonlyArray<number>
}

/** Reads the footer only. */
export const parquetShape = <E>(file: RandomAccess<E>): Effect.Effect<ParquetShape, E | ParquetError> =>
  Effect.scoped(
    Effect.map(open(file), ({ shape: { columns, groups, rowCount } }) => ({
      rowCount,
      columns,
      rowsPerGroup: groups.map(group => group.rowCount)
    }))
  )

/**
 * The first `rows` rows (all, if there are fewer), of the given columns (default: all), as far as they are there; what is not asked for is neither read nor decoded. Reads the footer and, of the row
 * groups and columns needed, the pages that hold these rows: usually a few hundred kilobytes of a file of gigabytes.
 */
export const firstRows = <E>(request: {
  readonly file: RandomAccess<E>
  readonly columns?: Fields
  readonly rows: number
  /** `bytesDone` of the file have been read; how many it will take is not known beforehand. */
  readonly onProgress?: (progress: {
    readonly bytesDone: number
    readonly bytesTotal: undefined
    readonly file: string
  }) => void
  readonly limits?: DecoderLimits
}): Effect.Effect<ReadonlyArray<ParquetRow>, E | ParquetError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const opened = yield* open(counting(request.file, request.onProgress), request.limits)
      const columns = yield* chosenColumns(opened, request.columns)
      const result: Array<ParquetRow> = []
      for (const [group, { rowCount }] of opened.shape.groups.entries()) {
        const wanted = Math.min(rowCount, request.rows - result.length)
        if (wanted > 0) append(result, yield* readRows(opened, group, columns, wanted))
      }
      return result
    })
  )

/** All rows of a local file, of the given columns (default: all), as far as they are there. `name` is how messages call the file. One row group at a time is in memory. */
export const rows = (
  path: string,
  options: { readonly columns?: Fields; readonly name?: string } = {}
): Stream.Stream<ParquetRow, ParquetError | FileError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const opened = yield* open({ ...fileSource(path), name: options.name ?? path })
      const columns = yield* chosenColumns(opened, options.columns)
      return Stream.fromIterable(opened.shape.groups.entries()).pipe(
        Stream.mapEffect(([group, { rowCount }]) => readRows(opened, group, columns, rowCount)),
        Stream.flattenIterable
      )
    })
  )

/** A file with its footer read, and the process that decodes the rest of it. */
interface Opened<E> {
  readonly file: RandomAccess<E>
  readonly shape: Shape
  readonly process: Decoder
}

/** Usually enough for the whole footer, so that one read suffices. */
const firstFooterRead = 64 * 1024

/** Far longer than a footer of 100,000 columns. */
const longestFooter = 2 ** 28

const open = Effect.fnUntraced(function* <E>(
  file: RandomAccess<E>,
  limits?: DecoderLimits
): Effect.fn.Return<Opened<E>, E | ParquetError, Scope.Scope> {
  const place: Place = { file: file.name }
  const size = yield* file.size
  if (size < 12) return yield* parquetError(place, `a Parquet file has at least 12 bytes, this one ${size}`)
  const tailStart = Math.max(0, size - firstFooterRead)
  const tail = yield* file.read(tailStart, size)
  if (tail.length !== size - tailStart)
    return yield* parquetError(place, `the file ended at byte ${tailStart + tail.length}`)
  const magic = Buffer.from(tail.subarray(-4)).toString("latin1")
  if (magic === "PARE") return yield* parquetError(place, "the file is encrypted, which is not supported")
  if (magic !== "PAR1")
    return yield* parquetError(place, `the last four bytes are not "PAR1": not a Parquet file, or cut off`, size - 4)
  const length = new DataView(tail.buffer, tail.byteOffset + tail.length - 8).getUint32(0, true)
  if (length > Math.min(size - 12, longestFooter)) {
    const bound = length > size - 12 ? "the file" : longestFooter
    return yield* parquetError(place, `the footer is said to have ${length} bytes, more than ${bound}`, size - 8)
  }
  const dataEnd = size - 8 - length
  const bytes = dataEnd >= tailStart ? tail.slice(dataEnd - tailStart) : yield* file.read(dataEnd, size)
  const process = yield* decoder(limits)
  const reply = yield* ask(process, place, { type: "footer", bytes, dataEnd })
  return { file, process, shape: (reply as Reply & { readonly type: "shape" }).shape }
})

/** The one reply to a request; the parts of a column's values are put together. */
const ask = (process: Decoder, place: Place, request: Request): Effect.Effect<Reply, ParquetError> => {
  const values: Array<unknown> = []
  const whole = process.ask<Reply>(request, reply => {
    if (reply.type !== "values") return Effect.succeed(reply)
    append(values, reply.values)
    return reply.last ? Effect.succeed({ ...reply, values }) : undefined
  })
  return Effect.mapError(whole, ({ offset, what }) => parquetError(place, what, offset))
}

const chosenColumns = (
  { file, shape }: Opened<unknown>,
  wanted: Fields | undefined
): Effect.Effect<ReadonlyArray<string>, ParquetError> => {
  if (wanted === undefined) return Effect.succeed(shape.columns)
  const { also, needed } = wanted
  const missing = needed.find(column => !shape.columns.includes(column))
  if (missing === undefined)
    return Effect.succeed([...needed, ...also.filter(column => shape.columns.includes(column))])
  const there = shape.columns.join(", ")
  return Effect.fail(parquetError({ file: file.name }, `there is no column "${missing}"; there are: ${there}`))
}

const readRows = Effect.fnUntraced(function* <E>(
  opened: Opened<E>,
  group: number,
  columns: ReadonlyArray<string>,
  count: number
): Effect.fn.Return<ReadonlyArray<ParquetRow>, E | ParquetError> {
  const values = yield* Effect.forEach(columns, column => readColumn(opened, group, column, count), { concurrency: 4 })
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(columns.map((column, i) => [column, values[i]?.[row]]))
  )
})

/** How much of a chunk is read at first when not all of its rows are wanted; then as much as its pages turn out to need. */
const firstRead = 256 * 1024

const readColumn = Effect.fnUntraced(function* <E>(
  { file, process, shape }: Opened<E>,
  group: number,
  column: string,
  rows: number
): Effect.fn.Return<ReadonlyArray<unknown>, E | ParquetError> {
  const place = { file: file.name, rowGroup: group, column }
  const { chunks, rowCount } = shape.groups[group]!
  const own = chunks
    .filter(chunk => chunk.column === column)
    .map(({ end, start }) => ({ start, size: end - start, bytes: new Uint8Array(0) }))
  let needed: ReadonlyArray<number> = own.map(({ size }) => (rows >= rowCount ? size : Math.min(size, firstRead)))
  for (;;) {
    for (const [i, chunk] of own.entries()) {
      const [from, to] = [chunk.start + chunk.bytes.length, chunk.start + needed[i]!]
      if (to <= from) continue
      const more = yield* file.read(from, to)
      if (more.length < to - from)
        return yield* parquetError(place, "the file ends here, before its footer says so", from + more.length)
      chunk.bytes = chunk.bytes.length === 0 ? more : new Uint8Array(Buffer.concat([chunk.bytes, more]))
    }
    const reply = yield* ask(process, place, {
      type: "column",
      group,
      column,
      rows,
      bytes: own.map(({ bytes }) => bytes)
    })
    if (reply.type === "values") return reply.values
    // Asking for a little more than is missing saves requests when pages are small.
    needed = (reply as Reply & { readonly type: "needed" }).needed.map((least, i) => {
      const { bytes, size } = own[i]!
      return least <= bytes.length
        ? least
        : Math.min(size, Math.max(least, Math.min(bytes.length * 2, least + firstRead)))
    })
  }
})

const counting = <E>(
  file: RandomAccess<E>,
  onProgress: ((progress: { bytesDone: number; bytesTotal: undefined; file: string }) => void) | undefined
): RandomAccess<E> => {
  if (onProgress === undefined) return file
  let bytesDone = 0
  const read = (start: number, end: number) =>
    Effect.tap(file.read(start, end), bytes =>
      Effect.sync(() => {
        bytesDone += bytes.length
        onProgress({ bytesDone, bytesTotal: undefined, file: file.name })
      })
    )
  return { ...file, read }
}

/** Reads Parquet files: their shape, their first rows without fetching the rest, or all rows one after another. */
import { Effect, Stream } from "effect"
import type { FileError } from "./fileError.ts"
import { readColumn } from "./parquet/decode.ts"
import { type Footer, readFooter, type RowGroup } from "./parquet/footer.ts"
import { parquetError, type ParquetError } from "./parquet/parquetError.ts"
import { fileSource, type RandomAccess } from "./randomAccess.ts"

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
export const parquetShape = Effect.fn("parquetShape")(function* <E>(
  file: RandomAccess<E>
): Effect.fn.Return<ParquetShape, E | ParquetError> {
  const { columns, groups, rowCount } = yield* readFooter(file)
  return { rowCount, columns, rowsPerGroup: groups.map(group => group.rowCount) }
})

/**
 * The first `rows` rows (all, if there are fewer), of the given columns (default: all). Reads the footer and, of the row
 * groups and columns needed, the pages that hold these rows: usually a few hundred kilobytes of a file of gigabytes.
 */
export const firstRows = Effect.fn("firstRows")(function* <E>(request: {
  readonly file: RandomAccess<E>
  readonly columns?: ReadonlyArray<string>
  readonly rows: number
  /** `bytesDone` of the file have been read; how many it will take is not known beforehand. */
  readonly onProgress?: (progress: {
    readonly bytesDone: number
    readonly bytesTotal: undefined
    readonly file: string
  }) => void
}): Effect.fn.Return<ReadonlyArray<ParquetRow>, E | ParquetError> {
  const file = counting(request.file, request.onProgress)
  const footer = yield* readFooter(file)
  const columns = yield* chosenColumns(file.name, footer, request.columns)
  const result: Array<ParquetRow> = []
  for (const group of footer.groups) {
    const wanted = Math.min(group.rowCount, request.rows - result.length)
    if (wanted <= 0) continue
    for (const row of yield* readRows(file, footer, group, columns, wanted)) result.push(row)
  }
  return result
})

/** All rows of a local file, of the given columns (default: all). One row group at a time is in memory. */
export const rows = (
  path: string,
  options: { readonly columns?: ReadonlyArray<string> } = {}
): Stream.Stream<ParquetRow, ParquetError | FileError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const file = fileSource(path)
      const footer = yield* readFooter(file)
      const columns = yield* chosenColumns(path, footer, options.columns)
      return Stream.fromIterable(footer.groups).pipe(
        Stream.mapEffect(group => readRows(file, footer, group, columns, group.rowCount)),
        Stream.flattenIterable
      )
    })
  )

const chosenColumns = (
  file: string,
  footer: Footer,
  wanted: ReadonlyArray<string> | undefined
): Effect.Effect<ReadonlyArray<string>, ParquetError> => {
  const missing = wanted?.find(column => !footer.columns.includes(column))
  if (missing === undefined) return Effect.succeed(wanted ?? footer.columns)
  return Effect.fail(parquetError({ file }, `there is no column "${missing}"; there are: ${footer.columns.join(", ")}`))
}

const readRows = Effect.fnUntraced(function* <E>(
  file: RandomAccess<E>,
  footer: Footer,
  group: RowGroup,
  columns: ReadonlyArray<string>,
  count: number
): Effect.fn.Return<ReadonlyArray<ParquetRow>, E | ParquetError> {
  const values = yield* Effect.forEach(columns, column => readColumn(file, footer, group, column, count), {
    concurrency: 4
  })
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(columns.map((column, i) => [column, values[i]?.[row]]))
  )
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

/** The records of a documents artifact, whatever the formats of its files. */
import { Effect, Stream } from "effect"
import type { ArtifactReader } from "../pipeline/StageContext.ts"
import { asStageError, type StageError } from "../pipeline/StageError.ts"
import { formatOf, readRecords, recordsFromRows } from "../formats/documents.ts"
import { rows as parquetRows } from "../formats/parquet.ts"
import type { DecodeRow, Fields } from "../formats/records.ts"

/** The records of one file of this machine; `name` is how messages call it, and decides its format. */
export const recordsOfFile = <A>(file: string, name: string, decode: DecodeRow<A>): Stream.Stream<A, StageError> =>
  formatOf(name) === "parquet"
    ? recordsOfRows(Stream.mapError(parquetRows(file, { name, ...columnsOf(decode) }), asStageError), name, decode)
    : Stream.mapError(readRecords(file, decode, name), asStageError)

/** Of a Parquet file, what is read of its rows. */
export const columnsOf = ({ fields }: DecodeRow<unknown>): { readonly columns?: Fields } =>
  fields === undefined ? {} : { columns: fields }

/** The records of rows that were read elsewhere. */
export const recordsOfRows = <A>(
  rows: Stream.Stream<unknown, StageError>,
  name: string,
  decode: DecodeRow<A>
): Stream.Stream<A, StageError> =>
  Stream.unwrap(
    Effect.map(Stream.toAsyncIterableEffect(rows), iterable =>
      Stream.fromAsyncIterable(recordsFromRows(iterable, name, decode), cause =>
        asStageError(cause instanceof Error ? cause : { message: String(cause) })
      )
    )
  )

/** All records of an artifact, file by file in the order of their names. */
export const recordsOfArtifact = <A>(
  corpus: ArtifactReader<unknown>,
  decode: DecodeRow<A>
): Stream.Stream<A, StageError> =>
  Stream.fromIterable(corpus.files).pipe(
    Stream.filter(({ path }) => formatOf(path) !== undefined),
    Stream.mapEffect(({ path }) => Effect.map(corpus.path(path), file => [file, path] as const)),
    Stream.flatMap(([file, path]) => recordsOfFile(file, path, decode))
  )

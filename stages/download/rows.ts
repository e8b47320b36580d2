/** Rows of downloaded documents: what is counted of them, and which of their fields are kept. */
import { Effect, Result, Schema, Stream } from "effect"
import { recordsOfFile } from "../../src/artifacts/records.ts"
import { formatOf } from "../../src/formats/documents.ts"
import { parquetShape } from "../../src/formats/parquet.ts"
import { fileSource } from "../../src/formats/randomAccess.ts"
import {
  type DataRecord,
  DataType,
  decodeColumns,
  decodeFields,
  decodeRecord,
  type DecodeRow,
  reading
} from "../../src/formats/records.ts"
import type { ObtainedFile } from "../../src/hub/obtain.ts"
import { asStageError, type StageError } from "../../src/pipeline/StageError.ts"

export const RowType = Schema.Union([DataType, Schema.Literal("fields")])

export interface RecordParameters {
  readonly source: string
  readonly dataType: typeof RowType.Type
  readonly textKey?: string
  readonly columns?: ReadonlyArray<string>
}

/** Reads a row for the bytes of its text. */
export const textBytes = ({ columns, dataType, textKey }: RecordParameters): DecodeRow<number> => {
  if (dataType === "fields") {
    const decode = columns === undefined ? decodeFields : decodeColumns(columns)
    return reading(row => Result.map(decode(row), fields => Buffer.byteLength(jsonOf(fields))), decode.fields)
  }
  const decode = decodeRecord({ dataType, textKey })
  return reading(
    row => Result.map(decode(row), record => textsOf(record).reduce((sum, text) => sum + Buffer.byteLength(text), 0)),
    decode.fields
  )
}

const textsOf = (record: DataRecord): ReadonlyArray<string> => {
  switch (record.kind) {
    case "document":
      return [record.text]
    case "prompt_response":
      return [record.prompt, record.response]
    case "conversation":
      return record.messages.map(({ content }) => content)
  }
}

export const count = (records: Stream.Stream<number, StageError>) =>
  Stream.runFold(
    records,
    () => ({ documents: 0, bytes: 0 }),
    (sum, bytes) => ({ documents: sum.documents + 1, bytes: sum.bytes + bytes })
  )

/** JSON has no integers beyond 2^53; as text they lose nothing. */
const jsonOf = (row: unknown): string =>
  JSON.stringify(row, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value))

export const lineOf = (row: unknown): string => `${jsonOf(row)}\n`

const isRead = ({ fields }: DecodeRow<unknown>) => {
  const names = new Set(fields && [...fields.needed, ...fields.also])
  return (field: string) => fields === undefined || names.has(field)
}

/** Whether a file has fields besides those that are read. */
export const hasMore = (
  { file, path }: ObtainedFile,
  decode: DecodeRow<unknown>
): Effect.Effect<boolean, StageError> => {
  if (decode.fields === undefined) return Effect.succeed(false)
  const read = isRead(decode)
  const isMore = (names: ReadonlyArray<string>) => names.some(name => !read(name))
  return formatOf(path) === "parquet"
    ? Effect.map(Effect.mapError(parquetShape(fileSource(file)), asStageError), ({ columns }) => isMore(columns))
    : Effect.map(
        Stream.runHead(
          Stream.filter(recordsOfFile(file, path, reading(decodeFields, decode.fields)), row =>
            isMore(Object.keys(row))
          )
        ),
        ({ _tag }) => _tag === "Some"
      )
}

/** A file's rows with the fields that are read, and no others, as JSON Lines. */
export const keptColumns = (
  { file, path }: ObtainedFile,
  decode: DecodeRow<unknown>
): Effect.Effect<AsyncIterable<Uint8Array>> => {
  const read = isRead(decode)
  const kept = reading(
    row =>
      Result.map(decodeFields(row), fields =>
        Object.fromEntries(Object.entries(fields).filter(([name]) => read(name)))
      ),
    decode.fields
  )
  return Stream.toAsyncIterableEffect(
    recordsOfFile(file, path, kept).pipe(
      Stream.grouped(rowsAtOnce),
      Stream.map(rows => Buffer.from(rows.map(lineOf).join("")))
    )
  )
}

/** Rows that are written at once. */
const rowsAtOnce = 256

/** What the file with those fields is called: it is JSON Lines, whatever it was. */
export const keptName = (path: string): string => (/\.jsonl$/i.test(path) ? path : `${path}.jsonl`)

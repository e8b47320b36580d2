/** Files of training records: JSON Lines and JSON read from disk, and rows that another reader (Parquet) hands over. */
import { Result, Schema, Stream } from "effect"
import { createReadStream } from "node:fs"
import { pipeline } from "node:stream"
import { createGunzip } from "node:zlib"
import { itemOffsets, lineAndColumn, parseJson, repeatedKeys, topLevelKeys } from "./jsonText.ts"
import { type DecodeRow, type Fields, type RecordFault, showPath } from "./records.ts"

/** A data file, or a record in it, that cannot be used. `message` begins with the place: `file:line:column` or `file, row N`. */
export class DocumentsError extends Schema.TaggedError<DocumentsError>()("DocumentsError", {
  file: Schema.String,
  /** From 1; absent for rows of Parquet files and for a file that cannot be read at all. */
  line: Schema.optionalKey(Schema.Int),
  /** From 1, in UTF-16 units. */
  column: Schema.optionalKey(Schema.Int),
  /** From 0, the number of the record in its file. */
  row: Schema.optionalKey(Schema.Int),
  /** The path of the field at fault, for example `messages[2].role`. */
  field: Schema.optionalKey(Schema.String),
  message: Schema.String
}) {}

export type Format = "jsonl" | "json" | "parquet"

/** Of a file that is compressed; only lines are: what is read whole should not be larger than it looks. */
const compressed = /\.(jsonl|ndjson)\.gz$/i

/** The format that a file's name announces; JSON Lines may be compressed, as in `HumanEval.jsonl.gz`. */
export const formatOf = (path: string): Format | undefined => {
  const extension = (compressed.exec(path) ?? /\.([A-Za-z0-9]+)$/.exec(path))?.[1]?.toLowerCase()
  switch (extension) {
    case "jsonl":
    case "ndjson":
      return "jsonl"
    case "json":
    case "parquet":
      return extension
    default:
      return undefined
  }
}

/** A longer line is refused: it is rather a file without line breaks than a record. */
export const longestLine = 256 * 1024 * 1024

/** A longer JSON text does not fit into one string of the platform. */
const longestText = 0x1fff_ffe8

const failAt = (file: string, line: number, column: number, what: string, field?: string) =>
  new DocumentsError({
    file,
    line,
    column,
    ...(field === undefined ? {} : { field }),
    message: `${file}:${line}:${column}: ${what}`
  })

/** The offset of the first byte that is not UTF-8, or the length when all are. */
const firstInvalidByte = (bytes: Uint8Array): number => {
  const again = Buffer.from(Buffer.from(bytes).toString("utf8"), "utf8")
  let at = 0
  while (at < bytes.length && bytes[at] === again[at]) at += 1
  return at
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const decodeUtf8 = (bytes: Uint8Array, file: string, line: number): string => {
  try {
    return utf8.decode(bytes)
  } catch {
    const offset = firstInvalidByte(bytes)
    const before = Buffer.from(bytes.subarray(0, offset)).toString("utf8")
    const place = lineAndColumn(before, before.length)
    const byte = (bytes[offset] ?? 0).toString(16).padStart(2, "0")
    const what = `byte 0x${byte} is not valid UTF-8; save the file as UTF-8`
    throw failAt(file, line + place.line - 1, place.column, what)
  }
}

const byteOrderMark = /^\uFEFF/

/** Refuses UTF-16, which people export by accident and which would else be reported as a strange character. */
const refuseUtf16 = (start: Uint8Array, file: string) => {
  const mark = `${start[0]},${start[1]}`
  if (mark === "255,254" || mark === "254,255") {
    throw failAt(file, 1, 1, "the file is in UTF-16; save it as UTF-8")
  }
}

/** Throws for a key that a record, or an object within a field that is read, has twice: readers disagree on which one counts. */
const refuseRepeatedKeys = (
  text: string,
  place: (offset: number) => { line: number; column: number },
  file: string,
  fields: Fields | undefined
) => {
  const isRead = (field: string | number) =>
    fields === undefined || [...fields.needed, ...fields.also].includes(String(field))
  const found = repeatedKeys(text).find(({ path: [field, ...below] }) => below.length === 0 || isRead(field!))
  if (found === undefined) return
  const { line, column } = place(found.keyOffset)
  const key = JSON.stringify(found.path.at(-1))
  const within = found.path.slice(0, -1)
  const where = within.length === 0 ? "one record" : showPath(within)
  throw failAt(file, line, column, `the key ${key} appears twice in ${where}`, showPath(found.path))
}

/** The error for a record whose JSON is well-formed but whose fields are not: at the field, or where it is missing. */
const faultyField = (
  text: string,
  place: (offset: number) => { line: number; column: number },
  file: string,
  fault: RecordFault
): DocumentsError => {
  const name = fault.path[0]
  const at = topLevelKeys(text).find(({ key }) => key === name)
  const { line, column } = place(at?.valueOffset ?? 0)
  const field = showPath(fault.path)
  return failAt(
    file,
    line,
    column,
    field === "" ? fault.what : `${field} ${fault.what}`,
    field === "" ? undefined : field
  )
}

const decodeLine = <A>(text: string, file: string, line: number, decode: DecodeRow<A>): A | undefined => {
  if (text.trim() === "") return undefined
  const place = (offset: number) => ({ line, column: offset + 1 })
  const parsed = parseJson(text)
  if (Result.isFailure(parsed)) {
    const advice = line === 1 && text.trim() === "{" ? "; in JSON Lines every record is one line" : ""
    throw failAt(file, line, parsed.failure.offset + 1, `${parsed.failure.what}${advice}`)
  }
  refuseRepeatedKeys(text, place, file, decode.fields)
  const record = decode(parsed.success)
  if (Result.isFailure(record)) throw faultyField(text, place, file, record.failure)
  return record.success
}

/**
 * The records of a JSON Lines file, one at a time, from its bytes. Lines end with LF or CRLF, the last one with either
 * or neither; blank lines are skipped; a byte order mark at the start is ignored. Throws `DocumentsError`.
 */
export async function* recordsFromJsonLines<A>(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
  decode: DecodeRow<A>,
  limit = longestLine
): AsyncGenerator<A, void, void> {
  let line = 1
  /** The pieces of the line that is not complete yet. */
  let pieces: Array<Uint8Array> = []
  let pending = 0
  const takeLine = (last: Uint8Array): A | undefined => {
    let bytes = last
    if (pieces.length > 0) {
      bytes = Buffer.concat([...pieces, last])
      pieces = []
      pending = 0
    }
    if (line === 1) refuseUtf16(bytes, file)
    let text = decodeUtf8(bytes, file, line)
    if (line === 1) text = text.replace(byteOrderMark, "")
    return decodeLine(text.endsWith("\r") ? text.slice(0, -1) : text, file, line, decode)
  }
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const record = takeLine(chunk.subarray(start, end))
      if (record !== undefined) yield record
      line += 1
      start = end + 1
    }
    if (start < chunk.length) {
      pieces.push(chunk.slice(start))
      pending += chunk.length - start
      if (pending > limit) {
        throw failAt(file, line, 1, `the line is longer than ${limit} bytes; JSON Lines holds one record a line`)
      }
    }
  }
  const record = takeLine(new Uint8Array(0))
  if (record !== undefined) yield record
}

/**
 * The records of a JSON file, from its whole content: a list of records, or, because many files named `.json` are that,
 * JSON Lines. Throws `DocumentsError`.
 */
export function* recordsFromJson<A>(bytes: Uint8Array, file: string, decode: DecodeRow<A>): Generator<A, void, void> {
  refuseUtf16(bytes, file)
  if (bytes.length > longestText) {
    throw failAt(file, 1, 1, "the file is too large to be read as one JSON text; convert it to JSON Lines (.jsonl)")
  }
  const text = decodeUtf8(bytes, file, 1).replace(byteOrderMark, "")
  if (text.trimStart().startsWith("{")) {
    for (const [i, content] of text.split("\n").entries()) {
      const record = decodeLine(content.endsWith("\r") ? content.slice(0, -1) : content, file, i + 1, decode)
      if (record !== undefined) yield record
    }
    return
  }
  const parsed = parseJson(text)
  if (Result.isFailure(parsed)) {
    const { line, column } = lineAndColumn(text, parsed.failure.offset)
    throw failAt(file, line, column, parsed.failure.what)
  }
  if (!Array.isArray(parsed.success)) {
    throw failAt(file, 1, 1, "a JSON file of records must hold a list: [{…}, {…}]")
  }
  const offsets = itemOffsets(text)
  for (const [i, item] of parsed.success.entries()) {
    const start = offsets[i] ?? 0
    const source = text.slice(start, offsets[i + 1])
    const place = (offset: number) => lineAndColumn(text, start + offset)
    refuseRepeatedKeys(source, place, file, decode.fields)
    const record = decode(item)
    if (Result.isFailure(record)) throw faultyField(source, place, file, record.failure)
    yield record.success
  }
}

/**
 * The records of rows that were read elsewhere, for example from Parquet. Throws `DocumentsError` with the row's number;
 * what the rows themselves throw passes through.
 */
export async function* recordsFromRows<A>(
  rows: AsyncIterable<unknown> | Iterable<unknown>,
  file: string,
  decode: DecodeRow<A>
): AsyncGenerator<A, void, void> {
  let row = 0
  for await (const value of rows) {
    const record = decode(value)
    if (Result.isFailure(record)) {
      const { path, what } = record.failure
      const field = showPath(path)
      throw new DocumentsError({
        file,
        row,
        ...(field === "" ? {} : { field }),
        message: `${file}, row ${row}: ${field === "" ? what : `${field} ${what}`}`
      })
    }
    yield record.success
    row += 1
  }
}

async function* recordsOfFile<A>(
  path: string,
  file: string,
  format: "jsonl" | "json",
  decode: DecodeRow<A>
): AsyncGenerator<A, void, void> {
  const bytes = createReadStream(path, { highWaterMark: 1 << 20 })
  const chunks: AsyncIterable<Uint8Array> = compressed.test(file)
    ? // An error of the file is one of what is read; who reads hears of it there.
      pipeline(bytes, createGunzip(), () => {})
    : bytes
  if (format === "jsonl") {
    yield* recordsFromJsonLines(chunks, file, decode)
    return
  }
  const parts: Array<Uint8Array> = []
  for await (const chunk of chunks) parts.push(chunk)
  yield* recordsFromJson(Buffer.concat(parts), file, decode)
}

/**
 * The records of a JSON Lines or JSON file on disk, streamed. `file` is how messages call it (default: its path); its
 * extension says which of the formats it has.
 */
export const readRecords = <A>(path: string, decode: DecodeRow<A>, file = path): Stream.Stream<A, DocumentsError> => {
  const format = formatOf(file)
  if (format === undefined || format === "parquet") {
    const advice =
      format === "parquet" ? "is Parquet, which has its own reader" : "must end in .jsonl, .ndjson, .jsonl.gz or .json"
    return Stream.fail(new DocumentsError({ file, message: `${file}: the file ${advice}` }))
  }
  return Stream.suspend(() =>
    Stream.fromAsyncIterable(recordsOfFile(path, file, format, decode), cause =>
      cause instanceof DocumentsError
        ? cause
        : new DocumentsError({
            file,
            message: `${file}: could not be read: ${cause instanceof Error ? cause.message : String(cause)}`
          })
    )
  )
}

/** Training records: what one line, element or row of a data file must look like, and the digest that names it. */
import { Result, Schema, SchemaAST } from "effect"
import { createHash } from "node:crypto"
import type { Digest } from "../pipeline/Digest.ts"
import { formatPath } from "../pipeline/Problem.ts"
import { fromIssue } from "../pipeline/SchemaProblem.ts"

/** Plain text, from which every token is learnt. */
export interface DocumentRecord {
  readonly kind: "document"
  readonly text: string
}

/** A prompt and the response to it; only the response is learnt. */
export interface PromptResponseRecord {
  readonly kind: "prompt_response"
  readonly prompt: string
  readonly response: string
  /** The number by which other files (trajectories) refer to this record, where the file has one. */
  readonly idx?: number
}

export const roles = ["system", "user", "assistant", "tool"] as const

export interface Message {
  readonly role: (typeof roles)[number]
  readonly content: string
  /** Whether this turn is learnt; without it, the assistant's turns are and the others are not. */
  readonly loss_mask?: 0 | 1
}

/** A conversation, learnt turn by turn. */
export interface ConversationRecord {
  readonly kind: "conversation"
  readonly messages: ReadonlyArray<Message>
}

export type DataRecord = DocumentRecord | PromptResponseRecord | ConversationRecord

/** What the rows of a file mean; the names are those of the configuration files. */
export const DataType = Schema.Literals(["plaintext", "prompt_response", "conversation"])
export type DataType = typeof DataType.Type

export interface RecordOptions {
  readonly dataType: DataType
  /** The field that holds the text (`plaintext`, by default `text`) or the turns (`conversation`, by default `messages`), or those of prompt and response, by default `prompt,response`. */
  readonly textKey?: string | undefined
}

/** What is wrong with a row, and the path of the field at fault. */
export interface RecordFault {
  readonly path: ReadonlyArray<string | number>
  readonly what: string
}

const fault = (path: ReadonlyArray<string | number>, what: string) => Result.fail({ path, what })

/** The path of a field as people write it: `messages[2].role`. */
export const showPath = (path: ReadonlyArray<string | number>): string =>
  path.map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`)).join("")

const describe = (value: unknown): string => {
  if (value === null) return "null"
  if (Array.isArray(value)) return "a list"
  if (typeof value === "object") return "an object"
  if (typeof value === "string") return "a string"
  return `${typeof value} ${String(value).slice(0, 40)}`
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const own = (row: Readonly<Record<string, unknown>>, key: string): unknown =>
  Object.hasOwn(row, key) ? row[key] : undefined

const missing = (row: Readonly<Record<string, unknown>>, path: ReadonlyArray<string | number>) => {
  const found = Object.keys(row).slice(0, 8).join(", ")
  return fault(path, `is missing; ${found === "" ? "the record has no fields" : `the record has ${found}`}`)
}

const textField = (
  row: Readonly<Record<string, unknown>>,
  key: string,
  parent: ReadonlyArray<string | number> = []
): Result.Result<string, RecordFault> => {
  const value = own(row, key)
  if (value === undefined) return missing(row, [...parent, key])
  if (typeof value !== "string") return fault([...parent, key], `must be a string, got ${describe(value)}`)
  // Half a surrogate pair has no UTF-8 form; it becomes U+FFFD here, once, so that digest and tokens agree on it.
  return Result.succeed(value.toWellFormed())
}

const safeInteger = (value: unknown): number | undefined => {
  const asNumber = typeof value === "bigint" ? Number(value) : value
  return typeof asNumber === "number" && Number.isSafeInteger(asNumber) ? asNumber : undefined
}

const message = (value: unknown, path: ReadonlyArray<string | number>): Result.Result<Message, RecordFault> =>
  Result.gen(function* () {
    if (!isObject(value)) return yield* fault(path, `must be an object {role, content}, got ${describe(value)}`)
    const role = yield* textField(value, "role", path)
    const known = roles.find(name => name === role)
    if (known === undefined) {
      return yield* fault([...path, "role"], `must be one of ${roles.join(", ")}, got ${JSON.stringify(role)}`)
    }
    const content = yield* textField(value, "content", path)
    const given = own(value, "loss_mask")
    if (given === undefined || given === null) return { role: known, content }
    const mask = typeof given === "boolean" ? Number(given) : safeInteger(given)
    if (mask !== 0 && mask !== 1) {
      return yield* fault([...path, "loss_mask"], `must be 0 or 1, got ${describe(given)}`)
    }
    return { role: known, content, loss_mask: mask }
  })

/** Fields of rows: those that each must have, and those that it may have. */
export interface Fields {
  readonly needed: ReadonlyArray<string>
  readonly also: ReadonlyArray<string>
}

/** Reads one row of a data file. */
export interface DecodeRow<A> {
  (row: unknown): Result.Result<A, RecordFault>
  /** All that is read of a row: what else a file has need be neither decoded nor kept. Left out where any field may be read. */
  readonly fields?: Fields
}

/** Says what a function reads of a row. */
export const reading = <A>(decode: DecodeRow<A>, fields: Fields | undefined): DecodeRow<A> =>
  Object.assign((row: unknown) => decode(row), fields === undefined ? {} : { fields })

/** Any row, of which some fields are kept. */
export const decodeColumns = (columns: ReadonlyArray<string>): DecodeRow<Readonly<Record<string, unknown>>> =>
  reading(
    row =>
      Result.gen(function* () {
        const fields = yield* decodeFields(row)
        for (const column of columns) if (own(fields, column) === undefined) yield* missing(fields, [column])
        return Object.fromEntries(columns.map(column => [column, fields[column]]))
      }),
    { needed: columns, also: [] }
  )

/** Any row with fields: who needs them looks at them later. */
export const decodeFields: DecodeRow<Readonly<Record<string, unknown>>> = row =>
  isObject(row) ? Result.succeed(row) : fault([], `a record must be an object, got ${describe(row)}`)

/** Rows as a schema says; fields that it does not name are ignored. */
export const decodeBy = <A>(schema: Schema.Codec<A, unknown>): DecodeRow<A> => {
  const decode = Schema.decodeUnknownResult(schema)
  return reading(
    row =>
      Result.mapError(decode(row), ({ issue }) => {
        const { message, path } = fromIssue(issue, row, "")[0]!
        const what = message.slice(formatPath(path).length).replace(/^[: ]+/, "")
        return { path: path.map(part => (typeof part === "number" ? part : String(part))), what }
      }),
    fieldsOf(schema)
  )
}

/** The fields of a schema of records; undefined for another one. */
const fieldsOf = (schema: Schema.Constraint): Fields | undefined => {
  const encoded = SchemaAST.toEncoded(schema.ast)
  if (encoded._tag !== "Objects" || encoded.indexSignatures.length > 0) return undefined
  const named = (optional: boolean) =>
    encoded.propertySignatures.flatMap(({ name, type }) =>
      SchemaAST.isOptional(type) === optional ? [String(name)] : []
    )
  return { needed: named(false), also: named(true) }
}

/** The fields that a data type is read from; undefined where they are not named as they must be. */
const fieldsOfRecord = ({ dataType, textKey }: RecordOptions): Fields | undefined => {
  switch (dataType) {
    case "plaintext":
      return { needed: [textKey ?? "text"], also: [] }
    case "prompt_response": {
      const needed = promptKeys(textKey)
      return needed === undefined ? undefined : { needed, also: ["idx"] }
    }
    case "conversation":
      return { needed: [textKey ?? "messages"], also: [] }
  }
}

/** The fields of prompt and response. */
const promptKeys = (textKey = "prompt,response"): readonly [prompt: string, response: string] | undefined => {
  const keys = textKey.split(",").map(key => key.trim())
  const [prompt, response] = keys
  return prompt === undefined || response === undefined || keys.length > 2 || keys.includes("")
    ? undefined
    : [prompt, response]
}

/** Reads rows of a data type. Fields that it does not name are ignored. */
export const decodeRecord = (options: RecordOptions): DecodeRow<DataRecord> =>
  reading(readRecord(options), fieldsOfRecord(options))

const readRecord =
  (options: RecordOptions) =>
  (given: unknown): Result.Result<DataRecord, RecordFault> =>
    Result.gen(function* () {
      const row = yield* decodeFields(given)
      switch (options.dataType) {
        case "plaintext":
          return { kind: "document" as const, text: yield* textField(row, options.textKey ?? "text") }
        case "prompt_response": {
          const keys = promptKeys(options.textKey)
          if (keys === undefined)
            return yield* fault(
              [],
              `the fields of prompt and response are named as in "question,answer", got ${JSON.stringify(options.textKey)}`
            )
          const prompt = yield* textField(row, keys[0])
          const response = yield* textField(row, keys[1])
          const given = own(row, "idx")
          if (given === undefined || given === null) return { kind: "prompt_response" as const, prompt, response }
          const idx = safeInteger(given)
          if (idx === undefined) return yield* fault(["idx"], `must be an integer, got ${describe(given)}`)
          return { kind: "prompt_response" as const, prompt, response, idx }
        }
        case "conversation": {
          const key = options.textKey ?? "messages"
          const given = own(row, key)
          if (given === undefined) return yield* fault([key], "is missing; a conversation is a list of {role, content}")
          if (!Array.isArray(given)) {
            return yield* fault([key], `must be a list of {role, content}, got ${describe(given)}`)
          }
          const messages: Array<Message> = []
          for (const [i, turn] of given.entries()) messages.push(yield* message(turn, [key, i]))
          return { kind: "conversation" as const, messages }
        }
      }
    })

/**
 * The SHA-256 of what determines a record's tokens, with `idx`, which the sequences carry: the key of the record's
 * sequences in a chunk set. Two rows with the same content share it, wherever they stand in whichever file.
 *
 * Hashed are a domain tag, the kind and each field as its UTF-8 length (64-bit little-endian) and its bytes, so that no
 * two different records have the same input.
 */
export const recordDigest = (record: DataRecord): Digest => {
  const hash = createHash("sha256")
  const length = Buffer.alloc(8)
  const put = (field: string) => {
    const bytes = Buffer.from(field, "utf8")
    length.writeBigUInt64LE(BigInt(bytes.length))
    hash.update(length).update(bytes)
  }
  put("dllm-pipeline record 1")
  put(record.kind)
  switch (record.kind) {
    case "document":
      put(record.text)
      break
    case "prompt_response":
      put(record.prompt)
      put(record.response)
      put(record.idx === undefined ? "" : String(record.idx))
      break
    case "conversation":
      for (const turn of record.messages) {
        put(turn.role)
        put(turn.content)
        put(String(lossMaskOf(turn)))
      }
  }
  return hash.digest("hex") as Digest
}

/** Whether a turn is learnt: as its `loss_mask` says, and where it says nothing, if the assistant speaks. */
export const lossMaskOf = (turn: Message): 0 | 1 => turn.loss_mask ?? (turn.role === "assistant" ? 1 : 0)

/**
 * Pages of chunk sets. A set is an ordered list of items, cut into pages of some hundred; each page is an object. Where a page ends is
 * decided by the items' keys alone, so that sets that differ in a few items share all pages but a few.
 */
import { Effect, Schema } from "effect"
import { canonical, type Digest, isDigest, type Json, sha256 } from "../pipeline/Digest.ts"

interface ItemBase {
  readonly key: Digest
  /** A small value kept beside the payload, such as a token count. */
  readonly note: Json
  /** Size of the payload in bytes. */
  readonly size: number
}

/** An item whose payload is kept in the page itself; up to `inlineLimit` bytes. */
export interface InlineItem extends ItemBase {
  readonly bytes: Uint8Array
  readonly sha256?: never
}

/** An item whose payload is an object. */
export interface ObjectItem extends ItemBase {
  readonly sha256: Digest
  readonly bytes?: never
}

export type PageItem = InlineItem | ObjectItem

/** A page, ready to be stored. */
export interface EncodedPage {
  readonly bytes: Uint8Array
  readonly sha256: Digest
  readonly size: number
  /** Items in it. */
  readonly count: number
}

/** Largest payload, in bytes, that belongs into a page; a separate object costs a file and a sync. */
export const inlineLimit = 4096

/** One key in 256 may end a page. */
const boundaryMask = 0xff
/** A boundary counts only if none of the 31 items before it was one: pages have at least 32 items. */
const minimumCount = 32
/** Pages end here at the latest, so that a page stays something one reads at once. */
const maximumCount = 2048
const maximumInlineBytes = 1024 * 1024

const format = "pipeline-page"
const version = 1

const isBoundary = (key: Digest): boolean => (Number.parseInt(key.slice(0, 8), 16) & boundaryMask) === 0

const encodeItem = (item: PageItem): string => {
  if (!isDigest(item.key)) throw new TypeError(`a key must be 64 hexadecimal digits, got ${JSON.stringify(item.key)}`)
  const { key, note, size } = item
  if (item.bytes === undefined) return canonical({ key, note, sha256: item.sha256, size })
  if (item.bytes.length !== size) throw new TypeError(`item ${key}: ${item.bytes.length} bytes, announced as ${size}`)
  if (size > inlineLimit) throw new TypeError(`item ${key}: ${size} bytes are too many to be kept in a page`)
  return canonical({ bytes: Buffer.from(item.bytes).toString("base64"), key, note, size })
}

const page = (lines: ReadonlyArray<string>): EncodedPage => {
  const header = canonical({ count: lines.length, format, version })
  const bytes = Buffer.from(`${header}\n${lines.join("\n")}\n`)
  return { bytes, sha256: sha256(bytes), size: bytes.length, count: lines.length }
}

/**
 * Cuts a list of items into pages, one after the other; an empty list has none. The same list always gives the same pages.
 *
 * A page ends after an item whose key is a boundary, unless one of the 31 items before it has such a key too: a rule that
 * looks at 32 neighbouring items and at nothing else. Inserting, removing or replacing one item therefore adds at most two
 * pages to those that exist (more only inside a stretch without boundaries that is longer than 2,048 items or 1 MiB of payload,
 * which is cut by counting). Pages have about 290 items on average. Throws a TypeError for an item that is no item.
 */
export function* encodePages(items: Iterable<PageItem>): Generator<EncodedPage, void> {
  let lines: Array<string> = []
  let inlineBytes = 0
  let sinceBoundary = 0
  for (const item of items) {
    lines.push(encodeItem(item))
    inlineBytes += item.bytes?.length ?? 0
    sinceBoundary++
    let ends = lines.length >= maximumCount || inlineBytes >= maximumInlineBytes
    if (isBoundary(item.key)) {
      if (sinceBoundary >= minimumCount) ends = true
      sinceBoundary = 0
    }
    if (!ends) continue
    yield page(lines)
    lines = []
    inlineBytes = 0
  }
  if (lines.length > 0) yield page(lines)
}

/** Bytes that are no page. `message` says what is wrong, and in which line. */
export class PageInvalid extends Schema.TaggedError<PageInvalid>()("PageInvalid", {
  /** Counted from 1. */
  line: Schema.Number,
  detail: Schema.String
}) {
  override get message(): string {
    return `not a page of a chunk set: line ${this.line}: ${this.detail}`
  }
}

type Fields = { readonly [field: string]: unknown }

const parseLine = (text: string, line: number): Fields => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new PageInvalid({ line, detail: "is no JSON" })
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new PageInvalid({ line, detail: "is no JSON object" })
  }
  return value as Fields
}

const itemFields = new Set(["key", "note", "size", "bytes", "sha256"])

const decodeItem = (fields: Fields, line: number): PageItem => {
  const invalid = (detail: string) => new PageInvalid({ line, detail })
  const { key, note, size, bytes, sha256 } = fields
  for (const name of Object.keys(fields))
    if (!itemFields.has(name)) throw invalid(`has a field ${JSON.stringify(name)}`)
  if (typeof key !== "string" || !isDigest(key)) throw invalid("its key is not 64 hexadecimal digits")
  if (note === undefined) throw invalid("has no note")
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw invalid("its size is no byte count")
  const base = { key, note: note as Json, size }
  if (bytes === undefined) {
    if (typeof sha256 !== "string" || !isDigest(sha256)) throw invalid("its sha256 is not 64 hexadecimal digits")
    return { ...base, sha256 }
  }
  if (sha256 !== undefined) throw invalid("has both bytes and sha256")
  if (typeof bytes !== "string") throw invalid("its bytes are not base64")
  const payload = Buffer.from(bytes, "base64")
  // Node skips what is not base64; writing the bytes again shows whether it had to.
  if (payload.toString("base64") !== bytes) throw invalid("its bytes are not base64")
  if (payload.length !== size) throw invalid(`has ${payload.length} bytes, announced as ${size}`)
  if (size > inlineLimit) throw invalid(`keeps ${size} bytes in the page, more than ${inlineLimit}`)
  return { ...base, bytes: payload }
}

const decode = (bytes: Uint8Array): ReadonlyArray<PageItem> => {
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString().split("\n")
  if (lines.pop() !== "" || lines.length < 1) throw new PageInvalid({ line: 1, detail: "does not end in a line break" })
  const header = parseLine(lines[0]!, 1)
  if (header["format"] !== format) throw new PageInvalid({ line: 1, detail: `its format is not ${format}` })
  if (header["version"] !== version) {
    throw new PageInvalid({
      line: 1,
      detail: `its version is ${canonicalOr(header["version"])}; this program reads ${version}`
    })
  }
  const items = lines.slice(1).map((text, i) => decodeItem(parseLine(text, i + 2), i + 2))
  if (header["count"] !== items.length) {
    throw new PageInvalid({
      line: 1,
      detail: `announces ${canonicalOr(header["count"])} items, but there are ${items.length}`
    })
  }
  return items
}

const canonicalOr = (value: unknown): string => (typeof value === "number" ? String(value) : "missing or no number")

/** The objects that hold payloads of some items. */
export const objectsOf = (items: ReadonlyArray<PageItem>): ReadonlyArray<Digest> =>
  items.flatMap(item => (item.sha256 === undefined ? [] : [item.sha256]))

/** Reads a page. The bytes may be anything: what is not a page fails with PageInvalid. */
export const decodePage = (bytes: Uint8Array): Effect.Effect<ReadonlyArray<PageItem>, PageInvalid> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(decode(bytes))
    } catch (error) {
      return error instanceof PageInvalid ? Effect.fail(error) : Effect.die(error)
    }
  })

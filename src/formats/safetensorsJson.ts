/** The JSON in the header of a safetensors file: its entries, with all that `JSON.parse` lets through and the format does not (repeated keys, `1.0` for an integer). */
import { Result } from "effect"
import { type KeyPlace, parseJson, topLevelKeys } from "./jsonText.ts"

/** What is wrong with a header, and where: in bytes from the beginning of the file. */
export class HeaderFault extends Error {
  readonly offset: number
  readonly what: string
  readonly tensor: string | undefined

  constructor(offset: number, what: string, tensor?: string) {
    super(what)
    this.offset = offset
    this.what = what
    this.tensor = tensor
  }
}

/** A tensor as the header lists it. */
export interface HeaderEntry {
  readonly name: string
  /** Where the entry begins. */
  readonly at: number
  readonly dtype: string
  readonly shape: ReadonlyArray<number>
  /** First byte and the one behind the last, counted from the end of the header. */
  readonly dataOffsets: readonly [begin: number, end: number]
}

/** Reads the header's JSON, which begins at byte `base` of the file. Throws a HeaderFault. */
export const parseHeaderJson = (
  json: Uint8Array,
  base: number
): { readonly entries: ReadonlyArray<HeaderEntry>; readonly metadata: ReadonlyMap<string, string> } => {
  const text = decode(json, base)
  const header = new Piece(text, 0, base)
  // The format has the brace in the first byte; behind the last one there may be blanks.
  if (!text.startsWith("{")) throw header.fault("a header begins with {", 0)
  const parsed = parseJson(text)
  if (Result.isFailure(parsed)) throw header.fault(parsed.failure.what, parsed.failure.offset)
  const metadata = new Map<string, string>()
  const entries: Array<HeaderEntry> = []
  let at = base
  let before = 0
  for (const [{ key: name, keyOffset }, piece, value] of header.fields(parsed.success as object)) {
    at += Buffer.byteLength(text.slice(before, keyOffset))
    before = keyOffset
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw piece.fault(`${JSON.stringify(name.slice(0, 40))} begins with {`)
    if (name === "__metadata__") {
      for (const [{ key }, place, said] of piece.fields(value)) metadata.set(key, place.text(said))
    } else entries.push(readTensor(name, at, piece.of(name), value))
  }
  return { entries, metadata }
}

const readTensor = (name: string, at: number, piece: Piece, value: object): HeaderEntry => {
  let dtype: string | undefined
  let shape: ReadonlyArray<number> | undefined
  let dataOffsets: readonly [number, number] | undefined
  for (const [{ key, keyOffset }, place, field] of piece.fields(value)) {
    if (key === "dtype") dtype = place.text(field)
    else if (key === "shape") shape = place.integers(field)
    else if (key === "data_offsets") {
      const [begin, end, ...more] = place.integers(field)
      if (begin === undefined || end === undefined || more.length > 0)
        throw piece.fault("data_offsets must be two integers", keyOffset)
      dataOffsets = [begin, end]
    } else throw piece.fault(`the field ${JSON.stringify(key.slice(0, 40))} is not known`, keyOffset)
  }
  if (dtype === undefined) throw piece.fault("dtype is missing")
  if (shape === undefined) throw piece.fault("shape is missing")
  if (dataOffsets === undefined) throw piece.fault("data_offsets is missing")
  return { name, at, dtype, shape, dataOffsets }
}

const decode = (json: Uint8Array, base: number): string => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json)
  } catch {
    throw new HeaderFault(base, "the header is not UTF-8")
  }
}

/** A value as it is written in the header: its characters from `start` on, with what may follow it. */
class Piece {
  readonly #header: string
  readonly #start: number
  readonly #end: number
  readonly #base: number
  readonly #tensor: string | undefined

  constructor(header: string, start: number, base: number, end = header.length, tensor?: string) {
    this.#header = header
    this.#start = start
    this.#end = end
    this.#base = base
    this.#tensor = tensor
  }

  of(tensor: string): Piece {
    return new Piece(this.#header, this.#start, this.#base, this.#end, tensor)
  }

  /** `offset` counts characters from the beginning of this piece. */
  fault(what: string, offset = 0): HeaderFault {
    const bytes = Buffer.byteLength(this.#header.slice(0, this.#start + offset))
    return new HeaderFault(this.#base + bytes, what, this.#tensor)
  }

  /** The fields of the object that is written here: where each stands, what is written there, and its value. */
  fields(value: object): ReadonlyArray<readonly [KeyPlace, Piece, unknown]> {
    const places = topLevelKeys(this.#header.slice(this.#start, this.#end))
    const seen = new Set<string>()
    return places.map((place, i) => {
      const { key, keyOffset, valueOffset } = place
      if (seen.has(key)) throw this.fault(`the key ${JSON.stringify(key.slice(0, 100))} is there twice`, keyOffset)
      seen.add(key)
      if (!key.isWellFormed()) throw this.fault("the text holds half of a surrogate pair", keyOffset)
      const end = places[i + 1] === undefined ? this.#end : this.#start + places[i + 1]!.keyOffset
      const piece = new Piece(this.#header, this.#start + valueOffset, this.#base, end, this.#tensor)
      return [place, piece, (value as { readonly [key: string]: unknown })[key]]
    })
  }

  text(value: unknown): string {
    if (typeof value !== "string") throw this.fault("a text must stand here")
    if (!value.isWellFormed()) throw this.fault("the text holds half of a surrogate pair")
    return value
  }

  integers(value: unknown): ReadonlyArray<number> {
    if (!Array.isArray(value) || !value.every(each => typeof each === "number"))
      throw this.fault("a list of integers must stand here")
    const written = this.#header.slice(this.#start, this.#header.indexOf("]", this.#start))
    const odd = written.search(/[.eE-]/)
    if (odd >= 0) throw this.fault("an integer from 0 must stand here", odd)
    if (!value.every(Number.isSafeInteger)) throw this.fault("the integer is too large", written.search(/\d{16}/))
    return value
  }
}

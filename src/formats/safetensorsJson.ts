/**
 * The JSON in the header of a safetensors file, read byte by byte: what `JSON.parse` does not tell (repeated keys,
 * fractions that look like integers, where things are) decides here whether a file is valid.
 */

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
  const reader = new Reader(json, base)
  const entries: Array<HeaderEntry> = []
  let metadata: ReadonlyMap<string, string> = new Map()
  // The format has the brace in the first byte; behind the last one there may be blanks.
  if (json[0] !== openBrace) throw reader.fault("a header begins with {")
  reader.object(undefined, (name, at) => {
    if (name === "__metadata__") metadata = reader.texts()
    else entries.push(reader.tensor(name, at))
  })
  reader.end()
  return { entries, metadata }
}

const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const comma = 0x2c
const colon = 0x3a
const quote = 0x22
const backslash = 0x5c

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

class Reader {
  readonly #bytes: Uint8Array
  readonly #base: number
  #at = 0
  #tensor: string | undefined

  constructor(bytes: Uint8Array, base: number) {
    this.#bytes = bytes
    this.#base = base
  }

  fault(what: string, at = this.#at): HeaderFault {
    return new HeaderFault(this.#base + at, what, this.#tensor)
  }

  tensor(name: string, at: number): HeaderEntry {
    this.#tensor = name
    let dtype: string | undefined
    let shape: ReadonlyArray<number> | undefined
    let dataOffsets: readonly [number, number] | undefined
    this.object(name, (field, fieldAt) => {
      if (field === "dtype") dtype = this.#string()
      else if (field === "shape") shape = this.#integers()
      else if (field === "data_offsets") {
        const [begin, end, ...more] = this.#integers()
        if (begin === undefined || end === undefined || more.length > 0) {
          throw this.fault("data_offsets must be two integers", fieldAt - this.#base)
        }
        dataOffsets = [begin, end]
      } else throw this.fault(`the field ${JSON.stringify(field.slice(0, 40))} is not known`, fieldAt - this.#base)
    })
    if (dtype === undefined) throw this.fault("dtype is missing")
    if (shape === undefined) throw this.fault("shape is missing")
    if (dataOffsets === undefined) throw this.fault("data_offsets is missing")
    this.#tensor = undefined
    return { name, at, dtype, shape, dataOffsets }
  }

  /** An object whose values are strings. */
  texts(): ReadonlyMap<string, string> {
    const texts = new Map<string, string>()
    this.object("__metadata__", key => texts.set(key, this.#string()))
    return texts
  }

  /** Calls `field` at the value of each field, with the offset of its key in the file. */
  object(what: string | undefined, field: (key: string, at: number) => void): void {
    this.#skipBlanks()
    this.#expect(openBrace, what === undefined ? "the header" : JSON.stringify(what.slice(0, 40)), "{")
    const keys = new Set<string>()
    this.#skipBlanks()
    if (this.#bytes[this.#at] === closeBrace) {
      this.#at++
      return
    }
    for (;;) {
      this.#skipBlanks()
      const at = this.#at
      const key = this.#string()
      if (keys.has(key)) throw this.fault(`the key ${JSON.stringify(key.slice(0, 100))} is there twice`, at)
      keys.add(key)
      this.#skipBlanks()
      this.#expect(colon, "a key", ":", "is followed by")
      this.#skipBlanks()
      field(key, this.#base + at)
      this.#skipBlanks()
      const next = this.#bytes[this.#at]
      if (next !== comma && next !== closeBrace) throw this.fault(`"," or "}" must stand here`)
      this.#at++
      if (next === closeBrace) return
    }
  }

  /** Nothing but blanks may follow. */
  end(): void {
    this.#skipBlanks()
    if (this.#at < this.#bytes.length) throw this.fault("only blanks may follow the header's last brace")
  }

  #integers(): ReadonlyArray<number> {
    this.#expect(openBracket, "a list of integers", "[")
    const list: Array<number> = []
    this.#skipBlanks()
    if (this.#bytes[this.#at] === closeBracket) {
      this.#at++
      return list
    }
    for (;;) {
      this.#skipBlanks()
      list.push(this.#integer())
      this.#skipBlanks()
      const next = this.#bytes[this.#at]
      if (next !== comma && next !== closeBracket) throw this.fault(`"," or "]" must stand here`)
      this.#at++
      if (next === closeBracket) return list
    }
  }

  #integer(): number {
    const start = this.#at
    let value = 0
    for (let digit = this.#digit(); digit !== undefined; digit = this.#digit()) {
      value = value * 10 + digit
      this.#at++
      if (value > Number.MAX_SAFE_INTEGER) throw this.fault("the integer is too large", start)
    }
    if (this.#at === start) throw this.fault("an integer from 0 must stand here")
    if (this.#at > start + 1 && this.#bytes[start] === 0x30) throw this.fault("an integer has no leading zeros", start)
    return value
  }

  #digit(): number | undefined {
    const byte = this.#bytes[this.#at]
    return byte !== undefined && byte >= 0x30 && byte <= 0x39 ? byte - 0x30 : undefined
  }

  #string(): string {
    this.#expect(quote, "a text", '"')
    const start = this.#at
    let escaped = false
    for (; this.#bytes[this.#at] !== quote; this.#at++) {
      const byte = this.#bytes[this.#at]
      if (byte === undefined) throw this.fault("the text is not closed", start - 1)
      if (byte < 0x20) throw this.fault("a control character must be escaped")
      if (byte === backslash) {
        escaped = true
        this.#at++
      }
    }
    const raw = this.#bytes.subarray(start, this.#at++)
    let text: string
    try {
      text = utf8.decode(raw)
      if (escaped) text = JSON.parse(`"${text}"`) as string
    } catch {
      throw this.fault(escaped ? "the text has a wrong escape, or is not UTF-8" : "the text is not UTF-8", start)
    }
    if (!text.isWellFormed()) throw this.fault("the text holds half of a surrogate pair", start)
    return text
  }

  #skipBlanks() {
    for (;;) {
      const byte = this.#bytes[this.#at]
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return
      this.#at++
    }
  }

  #expect(byte: number, what: string, sign: string, verb = "begins with") {
    if (this.#bytes[this.#at] !== byte) throw this.fault(`${what} ${verb} ${sign}`)
    this.#at++
  }
}

/** JSON read from people's files: parsed by the platform, with the place of every fault and of every top-level key. */
import { Result } from "effect"

/** What is wrong with a JSON text, and where: `offset` counts UTF-16 units from 0. */
export interface JsonFault {
  readonly offset: number
  readonly what: string
}

/** A key of an object, with the offsets of the key and of its value. */
export interface KeyPlace {
  readonly key: string
  readonly keyOffset: number
  readonly valueOffset: number
}

/** Parses a JSON text. Whatever the text holds, the result is a value or a fault with its place. */
export const parseJson = (text: string): Result.Result<unknown, JsonFault> => {
  try {
    return Result.succeed(JSON.parse(text))
  } catch {
    return Result.fail(scan(text).fault ?? { offset: 0, what: "cannot be read as JSON" })
  }
}

/** A key that its object has already; objects may lie in others. */
export interface RepeatedKey {
  /** From the outermost object to the key: keys, and the places of items in lists. */
  readonly path: ReadonlyArray<string | number>
  readonly keyOffset: number
}

/** The keys of the object that `text` holds, in order, repeated ones included; empty when it holds no object. */
export const topLevelKeys = (text: string): ReadonlyArray<KeyPlace> => scan(text).keys

/** Keys that stand twice in one object, wherever in `text` it lies. */
export const repeatedKeys = (text: string): ReadonlyArray<RepeatedKey> => scan(text).repeated

/** The offsets at which the items of the array that `text` holds begin; empty when it holds no array. */
export const itemOffsets = (text: string): ReadonlyArray<number> => scan(text).items

/** The line and the column, both from 1 and in UTF-16 units, of an offset. */
export const lineAndColumn = (text: string, offset: number): { readonly line: number; readonly column: number } => {
  let line = 1
  let start = 0
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) {
    line += 1
    start = at + 1
  }
  return { line, column: offset - start + 1 }
}

interface Scan {
  readonly keys: ReadonlyArray<KeyPlace>
  readonly items: ReadonlyArray<number>
  readonly repeated: ReadonlyArray<RepeatedKey>
  readonly fault: JsonFault | undefined
}

const whitespace = /[\t\n\r ]*/y
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const literal = /true|false|null/y
const badEscape = /\\(?:[^"\\/bfnrtu]|u(?![0-9a-fA-F]{4})|$)/g
const control = /[\u0000-\u001f]/

const show = (text: string, offset: number): string =>
  offset >= text.length ? "the end of the text" : JSON.stringify(String.fromCodePoint(text.codePointAt(offset) ?? 0))

/** An object or a list that is not closed yet, and where in it we are. */
type Open = { readonly bracket: "{"; readonly keys: Set<string>; at: string } | { readonly bracket: "["; at: number }

/** Walks a JSON text without recursion, so that no depth of nesting exhausts the stack. */
const scan = (text: string): Scan => {
  const keys: Array<KeyPlace> = []
  const items: Array<number> = []
  const repeated: Array<RepeatedKey> = []
  /** Outermost first. */
  const open: Array<Open> = []
  let at = 0

  const skip = () => {
    whitespace.lastIndex = at
    whitespace.test(text)
    at = whitespace.lastIndex
  }
  const matched = (pattern: RegExp): boolean => {
    pattern.lastIndex = at
    if (!pattern.test(text)) return false
    at = pattern.lastIndex
    return true
  }
  const fault = (what: string, offset = at): Scan => ({ keys, items, repeated, fault: { offset, what } })
  const expected = (what: string): Scan => fault(`expected ${what}, found ${show(text, at)}`)

  /** The offset after the string that begins at `at`, or the fault in it. */
  const string = (): number | JsonFault => {
    let end = at + 1
    for (;;) {
      end = text.indexOf('"', end)
      if (end === -1) return { offset: at, what: "the string that begins here never ends" }
      let backslashes = 0
      while (text[end - 1 - backslashes] === "\\") backslashes += 1
      if (backslashes % 2 === 0) break
      end += 1
    }
    const body = text.slice(at + 1, end)
    const raw = control.exec(body)
    if (raw !== null) {
      return { offset: at + 1 + raw.index, what: `a string holds the raw character ${show(body, raw.index)}` }
    }
    if (body.includes("\\")) {
      for (const escape of body.replaceAll("\\\\", "__").matchAll(badEscape)) {
        return { offset: at + 1 + escape.index, what: "a string holds an escape that JSON does not know" }
      }
    }
    return end + 1
  }

  skip()
  let wanted: "value" | "key" | "next" = "value"
  for (;;) {
    const depth = open.length
    if (wanted === "key") {
      if (text[at] !== '"') return expected('a key in "double quotes"')
      const end = string()
      if (typeof end !== "number") return { keys, items, repeated, fault: end }
      const keyOffset = at
      const raw = text.slice(at, end)
      at = end
      skip()
      if (text[at] !== ":") return expected('":" after the key')
      at += 1
      skip()
      const key = raw.includes("\\") ? (JSON.parse(raw) as string) : raw.slice(1, -1)
      if (depth === 1) keys.push({ key, keyOffset, valueOffset: at })
      const inside = open.at(-1)
      if (inside?.bracket === "{") {
        inside.at = key
        if (inside.keys.has(key)) repeated.push({ path: open.map(each => each.at), keyOffset })
        inside.keys.add(key)
      }
      wanted = "value"
    } else if (wanted === "value") {
      if (depth === 1 && open[0]!.bracket === "[") items.push(at)
      const first = text[at]
      if (first === '"') {
        const end = string()
        if (typeof end !== "number") return { keys, items, repeated, fault: end }
        at = end
        wanted = "next"
      } else if (first === "{" || first === "[") {
        at += 1
        skip()
        if (text[at] === (first === "{" ? "}" : "]")) {
          at += 1
          wanted = "next"
        } else {
          open.push(first === "{" ? { bracket: first, keys: new Set(), at: "" } : { bracket: first, at: 0 })
          wanted = first === "{" ? "key" : "value"
        }
      } else if (matched(number) || matched(literal)) {
        wanted = "next"
      } else {
        return expected("a value")
      }
    } else {
      skip()
      const inside = open.at(-1)
      if (inside === undefined) {
        return at === text.length ? { keys, items, repeated, fault: undefined } : expected("the end of the text")
      }
      const close = inside.bracket === "{" ? "}" : "]"
      if (text[at] === ",") {
        at += 1
        skip()
        if (inside.bracket === "[") inside.at += 1
        wanted = inside.bracket === "{" ? "key" : "value"
      } else if (text[at] === close) {
        at += 1
        open.pop()
      } else {
        return expected(`"," or "${close}"`)
      }
    }
  }
}

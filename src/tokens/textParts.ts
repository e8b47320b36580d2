/** What the parts of a `tokenizer.json` share: how they are described, how text is cut, and what counts as white space and words in the reference implementation. */
import * as library from "@huggingface/tokenizers"
import { describe } from "../pipeline/Problem.ts"

/** Of the library's own declarations those of its parts do not resolve under Node's module rules. */
const { SplitPreTokenizer } = library as unknown as {
  readonly SplitPreTokenizer: new (part: object) => { readonly pattern: unknown }
}

export type Part = Readonly<Record<string, unknown>>

/** A feature of a file that is not computed here; the message names it. */
export class Unsupported extends Error {}

export const isPart = (value: unknown): value is Part =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** White space is Unicode's White_Space there; JavaScript's `\s` has U+FEFF too, and not U+0085. */
export const leadingSpace = /^\p{White_Space}+/u
const space = /\p{White_Space}/u
/** Where the white space before a place begins. Walked back: a pattern would try each run of spaces of the text. All white space is of one code unit. */
export const spaceBefore = (text: string, end: number): number => {
  let start = end
  while (start > 0 && space.test(text[start - 1]!)) start--
  return start
}

const word = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`
export const startsWithWord = new RegExp(`^[${word}]`, "u")
const endsWithWord = new RegExp(`[${word}]$`, "u")
/** Whether a word's sign stands before a place: one of at most two code units. */
export const isWordBefore = (text: string, end: number): boolean =>
  endsWithWord.test(text.slice(Math.max(0, end - 2), end))
/** Words, and what is neither word nor space between them. */
export const wordsOrSigns = new RegExp(String.raw`[${word}]+|[^${word}\p{White_Space}]+`, "gu")

/** A part by its `type`, from a table of those that are computed here. */
export const byType = <A>(
  value: unknown,
  at: string,
  kinds: { readonly [type: string]: (part: Part, at: string) => A }
): A => {
  const type = isPart(value) ? value["type"] : undefined
  const make = typeof type === "string" && Object.hasOwn(kinds, type) ? kinds[type] : undefined
  if (!isPart(value) || make === undefined)
    throw new Unsupported(
      `${at}.type is ${describe(type)}, which is not computed here; supported are ${Object.keys(kinds).join(", ")}`
    )
  return make(value, at)
}

/** The parts of a `Sequence`, which stand in the field `name`. */
export const inSequence = <A>(
  part: Part,
  name: string,
  at: string,
  kinds: { readonly [type: string]: (part: Part, at: string) => A }
): ReadonlyArray<A> => {
  const parts = part[name]
  if (!Array.isArray(parts)) throw new Unsupported(`${at}.${name} must be a list`)
  return parts.map((each, i) => byType(each, `${at}.${name}[${i}]`, kinds))
}

/** A field that must have one of some values; the first is that of a field that is left out. */
export const choice = <A>(part: Part, name: string, at: string, values: readonly [A, ...ReadonlyArray<A>]): A => {
  const value = part[name] ?? values[0]
  if (!values.includes(value as A))
    throw new Unsupported(
      `${at}.${name} is ${describe(value)}, which is not computed here; supported: ${values.map(each => describe(each)).join(", ")}`
    )
  return value as A
}

export const flag = (part: Part, name: string, at: string, otherwise: boolean): boolean =>
  choice(part, name, at, [otherwise, !otherwise])

export const textOf = (part: Part, name: string, at: string, otherwise?: string): string => {
  const value = part[name] ?? otherwise
  if (typeof value !== "string") throw new Unsupported(`${at}.${name} must be a string, got ${describe(value)}`)
  return value
}

export const count = (part: Part, name: string, at: string): number => {
  const value = part[name] ?? 0
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new Unsupported(`${at}.${name} must be a whole number from 0, got ${describe(value)}`)
  return value as number
}

/** One character. */
export const character = (part: Part, name: string, at: string, otherwise: string): string => {
  const value = textOf(part, name, at, otherwise)
  if ([...value].length !== 1) throw new Unsupported(`${at}.${name} must be one character, got ${describe(value)}`)
  return value
}

/** `{"String": …}` or `{"Regex": …}`, whose dialect the library translates. */
export const patternOf = (part: Part, at: string): RegExp => {
  const pattern = part["pattern"]
  const keys = isPart(pattern) ? Object.keys(pattern) : []
  if (
    !isPart(pattern) ||
    keys.length !== 1 ||
    (typeof pattern["String"] !== "string" && typeof pattern["Regex"] !== "string")
  )
    throw new Unsupported(`${at}.pattern must be {"String": …} or {"Regex": …}, got ${describe(pattern)}`)
  const translated = new SplitPreTokenizer({ pattern, invert: false }).pattern
  if (!(translated instanceof RegExp)) throw new Unsupported(`${at}.pattern is not computed here`)
  return translated
}

/** Every match of a pattern becomes some text, as it is: `$` means nothing in it. */
export const replaced = (part: Part, at: string): ((text: string) => string) => {
  const [pattern, content] = [patternOf(part, at), textOf(part, "content", at)]
  return text => text.replace(pattern, () => content)
}

export type Behavior = (typeof behaviors)[number]
export const behaviors = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const

interface Span {
  readonly text: string
  readonly match: boolean
}

/** A text as matches and what is between them. */
const spansOf = (text: string, pattern: RegExp): ReadonlyArray<Span> => {
  const spans: Array<Span> = []
  let end = 0
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (index > end) spans.push({ text: text.slice(end, index), match: false })
    spans.push({ text: match, match: true })
    end = index + match.length
  }
  if (end < text.length) spans.push({ text: text.slice(end), match: false })
  return spans
}

/** Spans of which each match is joined with the one before it, where that is none; in the order given. */
const joined = (spans: ReadonlyArray<Span>, join: (before: string, match: string) => string): Array<string> => {
  const pieces: Array<string> = []
  let before = false
  for (const { match, text } of spans) {
    if (match && !before && pieces.length > 0) pieces.push(join(pieces.pop()!, text))
    else pieces.push(text)
    before = match
  }
  return pieces
}

/** The pieces of a text that a pattern cuts. */
export const cut = (text: string, pattern: RegExp, behavior: Behavior, invert = false): ReadonlyArray<string> => {
  if (behavior === "Isolated") {
    // Nothing lies between the matches of most patterns, and none of them is empty: this is the way of nearly all texts.
    const matches = text.match(pattern) ?? []
    let covered = 0
    let empty = false
    for (const { length } of matches) {
      covered += length
      empty ||= length === 0
    }
    if (covered === text.length) return empty ? matches.filter(match => match !== "") : matches
  }
  const found = spansOf(text, pattern)
  const spans = invert ? found.map(({ match, text }) => ({ text, match: !match })) : found
  const pieces = (): ReadonlyArray<string> => {
    switch (behavior) {
      case "Isolated":
        return spans.map(({ text }) => text)
      case "Removed":
        return spans.flatMap(({ match, text }) => (match ? [] : [text]))
      case "MergedWithPrevious":
        return joined(spans, (before, match) => before + match)
      case "MergedWithNext":
        return joined(spans.toReversed(), (after, match) => match + after).reverse()
      case "Contiguous": {
        const runs: Array<{ text: string; readonly match: boolean }> = []
        for (const { match, text } of spans) {
          const last = runs.at(-1)
          if (last?.match === match) last.text += text
          else runs.push({ text, match })
        }
        return runs.map(({ text }) => text)
      }
    }
  }
  return pieces().filter(piece => piece !== "")
}

/** Excerpts that begin and end where the text itself pauses: at sentences, paragraphs, fields or chapters. */
import { pick, type Random } from "../../src/corpora/random.ts"
import type { SourceDocument, SourceName } from "../../src/corpora/sources.ts"

export interface Excerpt {
  readonly document: SourceDocument
  readonly text: string
  /** The place of the excerpt in the document's text, in UTF-8 bytes. */
  readonly start: number
  readonly end: number
}

/** Words and numbers of items with a full stop that ends no sentence. */
const abbreviation =
  /(?:^|[\s("“])(?:\d{1,2}|[IVX]+|Mr|Mrs|Ms|Dr|Messrs|Hon|Gen|Col|Capt|Lt|St|Jr|Sr|No|Nos|Art|Sec|vs|viz|[A-Z]|U\.S)\.$/

/** The offsets at which sentences begin, and the end of the text. */
export const sentenceStarts = (text: string): ReadonlyArray<number> => {
  const starts = [0]
  for (const match of text.matchAll(/[.?!]["'”’)\]]*\s+(?=["'“‘([]?[A-Z0-9])/g)) {
    const stop = text.slice(Math.max(0, match.index - 12), match.index + 1)
    if (!abbreviation.test(stop)) starts.push(match.index + match[0].length)
  }
  return [...starts, text.length]
}

/** The offsets after each match of a separator, with the start and the end of the text. */
const startsAfter = (text: string, separator: RegExp): ReadonlyArray<number> => [
  0,
  ...[...text.matchAll(separator)].map(match => match.index + match[0].length),
  text.length
]

/** Whether the last line before an offset is a heading, which has no colon. */
const endsInHeading = (text: string, offset: number): boolean => {
  let end = offset
  while (text[end - 1] === "\n") end -= 1
  return !text.slice(text.lastIndexOf("\n", end - 1) + 1, end).includes(":")
}

/** Where an excerpt of a document may begin, and where it may end. */
const boundaries = (
  text: string,
  source: SourceName
): { readonly begin: ReadonlyArray<number>; readonly end: ReadonlyArray<number> } => {
  switch (source) {
    case "sotu": {
      const sentences = sentenceStarts(text)
      return { begin: sentences, end: sentences }
    }
    case "moby-dick":
      return { begin: startsAfter(text, /\n\n+/g), end: sentenceStarts(text) }
    case "factbook":
      return {
        begin: startsAfter(text, /\n\n+/g),
        end: startsAfter(text, /\n+(?! )/g).filter(offset => !endsInHeading(text, offset))
      }
    case "kjv":
      return { begin: [0], end: [text.length] }
  }
}

const bytes = (text: string): number => Buffer.byteLength(text, "utf8")

/** An excerpt is refused when the boundaries leave less than this share of the wanted length. */
const leastShare = 0.6

/**
 * Takes excerpts of a document, of about `target` bytes and never more, each from a random place from which as much text
 * follows; of a chapter of the Bible, the whole. `undefined` where the boundaries at that place do not allow about that length.
 */
export const excerpter = (document: SourceDocument): ((target: number, random: Random) => Excerpt | undefined) => {
  const { begin, end } = boundaries(document.text, document.source)
  return (target, random) => {
    // A byte is at least one UTF-16 unit of ASCII, and these texts are nearly all ASCII.
    const possible = document.source === "kjv" ? begin : begin.filter(offset => document.text.length - offset >= target)
    if (possible.length === 0) return undefined
    const from = pick(random, possible)
    const fits = (to: number) => to > from && to - from <= target && bytes(document.text.slice(from, to)) <= target
    const to = end.findLast(fits)
    if (to === undefined) return undefined
    const text = document.text.slice(from, to).trimEnd()
    if (document.source !== "kjv" && bytes(text) < target * leastShare) return undefined
    const start = bytes(document.text.slice(0, from))
    return { document, text, start, end: start + bytes(text) }
  }
}

/** The pre-tokenizers of a `tokenizer.json`, as the reference implementation has them: they cut text into the pieces that the model reads. */
import { describe } from "../pipeline/Problem.ts"
import {
  behaviors,
  byType,
  character,
  choice,
  count,
  cut,
  flag,
  inSequence,
  isPart,
  type Part,
  patternOf,
  Unsupported,
  wordsOrSigns
} from "./textParts.ts"
import { gpt2Pattern } from "./tokenizerPatterns.ts"

/** Pieces of a text; `first`: whether the text is the beginning of all. */
type Cut = (text: string, first: boolean) => ReadonlyArray<string>

export interface PreTokenizer {
  readonly cut: Cut
  /** What becomes of each piece at last, whatever the others are. */
  readonly spelled: (piece: string) => string
}

const asItIs = (piece: string): string => piece

/** Every byte as one of 256 printable characters (GPT-2). */
export const byteCharacters: ReadonlyArray<string> = (() => {
  const printable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  let others = 0
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : 256 + others++))
})()

const encoder = new TextEncoder()
const inBytes = (piece: string): string => {
  let spelled = ""
  for (const byte of encoder.encode(piece)) spelled += byteCharacters[byte]!
  return spelled
}

const whiteSpace = /\p{White_Space}/gu
const punctuation = /[\p{P}\u0021-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007e]/gu
/** What a character is to be numeric: digits of all scripts, letters and signs that stand for numbers. */
const numeric = /\p{N}/gu
const gpt2 = new RegExp(
  gpt2Pattern
    .replaceAll(String.raw`\s`, String.raw`\p{White_Space}`)
    .replaceAll(String.raw`\S`, String.raw`\P{White_Space}`),
  "gu"
)

/** Cuts nothing. */
const whole: Cut = text => [text]

const cutting = (own: Cut, spelled = asItIs): PreTokenizer => ({ cut: own, spelled })

/** One after the other. Where one of both cuts nothing, the pieces are those of the other, and no piece is asked about. */
const then = (so: PreTokenizer, next: PreTokenizer): PreTokenizer => {
  const { cut: before, spelled } = so
  if (spelled !== asItIs)
    return cutting((text, first) => eachOf(before(text, first).map(spelled), first, next.cut), next.spelled)
  if (before === whole) return next
  if (next.cut === whole) return cutting(before, next.spelled)
  return cutting((text, first) => eachOf(before(text, first), first, next.cut), next.spelled)
}

/** All pieces of some, one after the other; the first piece of the first text is its beginning. */
const eachOf = (pieces: ReadonlyArray<string>, first: boolean, own: Cut): ReadonlyArray<string> =>
  pieces.flatMap((piece, i) => own(piece, first && i === 0))

const prependSchemes = ["always", "first", "never"] as const

/** What comes before a text: by the newer field, which the older one may not contradict. */
export const prependScheme = (part: Part, at: string): (typeof prependSchemes)[number] => {
  const scheme = choice(part, "prepend_scheme", at, prependSchemes)
  if (part["add_prefix_space"] !== false) return scheme
  if (scheme !== "never")
    throw new Unsupported(
      `${at}.add_prefix_space is false, and ${at}.prepend_scheme is ${describe(scheme)}: which of both?`
    )
  return "never"
}

const kinds: { readonly [type: string]: (part: Part, at: string) => PreTokenizer } = {
  Sequence: (part, at) => {
    const all = inSequence(part, "pretokenizers", at, kinds)
    return all.reduce(then, cutting(whole))
  },
  ByteLevel: (part, at) => {
    const [prefix, split] = [flag(part, "add_prefix_space", at, true), flag(part, "use_regex", at, true)]
    const begun = (text: string): string => (prefix && !text.startsWith(" ") ? ` ${text}` : text)
    if (split) return cutting(text => cut(begun(text), gpt2, "Isolated"), inBytes)
    return cutting(prefix ? text => [begun(text)] : whole, inBytes)
  },
  Split: (part, at) => {
    const pattern = patternOf(part, at)
    const behavior = choice(part, "behavior", at, behaviors)
    const invert = flag(part, "invert", at, false)
    return cutting(text => cut(text, pattern, behavior, invert))
  },
  Whitespace: () => cutting(text => text.match(wordsOrSigns) ?? []),
  WhitespaceSplit: () => cutting(text => cut(text, whiteSpace, "Removed")),
  BertPreTokenizer: () =>
    cutting(text => cut(text, whiteSpace, "Removed").flatMap(piece => cut(piece, punctuation, "Isolated"))),
  Punctuation: (part, at) => {
    const behavior = choice(part, "behavior", at, behaviors)
    return cutting(text => cut(text, punctuation, behavior))
  },
  Digits: (part, at) => {
    const behavior = flag(part, "individual_digits", at, false) ? "Isolated" : "Contiguous"
    return cutting(text => cut(text, numeric, behavior))
  },
  CharDelimiterSplit: (part, at) => {
    const delimiter = character(part, "delimiter", at, "")
    return cutting(text => text.split(delimiter).filter(piece => piece !== ""))
  },
  FixedLength: (part, at) => {
    const length = count(part, "length", at)
    if (length === 0) throw new Unsupported(`${at}.length must be at least 1`)
    return cutting(text => {
      const signs = [...text]
      return Array.from({ length: Math.ceil(signs.length / length) }, (_, i) =>
        signs.slice(i * length, (i + 1) * length).join("")
      )
    })
  },
  Metaspace: (part, at) => {
    const mark = character(part, "replacement", at, "\u2581")
    const scheme = prependScheme(part, at)
    const split = flag(part, "split", at, true)
    const marks = new RegExp(RegExp.escape(mark), "gu")
    return cutting((text, first) => {
      const marked = text.replaceAll(" ", mark)
      const prepends = scheme === "always" || (scheme === "first" && first)
      const begun = prepends && !marked.startsWith(mark) ? mark + marked : marked
      return split ? cut(begun, marks, "MergedWithNext") : [begun]
    })
  }
}

/** Where the file has none, a text is one piece. Throws `Unsupported`. */
export const preTokenizerOf = (part: unknown): PreTokenizer =>
  isPart(part) ? byType(part, "pre_tokenizer", kinds) : cutting(whole)

/** The normalizers of a `tokenizer.json`, as the reference implementation has them. */
import {
  byType,
  flag,
  inSequence,
  isPart,
  leadingSpace,
  type Part,
  replaced,
  textOf,
  spaceBefore
} from "./textParts.ts"

export type Normalize = (text: string) => string

const form = (name: "NFC" | "NFD" | "NFKC" | "NFKD") => (): Normalize => text => text.normalize(name)

const kinds: { readonly [type: string]: (part: Part, at: string) => Normalize } = {
  Sequence: (part, at) => {
    const all = inSequence(part, "normalizers", at, kinds)
    return text => all.reduce((so, normalize) => normalize(so), text)
  },
  NFC: form("NFC"),
  NFD: form("NFD"),
  NFKC: form("NFKC"),
  NFKD: form("NFKD"),
  /** Each character by itself: a sigma at the end of a word is one like any other. */
  Lowercase: () => text => Array.from(text, sign => sign.toLowerCase()).join(""),
  StripAccents: () => text => text.replace(/\p{M}/gu, ""),
  Strip: (part, at) => {
    const [left, right] = [flag(part, "strip_left", at, true), flag(part, "strip_right", at, true)]
    return text => {
      const begun = left ? text.replace(leadingSpace, "") : text
      return right ? begun.slice(0, spaceBefore(begun, begun.length)) : begun
    }
  },
  Replace: replaced,
  Prepend: (part, at) => {
    const prefix = textOf(part, "prepend", at)
    return text => (text === "" ? text : prefix + text)
  }
}

/** Undefined where the file has none. Throws `Unsupported`. */
export const normalizerOf = (part: unknown): Normalize | undefined =>
  isPart(part) ? byType(part, "normalizer", kinds) : undefined

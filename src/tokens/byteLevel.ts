/** Byte-level BPE as GPT-2 and Qwen use it: split by a pattern, then bytes, then merges; with a memory of words seen. */
import type { AddedToken } from "./tokenizerFile.ts"
import { gpt2Pattern } from "./tokenizerPatterns.ts"

type Json = Readonly<Record<string, unknown>>

/** What we use of the library's tokenizer; its own declarations do not resolve under Node's module rules. */
export interface LibraryTokenizer {
  readonly encode: (
    text: string,
    options: { readonly add_special_tokens: boolean }
  ) => { readonly ids: ReadonlyArray<number | undefined> }
  readonly decode: (ids: ReadonlyArray<number>, options: { readonly skip_special_tokens: boolean }) => string
  readonly normalizer: { readonly normalize: (text: string) => string } | null
  readonly pre_tokenizer: LibraryPreTokenizer | null
  readonly model: {
    readonly encode: (pieces: ReadonlyArray<string>) => ReadonlyArray<string>
    readonly tokens_to_ids: ReadonlyMap<string, number>
    readonly vocab: ReadonlyArray<string | undefined>
    readonly fuse_unk: boolean
  }
}

interface LibraryPreTokenizer {
  readonly pre_tokenize_text: (text: string) => ReadonlyArray<string>
  /** Of a `Sequence`. */
  readonly tokenizers?: ReadonlyArray<LibraryPreTokenizer>
  /** Of a `Split`. */
  readonly pattern?: unknown
}

const gpt2Split = { type: "Split", pattern: { Regex: gpt2Pattern }, behavior: "Isolated", invert: false } as const

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * Spells a `ByteLevel` pre-tokenizer with its built-in pattern as a `Split` by that pattern and the bytes. The two mean the
 * same, but the library's built-in pattern has JavaScript's `\s`, which takes U+FEFF for a space and U+0085 for none, while the
 * reference implementation goes by Unicode's White_Space; patterns of a `Split` are translated correctly.
 */
export const spellOutByteLevel = (preTokenizer: unknown): unknown => {
  if (!isObject(preTokenizer)) return preTokenizer
  if (preTokenizer["type"] === "Sequence" && Array.isArray(preTokenizer["pretokenizers"])) {
    return { ...preTokenizer, pretokenizers: preTokenizer["pretokenizers"].map(spellOutByteLevel) }
  }
  const builtIn = preTokenizer["type"] === "ByteLevel" && preTokenizer["use_regex"] !== false
  if (!builtIn || preTokenizer["add_prefix_space"] === true) return preTokenizer
  return { type: "Sequence", pretokenizers: [gpt2Split, { ...preTokenizer, use_regex: false }] }
}

/** Whether a spelled-out pre-tokenizer is one isolating `Split` and then the bytes. */
const isSplitThenBytes = (preTokenizer: unknown): boolean => {
  if (!isObject(preTokenizer) || !Array.isArray(preTokenizer["pretokenizers"])) return false
  const [split, bytes, ...more]: ReadonlyArray<unknown> = preTokenizer["pretokenizers"]
  return (
    more.length === 0 &&
    isObject(split) &&
    split["type"] === "Split" &&
    split["behavior"] === "Isolated" &&
    split["invert"] !== true &&
    isObject(bytes) &&
    bytes["type"] === "ByteLevel" &&
    bytes["use_regex"] === false &&
    bytes["add_prefix_space"] !== true
  )
}

/** Words longer than this are not remembered: they rarely come again. */
const longestRemembered = 64
/** When so many words are remembered, the memory starts afresh. */
const mostRemembered = 1 << 16

/** The pieces of `text`, which the pattern cuts; what lies between two matches is a piece as well. */
const piecesOf = (text: string, pattern: RegExp): ReadonlyArray<string> => {
  const matches = text.match(pattern) ?? []
  let covered = 0
  for (const match of matches) covered += match.length
  if (covered === text.length) return matches
  const pieces: Array<string> = []
  let end = 0
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) pieces.push(text.slice(end, match.index))
    if (match[0].length > 0) pieces.push(match[0])
    end = match.index + match[0].length
  }
  if (end < text.length) pieces.push(text.slice(end))
  return pieces
}

/** An encoder for one tokenizer; it gives the ids of a text, added tokens matched in it. */
export type Encode = (text: string) => Int32Array

/**
 * The encoder of a byte-level BPE tokenizer, several times faster than the library's own path, which it equals: pieces that
 * were seen before are looked up, the others go through the library's model. `undefined` where the tokenizer has any feature
 * that this does not cover. `preTokenizer` is the definition that `library` was built from, spelled out.
 */
export const byteLevelEncoder = (
  library: LibraryTokenizer,
  preTokenizer: unknown,
  addedTokens: ReadonlyArray<AddedToken>
): Encode | undefined => {
  const { model, normalizer } = library
  const [split, bytes] = library.pre_tokenizer?.tokenizers ?? []
  const pattern = split?.pattern
  const plain = addedTokens.every(
    token => !token.lstrip && !token.rstrip && !token.singleWord && (!token.normalized || normalizer === null)
  )
  if (!isSplitThenBytes(preTokenizer) || !plain || model.fuse_unk) return undefined
  if (!(pattern instanceof RegExp) || bytes === undefined) return undefined

  const idsOfPiece = (piece: string): ReadonlyArray<number> =>
    model.encode(bytes.pre_tokenize_text(piece)).map(token => {
      const id = model.tokens_to_ids.get(token)
      if (id === undefined) throw new Error(`the tokenizer's model produced the unknown token ${JSON.stringify(token)}`)
      return id
    })

  const remembered = new Map<string, ReadonlyArray<number>>()
  const lookUp = (piece: string): ReadonlyArray<number> => {
    const known = remembered.get(piece)
    if (known !== undefined) return known
    const ids = idsOfPiece(piece)
    if (piece.length <= longestRemembered) {
      if (remembered.size >= mostRemembered) remembered.clear()
      // A copy: the piece is a view into its document and would keep all of it in memory.
      remembered.set(Buffer.from(piece, "utf16le").toString("utf16le"), ids)
    }
    return ids
  }

  const idOfAdded = new Map(addedTokens.map(token => [token.content, token.id]))
  const longestFirst = [...idOfAdded.keys()].sort((a, b) => b.length - a.length)
  const added =
    longestFirst.length === 0 ? undefined : new RegExp(`(${longestFirst.map(RegExp.escape).join("|")})`, "u")

  let buffer = new Int32Array(1024)
  return text => {
    let length = 0
    const reserve = (more: number) => {
      if (length + more <= buffer.length) return
      const larger = new Int32Array(Math.max(buffer.length * 2, length + more))
      larger.set(buffer.subarray(0, length))
      buffer = larger
    }
    const sections = added === undefined ? [text] : text.split(added)
    for (const [i, section] of sections.entries()) {
      if (i % 2 === 1) {
        reserve(1)
        buffer[length++] = idOfAdded.get(section) ?? -1
        continue
      }
      if (section === "") continue
      for (const piece of piecesOf(normalizer === null ? section : normalizer.normalize(section), pattern)) {
        const ids = lookUp(piece)
        reserve(ids.length)
        for (let j = 0; j < ids.length; j += 1) buffer[length++] = ids[j] ?? -1
      }
    }
    return buffer.slice(0, length)
  }
}

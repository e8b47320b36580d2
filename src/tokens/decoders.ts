/** The decoders of a `tokenizer.json`, as the reference implementation has them: they make text of tokens. */
import { append } from "../pipeline/lists.ts"
import { byteCharacters, prependScheme } from "./preTokenizers.ts"
import { byType, character, count, flag, inSequence, isPart, type Part, replaced, textOf } from "./textParts.ts"

/** Tokens to texts, of which there may be fewer. */
type Chain = (tokens: ReadonlyArray<string>) => ReadonlyArray<string>

const bytesOf: ReadonlyMap<string, number> = new Map(byteCharacters.map((sign, byte) => [sign, byte]))
const [encoder, lossy] = [new TextEncoder(), new TextDecoder("utf-8", { ignoreBOM: true })]
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** The bytes that a token's characters stand for; a token with any other is its own UTF-8. */
const spelledBytes = (token: string): ArrayLike<number> => {
  const bytes = Array.from(token, sign => bytesOf.get(sign))
  return bytes.includes(undefined) ? encoder.encode(token) : (bytes as ReadonlyArray<number>)
}

/** Bytes are text together, or each by itself none. */
const textOfBytes = (bytes: ReadonlyArray<number>): ReadonlyArray<string> => {
  try {
    return bytes.length === 0 ? [] : [strict.decode(Uint8Array.from(bytes))]
  } catch {
    return bytes.map(() => "\ufffd")
  }
}

const byteToken = /^<0x([0-9a-fA-F]{2})>$/

/** What stands apart in English, joined again. */
const cleanUp = (text: string): string =>
  [
    [" .", "."],
    [" ?", "?"],
    [" !", "!"],
    [" ,", ","],
    [" ' ", "'"],
    [" n't", "n't"],
    [" 'm", "'m"],
    [" do not", " don't"],
    [" 's", "'s"],
    [" 've", "'ve"],
    [" 're", "'re"]
  ].reduce((so, [apart, together]) => so.replaceAll(apart!, together!), text)

const kinds: { readonly [type: string]: (part: Part, at: string) => Chain } = {
  Sequence: (part, at) => {
    const all = inSequence(part, "decoders", at, kinds)
    return tokens => all.reduce((so, decode) => decode(so), tokens)
  },
  ByteLevel: () => tokens => {
    const parts = tokens.map(spelledBytes)
    const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
    }
    return [lossy.decode(bytes)]
  },
  ByteFallback: () => tokens => {
    const texts: Array<string> = []
    let bytes: Array<number> = []
    for (const token of tokens) {
      const byte = byteToken.exec(token)?.[1]
      if (byte !== undefined) {
        bytes.push(Number.parseInt(byte, 16))
        continue
      }
      append(texts, textOfBytes(bytes))
      texts.push(token)
      bytes = []
    }
    return [...texts, ...textOfBytes(bytes)]
  },
  Fuse: () => tokens => [tokens.join("")],
  Replace: (part, at) => {
    const replace = replaced(part, at)
    return tokens => tokens.map(replace)
  },
  Strip: (part, at) => {
    const content = character(part, "content", at, " ")
    const [start, stop] = [count(part, "start", at), count(part, "stop", at)]
    return tokens =>
      tokens.map(token => {
        const signs = [...token]
        let [from, to] = [0, signs.length]
        while (from < Math.min(start, signs.length) && signs[from] === content) from++
        while (signs.length - to < stop && to > 0 && signs[to - 1] === content) to--
        return signs.slice(from, Math.max(from, to)).join("")
      })
  },
  Metaspace: (part, at) => {
    const mark = character(part, "replacement", at, "\u2581")
    const prepended = prependScheme(part, at) !== "never"
    return tokens => tokens.map((token, i) => token.replaceAll(mark, i === 0 && prepended ? "" : " "))
  },
  WordPiece: (part, at) => {
    const prefix = textOf(part, "prefix", at, "##")
    const cleanup = flag(part, "cleanup", at, true)
    return tokens =>
      tokens.map((token, i) => {
        const apart = i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`
        return cleanup ? cleanUp(apart) : apart
      })
  },
  BPEDecoder: (part, at) => {
    const suffix = textOf(part, "suffix", at, "</w>")
    return tokens => tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? "" : " "))
  }
}

/** Without a decoder, tokens stand apart by spaces. Throws `Unsupported`. */
export const decoderOf = (part: unknown): ((tokens: ReadonlyArray<string>) => string) => {
  if (!isPart(part)) return tokens => tokens.join(" ")
  const decode = byType(part, "decoder", kinds)
  return tokens => (tokens.length === 0 ? "" : decode(tokens).join(""))
}

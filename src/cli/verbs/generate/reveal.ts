/** What a step of a diffusion changed of a text: which tokens are masked, which it revealed, which were there before. */
import type { Tokenizer } from "../../../tokens/tokenizer.ts"
import { type Level, levelOf } from "./sureness.ts"

/** `masked`: no token yet. `fresh`: revealed, or drawn anew, in the step itself. `kept`: as before it. */
export type TokenState = "masked" | "fresh" | "kept"

export interface Part {
  readonly state: TokenState
  /** How sure the model was of it, where that is known. */
  readonly level?: Level | undefined
  readonly text: string
}

/** Adds a part to a list: to its last one, where that looks alike. */
export const addPart = (parts: Array<Part>, { level, state, text }: Part): void => {
  const last = parts.at(-1)
  if (last?.state === state && last.level === level) parts[parts.length - 1] = { ...last, text: last.text + text }
  else if (text !== "") parts.push({ state, level, text })
}

/** What a token of a character's first bytes decodes to, until the others are there. */
const unfinished = /\uFFFD+$/

/** The text of each token, by those before it; a character of several tokens belongs to the last. The texts together are that of all tokens. */
export const textsOfTokens = (
  { decode }: Pick<Tokenizer, "decode">,
  tokens: ReadonlyArray<number>
): ReadonlyArray<string> => {
  let known = ""
  return tokens.map((_, i) => {
    const whole = decode(tokens.slice(0, i + 1))
    const certain = i === tokens.length - 1 ? whole : whole.replace(unfinished, "")
    if (!certain.startsWith(known)) return ""
    const text = certain.slice(known.length)
    known = certain
    return text
  })
}

/** The state of each token after a step. `before`: the tokens before it; undefined for the first step, before which all are masks. */
export const statesOf = (
  mask: number,
  before: ArrayLike<number> | undefined,
  now: ReadonlyArray<number>
): ReadonlyArray<TokenState> =>
  now.map((token, i) => (token === mask ? "masked" : token === before?.[i] ? "kept" : "fresh"))

/** The text after a step, in parts of tokens with the same state, and of the same level where `confidence` says how sure the model was of each; `sign` stands for a mask. */
export const partsOf = (
  tokenizer: Pick<Tokenizer, "decode" | "maskId">,
  before: ArrayLike<number> | undefined,
  now: ReadonlyArray<number>,
  sign: string,
  confidence?: ArrayLike<number>
): ReadonlyArray<Part> => {
  const states = statesOf(tokenizer.maskId, before, now)
  const parts: Array<Part> = []
  let run: Array<number> = []
  let first = 0
  /** Texts of the tokens between two masks, which decode together. */
  const flush = () => {
    for (const [i, text] of textsOfTokens(tokenizer, run).entries()) {
      const at = first + i
      addPart(parts, { state: states[at]!, level: levelOf(confidence?.[at]), text })
    }
    run = []
  }
  for (const [i, token] of now.entries()) {
    if (states[i] === "masked") {
      flush()
      addPart(parts, { state: "masked", text: sign })
      first = i + 1
    } else run.push(token)
  }
  flush()
  return parts
}

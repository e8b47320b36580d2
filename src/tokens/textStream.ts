/** Text from tokens as they come: whole characters, and nothing of what may become a stop string. */
import { least } from "../pipeline/lists.ts"
import type { Tokenizer } from "./tokenizer.ts"

/** What a token that is cut off from the rest of a character decodes to. */
const replacement = "\uFFFD"

/** How much of a text's end may be the beginning of one of these: so many characters must wait. */
export const heldBack = (text: string, stops: ReadonlyArray<string>): number => {
  let most = 0
  for (const stop of stops)
    for (let n = Math.min(stop.length - 1, text.length); n > most; n--)
      if (stop.startsWith(text.slice(text.length - n))) most = n
  return most
}

/** The place of the stop string that begins first; of several there the shortest. */
export const firstStop = (text: string, stops: ReadonlyArray<string>): number | undefined => {
  const places = stops.map(stop => text.indexOf(stop)).filter(place => place >= 0)
  return places.length === 0 ? undefined : least(places)
}

export interface TextStreamOptions {
  /** Leaves special tokens out of the text. Default true. */
  readonly skipSpecialTokens?: boolean
}

type Decodes = Pick<Tokenizer, "decode">

export class TextStream {
  readonly #tokenizer: Decodes
  readonly #stops: ReadonlyArray<string>
  readonly #skipSpecialTokens: boolean
  readonly #tokens: Array<number> = []
  /** Tokens whose text is known, and of these the last ones, in sight of which the next are decoded: what a token looks like may depend on the one before it. */
  #known = 0
  #context = 0
  /** Text that is known and was not given out. */
  #pending = ""
  #stopped = false

  constructor(tokenizer: Decodes, stops: ReadonlyArray<string>, { skipSpecialTokens = true }: TextStreamOptions = {}) {
    this.#tokenizer = tokenizer
    this.#stops = stops
    this.#skipSpecialTokens = skipSpecialTokens
  }

  /** Whether a stop string has come: nothing follows. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** Tokens so far, those of the stop string included. */
  get count(): number {
    return this.#tokens.length
  }

  /** The text that these tokens make certain. */
  push(tokens: Iterable<number>): string {
    let given = ""
    // One by one: behind a stop string nothing counts.
    for (const token of tokens) {
      if (this.#stopped) break
      this.#tokens.push(token)
      given += this.#take(false)
    }
    return given
  }

  /** The rest, when no token follows. */
  end(): string {
    return this.#stopped ? "" : this.#take(true)
  }

  #take(last: boolean): string {
    const before = this.#decode(this.#context, this.#known)
    const now = this.#decode(this.#context, this.#tokens.length)
    if (last || !now.endsWith(replacement)) {
      this.#pending += now.slice(before.length)
      this.#context = this.#known
      this.#known = this.#tokens.length
    }
    const stop = firstStop(this.#pending, this.#stops)
    if (stop !== undefined) {
      this.#stopped = true
      return this.#pending.slice(0, stop)
    }
    const held = last ? 0 : heldBack(this.#pending, this.#stops)
    const given = this.#pending.slice(0, this.#pending.length - held)
    this.#pending = this.#pending.slice(given.length)
    return given
  }

  #decode(from: number, to: number): string {
    return this.#tokenizer.decode(this.#tokens.slice(from, to), { skipSpecialTokens: this.#skipSpecialTokens })
  }
}

/** Why a text ends. */
export type Stopped = "end of text" | "stop string" | "length"

/** Why no text can hold a stop string; undefined where one can. */
export const stopFault = (stop: string): string | undefined => {
  if (stop === "") return "is empty: every text holds it from its beginning on"
  return stop.isWellFormed() && !stop.includes(replacement)
    ? undefined
    : "holds U+FFFD or half a surrogate pair, which stand for no character"
}

/** The text of tokens up to the first stop string, and the tokens that it takes to find it. */
export const untilStop = (
  tokenizer: Decodes,
  tokens: Iterable<number>,
  stops: ReadonlyArray<string>,
  options?: TextStreamOptions
): { readonly text: string; readonly tokens: number; readonly stopped: boolean } => {
  const stream = new TextStream(tokenizer, stops, options)
  const text = stream.push(tokens)
  return { text: text + stream.end(), tokens: stream.count, stopped: stream.stopped }
}

/**
 * Watches texts for stop strings while they are decoded. What it returns is asked about text `number` with its first tokens, each time with as many or more; it says how many of them are all that is
 * needed, from the token on that completes a stop string.
 */
export const stopWatch = (tokenizer: Decodes, stops: ReadonlyArray<string>, options?: TextStreamOptions) => {
  const streams = new Map<number, TextStream>()
  return (number: number, settled: Int32Array): number | undefined => {
    if (stops.length === 0) return undefined
    const stream = streams.get(number) ?? new TextStream(tokenizer, stops, options)
    streams.set(number, stream)
    if (!stream.stopped) stream.push(settled.subarray(stream.count))
    return stream.stopped ? stream.count : undefined
  }
}

/** Decoding token by token, many texts side by side; and the same with the help of a model that drafts several tokens at once. */
import { Effect } from "effect"
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import type { Ending } from "./ending.ts"
import { type Sampling, sampleToken } from "./sampling.ts"
import { misfit, type TextPass, type TextReader } from "./textPass.ts"

export interface CausalPrompt {
  /** At least one token. */
  readonly ids: ArrayLike<number>
  /** Tokens behind it, at most. */
  readonly newTokens: number
  /** Of the numbers that tokens are drawn by. */
  readonly key: RandomKey
}

export interface CausalOptions<E, R> {
  /** Texts that are written side by side, at most: as many as the reader has rows. */
  readonly rows: number
  readonly sampling: Sampling
  /** End a text; not part of what is returned. */
  readonly ends: ReadonlySet<number>
  /** Never drawn. */
  readonly suppressed: ReadonlyArray<number>
  /** Ends a text before the model does; its row then goes to the next prompt. */
  readonly ending?: Ending | undefined
  /** Told of a text's new tokens as they come. */
  readonly onTokens?: (number: number, tokens: ReadonlyArray<number>) => Effect.Effect<void, E, R>
}

export interface CausalText {
  readonly tokens: Int32Array
  /** Whether the model ended it. */
  readonly ended: boolean
  /** Forward passes that it took, of whichever model. */
  readonly forwards: number
}

export interface CausalTexts {
  /** In the order of the prompts. */
  readonly texts: ReadonlyArray<CausalText>
  /** Forward passes, each of as many texts as were open. */
  readonly passes: number
}

/** What drafts, and how. */
export interface Drafting<E> {
  /** Predicts masks behind a text: a diffusion model. */
  readonly drafter: TextReader<E>
  /** Tokens that are drafted at once, at most. */
  readonly draftTokens: number
  readonly mask: number
  /** Whether the drafter predicts a token from the state before it. */
  readonly tokenShift: boolean
  /** Whether the model that verifies sums up all earlier tokens, so that it cannot go back behind a draft that it did not accept: it reads what was accepted again. */
  readonly recurrent: boolean
}

/** A text that is being written. */
class Causal {
  readonly number: number
  readonly ids: Int32Array
  /** Tokens that are there. */
  known: number
  readonly start: number
  ended = false
  /** Whether no more of it is needed. */
  #enough = false
  forwards = 0
  /** Of each model's caches the places that are there for good. */
  cached = 0
  drafted = 0
  readonly #key: RandomKey

  constructor(number: number, { ids, key, newTokens }: CausalPrompt) {
    this.number = number
    this.start = ids.length
    this.known = ids.length
    this.ids = new Int32Array(ids.length + newTokens)
    this.ids.set(Array.from(ids))
    this.#key = key
  }

  get done(): boolean {
    return this.ended || this.#enough || this.known === this.ids.length
  }

  /** The token behind those that are there, by its logits [V], which it changes. */
  draw(logits: Float32Array, { sampling, suppressed }: Pick<CausalOptions<never, never>, "sampling" | "suppressed">) {
    for (const token of suppressed) logits[token] = -Infinity
    return sampleToken(logits, sampling, uniformAt(this.#key, this.known - this.start)).token
  }

  /** Puts a token behind those that are there, if it is not the end. */
  put(token: number, ends: ReadonlySet<number>): void {
    if (ends.has(token)) this.ended = true
    else this.ids[this.known++] = token
  }

  /** Leaves out what is behind the text's end, where it has come. */
  endBy(ending: Ending): void {
    const whole = ending(this.number, this.ids.subarray(this.start, this.known))
    if (whole === undefined) return
    this.#enough = true
    // What a draft went on with behind it, an end of text included, is not part of it.
    this.ended = false
    this.known = this.start + whole
  }

  text(): CausalText {
    return { tokens: this.ids.slice(this.start, this.known), ended: this.ended, forwards: this.forwards }
  }
}

const argmax = (values: Float32Array): number => {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

/**
 * Goes on behind prompts, each token drawn from what a causal model says of it. The row of a text that is done goes to the next prompt. With a drafter, some tokens at once are proposed and read, and
 * those are kept that are drawn: the texts are the same, token by token, at any temperature, in fewer passes (speculative decoding; Leviathan et al. 2023, arXiv:2211.17192, with one draft).
 */
export const decodeCausally = <E, E2 = never, R = never>(
  reader: TextReader<E>,
  prompts: ReadonlyArray<CausalPrompt>,
  options: CausalOptions<E2, R>,
  drafting?: Drafting<E>
): Effect.Effect<CausalTexts, E | E2, R> =>
  Effect.gen(function* () {
    const { ending, ends, onTokens, rows } = options
    const { vocabSize } = reader
    const fault = misfit(reader, prompts)
    if (fault !== undefined) return yield* Effect.die(fault)
    const texts: Array<CausalText> = []
    let passes = 0
    const waiting = prompts.entries()
    const begin = (): Causal | undefined => {
      const { done, value } = waiting.next()
      return done === true ? undefined : new Causal(...value)
    }
    const slots = Array.from({ length: Math.min(rows, prompts.length) }, begin)
    /** Tokens that are drafted behind a text: the one after them is drawn as well. */
    const ahead = ({ ids, known }: Causal): number => Math.min(drafting?.draftTokens ?? 0, ids.length - known - 1)
    const passOf = (row: number, text: Causal, pass: Pick<TextPass, "from" | "to" | "keeps" | "places">): TextPass => ({
      ...pass,
      row,
      text: { number: text.number, pass: text.forwards++ },
      ids: text.ids,
      until: pass.to
    })
    const range = (from: number, to: number): ReadonlyArray<number> =>
      Array.from({ length: to - from }, (_, i) => from + i)

    /** Writes drafts behind the texts that are there. */
    const draft = ({ drafter, mask, tokenShift }: Drafting<E>, open: ReadonlyArray<readonly [number, Causal]>) =>
      Effect.gen(function* () {
        const drafted = open.filter(([, text]) => ahead(text) > 0)
        if (drafted.length === 0) return
        const shift = tokenShift ? 1 : 0
        const logits = yield* drafter.read(
          drafted.map(([row, text]) => {
            const { known } = text
            const to = known + ahead(text)
            text.ids.fill(mask, known, to)
            const keeps = { from: text.drafted, to: known, states: known - shift }
            const from = Math.max(0, text.drafted - shift)
            text.drafted = known
            return passOf(row, text, { from, to, keeps, places: range(known, to) })
          })
        )
        passes++
        let at = 0
        for (const [, text] of drafted)
          for (let place = text.known; place < text.known + ahead(text); place++) {
            // Embeddings of the same tokenizer may have other rows behind its tokens: what one model does not have is not drafted.
            const row = logits.subarray(at, at + Math.min(vocabSize, drafter.vocabSize))
            at += drafter.vocabSize
            row[mask] = -Infinity
            text.ids[place] = argmax(row)
          }
      })

    for (;;) {
      for (const slot of slots.keys())
        for (let text = slots[slot]; text !== undefined && text.done; text = slots[slot]) {
          texts[text.number] = text.text()
          slots[slot] = begin()
        }
      const open = [...slots.entries()].flatMap(([row, text]) => (text === undefined ? [] : [[row, text] as const]))
      if (open.length === 0) break
      if (drafting !== undefined) yield* draft(drafting, open)
      const asked = open.map(([row, text]) => {
        const { cached: from, known } = text
        const to = known + ahead(text)
        const states = drafting?.recurrent === true ? known : to
        return passOf(row, text, { from, to, keeps: { from, to, states }, places: range(known, to + 1) })
      })
      const logits = yield* reader.read(asked)
      passes++
      let at = 0
      for (const [, text] of open) {
        const before = text.known
        const drafts = text.ids.slice(before, before + ahead(text))
        const rowOf = (i: number): Float32Array => logits.subarray(at + i * vocabSize, at + (i + 1) * vocabSize)
        for (let i = 0; i <= drafts.length; i++) {
          const token = text.draw(rowOf(i), options)
          text.put(token, ends)
          if (text.ended || token !== drafts[i]) break
        }
        at += (drafts.length + 1) * vocabSize
        text.cached = drafting?.recurrent === true ? before : text.known - 1
        if (ending !== undefined) text.endBy(ending)
        if (onTokens !== undefined) yield* onTokens(text.number, Array.from(text.ids.subarray(before, text.known)))
      }
    }
    return { texts, passes }
  })

/** Decoding token by token, many texts side by side; and the same with the help of a model that drafts several tokens at once. */
import { Effect } from "effect"
import { type RandomKey, subkey, uniformAt } from "../tensor/random.ts"
import { type Ending, endingOf, type TextEnding } from "./ending.ts"
import { type Advance, clocked, OpenBatch, type Placed, writeAll, type WrittenText } from "./openBatch.ts"
import { confidenceOf, type Sampling, sampleToken } from "./sampling.ts"
import { misfit, type TextPass, type TextReader } from "./textPass.ts"

export interface CausalPrompt {
  /** At least one token. */
  readonly ids: ArrayLike<number>
  /** Tokens behind it, at most. */
  readonly newTokens: number
  /** Of the text (draws.ts). */
  readonly key: RandomKey
  /** Ends the text before the model does. */
  readonly ending?: TextEnding | undefined
}

/** How a text goes on, and where it ends. */
export interface CausalSettings {
  readonly sampling: Sampling
  /** End a text; not part of what is returned. */
  readonly ends: ReadonlySet<number>
  /** Never drawn. */
  readonly suppressed: ReadonlyArray<number>
  /** Tokens of a prompt that are read in a pass, at most. By default all. */
  readonly chunk?: number
  /** Told what the model says of a token, logits [V], and the token: of each that is drawn, and where the prompt is scored of each of it but the first. */
  readonly observe?: ((place: number, logits: Float32Array, token: number) => void) | undefined
  /** Whether the prompt's tokens are observed, too. */
  readonly scorePrompt?: boolean
  /** Whether confidences are asked for. By default not. */
  readonly watched?: boolean
}

export interface CausalOptions<E, R> extends Pick<CausalSettings, "ends" | "sampling" | "suppressed"> {
  /** Texts that are written side by side, at most: as many as the reader has rows. */
  readonly rows: number
  /** Ends a text before the model does; its row then goes to the next prompt. */
  readonly ending?: Ending | undefined
  /** Told of a text's new tokens as they come. */
  readonly onTokens?: (number: number, tokens: ReadonlyArray<number>) => Effect.Effect<void, E, R>
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

const range = (from: number, to: number): ReadonlyArray<number> => Array.from({ length: to - from }, (_, i) => from + i)

type Pass = Omit<TextPass, "row">

/** A text that is written token by token. */
export class CausalText implements WrittenText {
  /** Whether the model ended it. */
  ended = false
  /** Forward passes that it took, of whichever model. */
  forwards = 0
  readonly passesBeside = 0
  readonly #ids: Int32Array
  readonly #start: number
  readonly #key: RandomKey
  readonly #ofTokens: RandomKey
  readonly #ending: TextEnding | undefined
  readonly #settings: CausalSettings
  readonly #confidence: Float32Array
  /** Whether no more of it is needed. */
  #enough = false
  /** Tokens that are there. */
  #known: number
  /** Of each model's caches the places that are there for good. */
  #cached = 0
  #drafted = 0
  /** Of the last pass: where it ended without its drafts, and what was asked. */
  #asked: { readonly end: number; readonly to: number; readonly places: ReadonlyArray<number> } | undefined

  constructor({ ending, ids, key, newTokens }: CausalPrompt, settings: CausalSettings) {
    this.#start = this.#known = ids.length
    this.#ids = new Int32Array(ids.length + newTokens)
    this.#ids.set(Array.from(ids))
    this.#key = key
    this.#ofTokens = subkey(key, "tokens")
    this.#ending = ending
    this.#settings = settings
    this.#confidence = new Float32Array(newTokens).fill(NaN)
  }

  get done(): boolean {
    const isRead = this.#settings.scorePrompt !== true || this.#cached >= this.#start
    return this.ended || this.#enough || (this.#known === this.#ids.length && isRead)
  }

  /** The new tokens. */
  get tokens(): Int32Array {
    return this.#ids.slice(this.#start, this.#known)
  }

  get shown(): Int32Array {
    const [end = 0] = this.#settings.ends
    return this.#ids.slice().fill(end, this.#known)
  }

  get confidence(): Float32Array {
    return this.#confidence.slice().fill(NaN, this.#known - this.#start)
  }

  /** The end of text is one more token that was found. */
  get decoded(): number {
    return this.#known - this.#start + Number(this.ended)
  }

  /** Where the next pass ends without drafts: all that is there is read, or a part of the prompt. */
  get #end(): number {
    return Math.min(this.#known, this.#cached + (this.#settings.chunk ?? Infinity))
  }

  /** How many tokens are drafted behind those that are there: the one after them is drawn as well. */
  ahead(draftTokens: number): number {
    return this.#end < this.#known ? 0 : Math.max(0, Math.min(draftTokens, this.#ids.length - this.#known - 1))
  }

  #pass(pass: Pick<TextPass, "from" | "to" | "keeps" | "places">): Pass {
    return { ...pass, text: { key: this.#key, pass: this.forwards++ }, ids: this.#ids, until: pass.to }
  }

  /** What a drafter reads: what is there, and masks behind it, whose tokens are asked for. */
  draftPass(ahead: number, { mask, tokenShift }: Pick<Drafting<never>, "mask" | "tokenShift">): Pass {
    const [known, to, shift] = [this.#known, this.#known + ahead, tokenShift ? 1 : 0]
    this.#ids.fill(mask, known, to)
    const keeps = { from: this.#drafted, to: known, states: known - shift }
    const from = Math.max(0, this.#drafted - shift)
    this.#drafted = known
    return this.#pass({ from, to, keeps, places: range(known, to) })
  }

  putDrafts(tokens: ReadonlyArray<number>): void {
    this.#ids.set(tokens, this.#known)
  }

  /** What the model reads next: what it has not in its caches, and drafts behind it. It is asked what stands behind, and about tokens of the prompt that are observed. */
  nextPass(ahead: number, { recurrent }: Pick<Drafting<never>, "recurrent">): Pass {
    const [from, end] = [this.#cached, this.#end]
    const to = end + ahead
    const first = this.#settings.scorePrompt === true && from < this.#start ? Math.min(end, from + 1) : end
    const places = range(first, to + 1)
    this.#asked = { end, to, places }
    return this.#pass({ from, to, keeps: { from, to, states: recurrent ? end : to }, places })
  }

  /** Takes in the logits [n, V] of the places of the last pass, which it changes. Drafts are kept as long as they are what is drawn. */
  take(logits: Float32Array, { recurrent }: Pick<Drafting<never>, "recurrent">): void {
    const { end, places, to } = this.#asked!
    const { ends, observe, scorePrompt } = this.#settings
    const vocabSize = logits.length / places.length
    const before = this.#known
    for (const [i, place] of places.entries()) {
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
      if (place < before) {
        if (scorePrompt === true) observe?.(place, row, this.#ids[place]!)
        continue
      }
      if (place === this.#ids.length) break
      const draft = place < to ? this.#ids[place] : undefined
      const said = observe === undefined ? row : row.slice()
      const token = this.#draw(place, row)
      if (ends.has(token)) {
        this.ended = true
        break
      }
      observe?.(place, said, token)
      this.#ids[this.#known++] = token
      if (token !== draft) break
    }
    this.#cached = recurrent ? end : Math.min(to, Math.max(end, this.#known - 1))
    this.#endBy()
  }

  /** Leaves out what is behind the text's end, where it has come. */
  #endBy(): void {
    const whole = this.#ending?.(this.tokens)
    if (whole === undefined) return
    this.#enough = true
    // What a draft went on with behind it, an end of text included, is not part of it.
    this.ended = false
    this.#known = this.#start + whole
  }

  #draw(place: number, logits: Float32Array): number {
    const { sampling, suppressed, watched = false } = this.#settings
    for (const token of suppressed) logits[token] = -Infinity
    const { token } = sampleToken(logits, sampling, uniformAt(this.#ofTokens, place - this.#start))
    if (watched) this.#confidence[place - this.#start] = confidenceOf(logits, token)
    return token
  }
}

const argmax = (values: Float32Array): number => {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

/**
 * A pass over texts, each of which takes the token behind it. With a drafter, some tokens at once are proposed before and read with it, and those are kept that are drawn: the texts are the same, token by
 * token, at any temperature, in fewer passes (speculative decoding; Leviathan et al. 2023, arXiv:2211.17192, with one draft).
 */
export const causalStep = <E>(reader: TextReader<E>, drafting?: Drafting<E>): Advance<CausalText, E> => {
  const { draftTokens = 0, recurrent = false } = drafting ?? {}

  /** Writes drafts behind the texts that are there. */
  const draft = (given: Drafting<E>, open: ReadonlyArray<Placed<CausalText>>) =>
    Effect.gen(function* () {
      const { drafter, mask } = given
      const drafted = open.filter(({ text }) => text.ahead(draftTokens) > 0)
      if (drafted.length === 0) return { passes: 0, ms: 0 }
      const passes = drafted.map(({ row, text }) => ({ ...text.draftPass(text.ahead(draftTokens), given), row }))
      const { found, ms } = yield* clocked(drafter.read(passes))
      let at = 0
      for (const [i, { text }] of drafted.entries())
        text.putDrafts(
          passes[i]!.places.map(() => {
            // Embeddings of the same tokenizer may have other rows behind its tokens: what one model does not have is not drafted.
            const row = found.subarray(at, at + Math.min(reader.vocabSize, drafter.vocabSize))
            at += drafter.vocabSize
            row[mask] = -Infinity
            return argmax(row)
          })
        )
      return { passes: 1, ms }
    })

  return open =>
    Effect.gen(function* () {
      const drafts = drafting === undefined ? { passes: 0, ms: 0 } : yield* draft(drafting, open)
      const passes = open.map(({ row, text }) => ({ ...text.nextPass(text.ahead(draftTokens), { recurrent }), row }))
      const { found, ms } = yield* clocked(reader.read(passes))
      let at = 0
      const take = open.map(({ text }, i) => {
        const own = found.subarray(at, (at += passes[i]!.places.length * reader.vocabSize))
        return () => text.take(own, { recurrent })
      })
      return { passes: drafts.passes + 1, forwardMs: drafts.ms + ms, take }
    })
}

/** Goes on behind prompts, each token drawn from what a causal model says of it. */
export const decodeCausally = <E, E2 = never, R = never>(
  reader: TextReader<E>,
  prompts: ReadonlyArray<CausalPrompt>,
  { ending, ends, onTokens, rows, sampling, suppressed }: CausalOptions<E2, R>,
  drafting?: Drafting<E>
): Effect.Effect<CausalTexts, E | E2, R> =>
  Effect.gen(function* () {
    const fault = misfit(reader, prompts)
    if (fault !== undefined) return yield* Effect.die(fault)
    const settings: CausalSettings = { sampling, suppressed, ends }
    const texts = prompts.map(
      (prompt, number) => new CausalText({ ...prompt, ending: endingOf(ending, number) }, settings)
    )
    const told = texts.map(() => 0)
    const { passes } = yield* writeAll(new OpenBatch(rows, causalStep(reader, drafting)), texts, {
      onStep:
        onTokens &&
        ((text, number) => {
          const { tokens } = text
          const news = Array.from(tokens.subarray(told[number]))
          told[number] = tokens.length
          return onTokens(number, news)
        })
    })
    return { texts, passes }
  })

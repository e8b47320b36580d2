/** Decoding by masked diffusion of whole texts: all new tokens of a text begin as masks, behind a prompt or in a gap, and any of them may be revealed in any step. */
import { Effect } from "effect"
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import type { Measured } from "./accepting.ts"
import {
  chosenPerStep,
  type Denoiser,
  type DiffusionDecoding,
  gumbel,
  judge,
  originSteps,
  surest
} from "./diffusion.ts"
import { stepKey, textKey } from "./draws.ts"
import { type MaskText, maskStep } from "./maskStep.ts"
import { OpenBatch, writeAll } from "./openBatch.ts"
import { confidenceOf } from "./sampling.ts"
import { type TextPass, wholeReader } from "./textPass.ts"

/** What is to be filled: the number of tokens is fixed before the first step. */
export interface Gap {
  /** At least one token: what would predict the first of the gap? */
  readonly prefix: ArrayLike<number>
  /** Empty where a text goes on behind a prompt. */
  readonly suffix: ArrayLike<number>
  readonly tokens: number
  readonly key: RandomKey
}

/** The key of a gap (draws.ts): with nothing behind it, of the text behind a prompt. */
export const gapKey = (
  seed: number,
  { mask, prefix, suffix }: Pick<Gap, "prefix" | "suffix"> & { readonly mask: number },
  repetition = 0
): RandomKey =>
  textKey(seed, suffix.length === 0 ? prefix : [...Array.from(prefix), mask, ...Array.from(suffix)], repetition)

export const tokensOf = ({ prefix, suffix, tokens }: Omit<Gap, "key">): number => prefix.length + tokens + suffix.length

export class WholeText implements MaskText {
  /** All of the text, masks where nothing is revealed yet. */
  readonly ids: Int32Array
  readonly key: RandomKey
  forwards = 0
  passesBeside = 0
  readonly #settings: DiffusionDecoding
  readonly #mask: number
  readonly #watched: boolean
  readonly #confidence: Float32Array
  /** Places of the gap. */
  readonly #places: ReadonlyArray<number>
  /** How many tokens each step chooses; or by `origin`, the step that reveals each token, from 0 on. */
  readonly plan: { readonly chosen: ReadonlyArray<number>; readonly revealedAt: Int32Array | undefined }
  #ofTokens: RandomKey = [0, 0]
  #ofOrder: RandomKey = [0, 0]

  /** `watched`: whether confidences are asked for. */
  constructor({ key, prefix, suffix, tokens }: Gap, settings: DiffusionDecoding, mask: number, watched = false) {
    this.key = key
    this.#settings = settings
    this.#mask = mask
    this.#watched = watched
    this.#confidence = new Float32Array(tokens).fill(NaN)
    this.ids = new Int32Array(prefix.length + tokens + suffix.length).fill(mask)
    this.ids.set(Array.from(prefix))
    this.ids.set(Array.from(suffix), prefix.length + tokens)
    this.#places = Array.from({ length: tokens }, (_, i) => prefix.length + i)
    this.plan =
      settings.alg === "origin"
        ? { chosen: [], revealedAt: originSteps(settings, key, tokens) }
        : { chosen: chosenPerStep(settings, tokens), revealedAt: undefined }
  }

  get #masked(): ReadonlyArray<number> {
    return this.#places.filter(place => this.ids[place] === this.#mask)
  }

  get done(): boolean {
    return this.#masked.length === 0
  }

  get shown(): Int32Array {
    return this.ids.slice()
  }

  get decoded(): number {
    return this.#places.length
  }

  get confidence(): Float32Array {
    return this.#confidence.slice()
  }

  /** The gap's tokens. */
  get tokens(): Int32Array {
    const [first = 0] = this.#places
    return this.ids.slice(first, first + this.#places.length)
  }

  next(): Omit<TextPass, "row" | "text"> {
    this.#ofTokens = stepKey(this.key, "tokens", this.forwards)
    this.#ofOrder = stepKey(this.key, "order", this.forwards)
    const { ids } = this
    // `p2` looks at revealed tokens, too.
    const places = this.#settings.alg === "p2" ? this.#places : this.#masked
    return { ids, from: 0, to: ids.length, until: ids.length, places }
  }

  judge(place: number, logits: Float32Array): Measured {
    logits[this.#mask] = -Infinity
    const { algTemp } = this.#settings
    const i = place - this.#places[0]!
    const there = this.ids[place] === this.#mask ? undefined : this.ids[place]
    const found = judge(this.#settings, { place, logits, there, uniform: uniformAt(this.#ofTokens, i) })
    const score = algTemp === 0 ? found.score : found.score / algTemp + gumbel(uniformAt(this.#ofOrder, i))
    const confidence =
      this.#watched && there === undefined ? { confidence: confidenceOf(logits, found.token) } : undefined
    return { ...found, score, measure: 0, ...confidence }
  }

  reveal(judged: ReadonlyArray<Measured>): void {
    const { chosen, revealedAt } = this.plan
    const kept =
      revealedAt === undefined
        ? surest(judged, chosen[this.forwards]!)
        : judged.filter(({ place }) => revealedAt[place - this.#places[0]!] === this.forwards)
    if (this.#settings.alg === "p2") for (const place of this.#places) this.ids[place] = this.#mask
    for (const { confidence, place, token } of kept) {
      this.ids[place] = token
      // Of a token that stays, it is known.
      if (confidence !== undefined) this.#confidence[place - this.#places[0]!] = confidence
    }
    for (const place of this.#masked) this.#confidence[place - this.#places[0]!] = NaN
    this.forwards++
  }

  /** Steps until nothing is left to reveal. */
  get stepsLeft(): number {
    const { chosen, revealedAt } = this.plan
    return (
      (revealedAt === undefined ? chosen.length : 1 + revealedAt.reduce((most, at) => Math.max(most, at), 0)) -
      this.forwards
    )
  }

  /** Takes in steps that were made elsewhere, and the gap's tokens where they are known. `probabilities`: of what the last step found for each place, where confidences are asked for. */
  made(steps: number, tokens: Int32Array | undefined, probabilities?: Float32Array): void {
    this.forwards += steps
    if (tokens === undefined) return
    for (const [i, place] of this.#places.entries()) {
      if (tokens[i] === this.#mask) this.#confidence[i] = NaN
      else if (this.ids[place] === this.#mask) this.#confidence[i] = probabilities?.[i] ?? NaN
    }
    this.ids.set(tokens, this.#places[0])
  }
}

export interface WholeOptions {
  readonly mask: number
  readonly pad: number
  readonly settings: DiffusionDecoding
}

/** Fills all gaps side by side, one in each row of the denoiser; no mask is left. Dies of a RangeError for one that does not fit, or has nothing before it. */
export const fillGaps = <E>(
  denoiser: Denoiser<E>,
  gaps: ReadonlyArray<Gap>,
  { mask, pad, settings }: WholeOptions
): Effect.Effect<ReadonlyArray<WholeText>, E> =>
  Effect.gen(function* () {
    const { length } = denoiser
    if (gaps.some(gap => tokensOf(gap) > length))
      return yield* Effect.die(new RangeError(`a text with a gap does not fit into ${length} tokens`))
    if (gaps.some(({ prefix, tokens }) => prefix.length === 0 || tokens < 1))
      return yield* Effect.die(new RangeError("a gap has at least one token, and at least one before it"))
    const texts = gaps.map(gap => new WholeText(gap, settings, mask))
    yield* writeAll(new OpenBatch<WholeText, E>(gaps.length, maskStep(wholeReader(denoiser, pad))), texts)
    return texts
  })

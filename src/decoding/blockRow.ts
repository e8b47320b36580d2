/** A text that is decoded block by block: which blocks have begun, what is revealed of them, and what the next pass over the text reads. */
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import { accepted, type Measured } from "./accepting.ts"
import { type BlockJudge, blockJudge } from "./blockJudge.ts"
import { type BlockDecoding, diffusionOfBlock } from "./blockSettings.ts"
import { chosenPerStep, type DiffusionDecoding, surest } from "./diffusion.ts"
import { stepKey } from "./draws.ts"
import type { TextEnding } from "./ending.ts"
import type { MaskText } from "./maskStep.ts"
import type { TextPass } from "./textPass.ts"

export interface BlockPrompt {
  /** At least one token: what would predict the first new one? */
  readonly ids: ArrayLike<number>
  /** Tokens behind it, at most. */
  readonly newTokens: number
  /** Of the text (draws.ts). */
  readonly key: RandomKey
  /** Ends the text before its end of text. */
  readonly ending?: TextEnding | undefined
}

export interface BlockText {
  /** What was written behind the prompt, with the end of text where there is one. */
  readonly tokens: Int32Array
  /** For each token the step that revealed it, from 1. Steps that revealed nothing of the text do not count. */
  readonly revealedAt: ReadonlyArray<number>
  /** Forward passes that the text took, until all tokens before its first end of text were there. */
  readonly forwards: number
}

/** How the model reads texts. */
export interface BlockReading {
  /** Tokens of a block, where a token sees its own block and earlier ones alone, blocks counted from the text's first token. */
  readonly attentionBlockSize?: number | undefined
  /** Whether the token at a place is predicted from the state before it. */
  readonly tokenShift: boolean
}

export interface BlockRowOptions extends BlockReading {
  readonly settings: BlockDecoding
  readonly mask: number
  /** End a text. The first of them stands behind its end. */
  readonly ends: ReadonlySet<number>
  /** Whether confidences are asked for. By default not. */
  readonly watched?: boolean
}

/** Idle until it begins, then active while it has masks, decoded, and cached. Before the first one, what the prompt has of whole blocks. */
interface Block {
  readonly start: number
  readonly end: number
  /** Masks that it began with. */
  readonly masks: number
  /** Tokens that each step reveals at least, without those that are over. */
  readonly quotas: Array<number>
  /** Passes over all of the text since it was decoded. */
  seen: number
}

export class BlockRow implements MaskText {
  readonly key: RandomKey
  /** Prompt and new tokens, masks where nothing is revealed yet. */
  readonly ids: Int32Array
  /** Tokens of the prompt. */
  readonly start: number
  forwards = 0
  passesBeside = 0
  readonly choosing: MaskText["choosing"]
  readonly #options: BlockRowOptions
  readonly #judge: BlockJudge
  #ofTokens: RandomKey = [0, 0]
  readonly #decoding: DiffusionDecoding
  readonly #delay: number
  readonly #ending: TextEnding | undefined
  readonly #revealedAt = new Map<number, number>()
  readonly #sure: Float32Array
  /** Those that have begun. */
  readonly #blocks: Array<Block>
  /** Places before it are in the caches. */
  #cached = 0
  #filled = false
  /** The new tokens that are the whole text, where something ended it before its end of text. */
  #whole: number | undefined

  constructor({ ending, ids, key, newTokens }: BlockPrompt, options: BlockRowOptions) {
    const { attentionBlockSize, mask, settings } = options
    this.key = key
    this.start = ids.length
    this.ids = new Int32Array(this.start + newTokens).fill(mask)
    this.ids.set(Array.from(ids))
    this.#ending = ending
    this.#sure = new Float32Array(newTokens).fill(NaN)
    this.#judge = blockJudge(settings, options)
    const { byModel } = this.#judge
    this.choosing = byModel && { by: byModel, demands: () => this.demands() }
    this.#options = options
    this.#delay = settings.cacheDelayIter ?? 1
    this.#decoding = diffusionOfBlock(settings)
    // Where attention goes by blocks, what of the prompt shares one with new tokens is read with them.
    const end = attentionBlockSize === undefined ? this.start : this.start - (this.start % settings.blockSize)
    this.#blocks = [{ start: 0, end, masks: 0, quotas: [], seen: 0 }]
  }

  /** The new tokens, masks where nothing is revealed yet. */
  get tokens(): Int32Array {
    return this.ids.slice(this.start)
  }

  /** How sure the model was of each of these tokens when it was revealed, where that is asked for; NaN of masks. */
  get sure(): Float32Array {
    return this.#sure.slice()
  }

  /** Whether nothing is missing before the text's end: what is revealed later cannot change it. */
  get done(): boolean {
    return this.#whole !== undefined || this.tokens[this.#settled] !== this.#options.mask
  }

  /** How many new tokens stand before the first mask and the first end of text. */
  get #settled(): number {
    const { ends, mask } = this.#options
    const { tokens } = this
    const end = tokens.findIndex(token => token === mask || ends.has(token))
    return end < 0 ? tokens.length : end
  }

  #masked({ end, start }: Pick<Block, "start" | "end">): ReadonlyArray<number> {
    const places: Array<number> = []
    // A prompt's tokens are what they are, whatever their ids.
    for (let place = Math.max(start, this.start); place < end; place++)
      if (this.ids[place] === this.#options.mask) places.push(place)
    return places
  }

  /** The share of a block that is revealed. */
  #progress(block: Block): number {
    return block.masks === 0 ? 1 : 1 - this.#masked(block).length / block.masks
  }

  /** Begins the next block, if the last one is far enough. */
  #begin(): void {
    const { settings } = this.#options
    const last = this.#blocks.at(-1)!
    if (last.end === this.ids.length || this.#progress(last) < (settings.blockAddThreshold ?? 1)) return
    const block = { start: last.end, end: Math.min(this.ids.length, last.end + settings.blockSize) }
    const masks = this.#masked(block).length
    const steps = this.#stepsOf(block)
    const quotas = [...chosenPerStep({ ...this.#decoding, steps }, masks)]
    this.#blocks.push({ ...block, masks, quotas, seen: 0 })
  }

  /** The steps of a block: of those of the text its share by its new tokens, one at least. */
  #stepsOf({ end, start }: Pick<Block, "start" | "end">): number {
    const { stepsOfText: steps } = this.#options.settings
    if (steps === undefined) return this.#decoding.steps
    const until = (place: number): number =>
      Math.floor((steps * Math.max(0, place - this.start)) / (this.ids.length - this.start))
    return Math.max(1, until(end) - until(start))
  }

  /** What the next pass over the text reads. */
  next(): Omit<TextPass, "row" | "text"> {
    this.#begin()
    this.#ofTokens = stepKey(this.key, "tokens", this.forwards)
    const places = this.#blocks.flatMap(block => this.#masked(block))
    return { ids: this.ids, places, ...this.#window() }
  }

  /** Where a window begins whose first block begins at `place`: the state before it says what stands there. */
  #from(place: number): number {
    return Math.max(0, place - (this.#options.tokenShift ? 1 : 0))
  }

  #window(): Pick<TextPass, "from" | "to" | "until" | "keeps"> {
    const { attentionBlockSize, settings } = this.#options
    const { length } = this.ids
    const end = this.#blocks.at(-1)!.end
    const cache = settings.cache ?? (attentionBlockSize === undefined ? "none" : "prefix")
    if (cache === "none") return { from: 0, to: length, until: length }
    const from = this.#from(this.#cached)
    if (attentionBlockSize !== undefined) {
      const decoded = this.#decoded(() => true)
      const keeps = { from: this.#cached, to: decoded, states: this.#from(decoded) }
      this.#cached = decoded
      return { from, to: end, until: end, ...(keeps.to > keeps.from ? { keeps } : {}) }
    }
    const refresh = settings.refreshInterval !== undefined && this.forwards % settings.refreshInterval === 0
    const waiting = this.#blocks.some(block => this.#masked(block).length === 0 && block.seen < this.#delay)
    if (this.#filled && !refresh && !waiting) {
      const to = cache === "dual" ? end : length
      return { from, to, until: length }
    }
    for (const block of this.#blocks) if (this.#masked(block).length === 0) block.seen++
    this.#cached = this.#decoded(({ seen }) => seen >= this.#delay)
    this.#filled = true
    return {
      from: 0,
      to: length,
      until: length,
      keeps: { from: 0, to: length, states: this.#from(this.#cached) }
    }
  }

  /** Where the first block begins that has masks, or of which something does not hold. */
  #decoded(holds: (block: Block) => boolean): number {
    const first = this.#blocks.find(block => this.#masked(block).length > 0 || !holds(block))
    return first?.start ?? this.#blocks.at(-1)!.end
  }

  /** Of each active block its places, and how many tokens the step must reveal of it. */
  demands(): ReadonlyArray<Pick<Block, "start" | "end"> & { readonly quota: number }> {
    const far = this.#options.settings.decodedTokenThreshold ?? 1
    return this.#blocks.flatMap((block, b) => {
      if (this.#masked(block).length === 0) return []
      const { end, quotas, start } = block
      const forced = b <= 1 || this.#progress(this.#blocks[b - 1]!) >= far
      return [{ start, end, quota: forced ? (quotas[0] ?? 0) : 0 }]
    })
  }

  /** Proposes a token for a mask by its logits [V], which it changes. */
  judge(place: number, logits: Float32Array): Measured {
    return this.#judge.byLogits(place, logits, uniformAt(this.#ofTokens, place - this.start))
  }

  /** Reveals what the step must of what was proposed, the surest, and all that the model is sure enough of besides. */
  reveal(proposed: ReadonlyArray<Measured>): void {
    const { settings } = this.#options
    // What is revealed of one block does not tell another that it may be forced in the same step.
    const demands = this.demands()
    this.forwards++
    for (const { end, quota, start } of demands) {
      const own = proposed.filter(({ place }) => start <= place && place < end)
      if (quota > 0) this.#blocks.findLast(block => block.start === start)!.quotas.shift()
      for (const { confidence = NaN, place, token } of [...surest(own, quota), ...accepted(settings, own)]) {
        this.ids[place] = token
        this.#sure[place - this.start] = confidence
        this.#revealedAt.set(place, this.forwards)
      }
    }
    this.#whole = this.#ending?.(this.tokens.subarray(0, this.#settled))
  }

  get shown(): Int32Array {
    const shown = this.ids.slice()
    const [end] = this.#options.ends
    return this.done && end !== undefined ? shown.fill(end, this.start + this.decoded) : shown
  }

  get confidence(): Float32Array {
    return this.done ? this.sure.fill(NaN, this.decoded) : this.sure
  }

  get decoded(): number {
    return this.#decodedOf(this.tokens)
  }

  /** Of some first new tokens those until the text's end. */
  #decodedOf(tokens: Int32Array): number {
    const end = tokens.findIndex(token => this.#options.ends.has(token))
    return this.#whole ?? (end < 0 ? tokens.length : end + 1)
  }

  text(): BlockText {
    const written = this.ids.slice(this.start, this.#blocks.at(-1)!.end)
    const tokens = written.subarray(0, this.#decodedOf(written))
    const at = Array.from(tokens, (_, i) => this.#revealedAt.get(this.start + i)!)
    const steps = [...new Set(at)].sort((a, b) => a - b)
    return { tokens, revealedAt: at.map(step => 1 + steps.indexOf(step)), forwards: this.forwards }
  }
}

/**
 * Decoding by masked diffusion block by block (LLaDA; Nie et al. 2025, arXiv:2502.09992): the tokens of a block are revealed over some steps, all later ones in sight as masks, before the next block
 * begins. What stands behind the first end of text is no part of a text.
 */
import { Effect, Schema } from "effect"
import { NonNegative, PositiveInt, setting } from "../config/setting.ts"
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import { chosenPerStep, type Denoiser, type DiffusionDecoding, judge, surest } from "./diffusion.ts"
import { Sampling } from "./sampling.ts"

export const BlockDecoding = Schema.Struct({
  /** Tokens of a block; a text's last block may be shorter */
  blockSize: setting(PositiveInt, 32),
  /** Steps in which a block is revealed: as many tokens in each, those left over in the first ones; at most one step a token */
  stepsPerBlock: setting(PositiveInt, 32),
  ...Sampling.fields,
  /** Logits are divided by it before a token is drawn; 0 takes the likeliest */
  temperature: setting(NonNegative, 0),
  /** What is revealed first, as in diffusion: by negative entropy (`entropy`), the token's probability (`maskgit_plus`), or its lead over the second (`topk_margin`) */
  alg: setting(Schema.Literals(["entropy", "maskgit_plus", "topk_margin"]), "entropy")
})
export type BlockDecoding = typeof BlockDecoding.Type

/** What a diffusion's settings say beside that, where it goes block by block. */
export const inBlocks = {
  fields: {
    /** Tokens of a block: one after the other is revealed, each in its share of the steps, and none behind the end of text. Where there are fewer steps than blocks, blocks are larger. By default all tokens are one */
    blockLength: Schema.optionalKey(PositiveInt)
  },
  check: Schema.makeFilter((settings: Pick<MaskDecoding, "alg" | "algTemp" | "blockLength" | "schedule">) => {
    const { alg, algTemp, blockLength, schedule } = settings
    if (blockLength === undefined) return undefined
    if (alg === "origin" || alg === "p2")
      return { path: ["alg"], issue: `${alg} does not go block by block, as blockLength asks` }
    if (algTemp > 0) return { path: ["algTemp"], issue: "does not go with blockLength" }
    return schedule === "quota" ? undefined : { path: ["schedule"], issue: "must be quota where blockLength is given" }
  })
} as const

/** The settings of what decodes by masks, whole or in blocks. */
export type MaskDecoding = Omit<DiffusionDecoding, "steps"> & { readonly blockLength?: number }

/** How `newTokens` are decoded in some steps, one at least for each block. */
export const blocksOf = (
  { alg, blockLength: wanted = Infinity, ...sampling }: MaskDecoding,
  { newTokens, steps }: { readonly newTokens: number; readonly steps: number }
): BlockDecoding => {
  const blockSize = Math.min(newTokens, Math.max(wanted, Math.ceil(newTokens / steps)))
  const stepsPerBlock = Math.floor(steps / Math.ceil(newTokens / blockSize))
  return { ...sampling, alg: alg as BlockDecoding["alg"], blockSize, stepsPerBlock }
}

export interface BlockPrompt {
  /** At least one token: what would predict the first new one? */
  readonly ids: ArrayLike<number>
  /** Tokens behind it, at most. */
  readonly newTokens: number
  /** Of the numbers that tokens are drawn by: a prompt has the same text in any company. */
  readonly key: RandomKey
}

export interface BlockText {
  /** What was written behind the prompt, with the end of text where there is one. */
  readonly tokens: Int32Array
  /** For each token the step that revealed it, from 1. Steps that revealed nothing of the text do not count. */
  readonly revealedAt: ReadonlyArray<number>
  /** Forward passes that the text took. */
  readonly forwards: number
}

export interface BlockOptions {
  readonly mask: number
  readonly pad: number
  readonly eos: number
  readonly settings: BlockDecoding
}

/** Answers prompts, as many as the denoiser has rows. Each stands at the right end of its row with its new tokens. */
export const decodeBlocks = <E>(
  denoiser: Denoiser<E>,
  prompts: ReadonlyArray<BlockPrompt>,
  { eos, mask, pad, settings }: BlockOptions
): Effect.Effect<ReadonlyArray<BlockText>, E> =>
  Effect.gen(function* () {
    const { length, vocabSize } = denoiser
    const decoding: DiffusionDecoding = {
      ...settings,
      steps: settings.stepsPerBlock,
      schedule: "quota",
      algTemp: 0,
      eps: 1e-3
    }
    const canvas = new Int32Array(prompts.length * length).fill(pad)
    const pads = prompts.map(({ ids, newTokens }) => length - ids.length - newTokens)
    if (pads.some(columns => columns < 0) || prompts.some(({ ids }) => ids.length === 0))
      return yield* Effect.die(
        new RangeError(`prompts and new tokens must fit into ${length} tokens, and none be empty`)
      )
    const rows = prompts.map(({ ids, newTokens }, r) => {
      const end = (r + 1) * length
      canvas.set(Array.from(ids), r * length + pads[r]!)
      canvas.fill(mask, end - newTokens, end)
      return new Row(canvas, { start: end - newTokens, end }, decoding, settings.blockSize)
    })
    for (;;) {
      const masked = rows.map(row => row.masked(mask, eos))
      const places = masked.flat()
      if (places.length === 0) break
      const logits = yield* denoiser.logits(canvas, pads, places)
      let from = 0
      for (const [r, own] of masked.entries()) {
        if (own.length === 0) continue
        const row = rows[r]!
        const { key, newTokens } = prompts[r]!
        const judged = own.map(place => {
          const found = logits.subarray(from, (from += vocabSize))
          found[mask] = -Infinity
          const uniform = uniformAt(key, row.forwards * newTokens + (place - row.start))
          return judge(decoding, { place, logits: found, uniform, there: undefined })
        })
        row.reveal(surest(judged, row.wanted))
      }
    }
    return rows.map(row => row.text(eos))
  })

/** One row of the canvas, and how far it is. */
class Row {
  readonly start: number
  forwards = 0
  readonly #canvas: Int32Array
  readonly #end: number
  readonly #decoding: DiffusionDecoding
  readonly #blockSize: number
  readonly #revealedAt = new Map<number, number>()
  #block: { readonly start: number; readonly end: number }
  /** Tokens that each step of the block reveals, without those that are over. */
  #quotas: ReadonlyArray<number> = []

  constructor(
    canvas: Int32Array,
    { end, start }: { readonly start: number; readonly end: number },
    decoding: DiffusionDecoding,
    blockSize: number
  ) {
    this.start = start
    this.#canvas = canvas
    this.#end = end
    this.#decoding = decoding
    this.#blockSize = blockSize
    this.#block = { start, end: start }
  }

  /** Places of the block that are still masked; when there are none, those of the next block, until one holds the end of text. */
  masked(mask: number, eos: number): ReadonlyArray<number> {
    const { end, start } = this.#block
    const left = Array.from({ length: end - start }, (_, i) => start + i).filter(place => this.#canvas[place] === mask)
    if (left.length > 0) return left
    if (end === this.#end || this.#canvas.subarray(start, end).includes(eos)) return []
    this.#block = { start: end, end: Math.min(this.#end, end + this.#blockSize) }
    this.#quotas = chosenPerStep(this.#decoding, this.#block.end - end)
    return this.masked(mask, eos)
  }

  /** Tokens that the step reveals. */
  get wanted(): number {
    return this.#quotas[0]!
  }

  reveal(chosen: ReadonlyArray<{ readonly place: number; readonly token: number }>): void {
    this.forwards++
    this.#quotas = this.#quotas.slice(1)
    for (const { place, token } of chosen) {
      this.#canvas[place] = token
      this.#revealedAt.set(place, this.forwards)
    }
  }

  text(eos: number): BlockText {
    const written = this.#canvas.slice(this.start, this.#block.end)
    const end = written.indexOf(eos)
    const tokens = end < 0 ? written : written.subarray(0, end + 1)
    const at = Array.from(tokens, (_, i) => this.#revealedAt.get(this.start + i)!)
    const steps = [...new Set(at)].sort((a, b) => a - b)
    return { tokens, revealedAt: at.map(step => 1 + steps.indexOf(step)), forwards: this.forwards }
  }
}

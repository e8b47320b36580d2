/**
 * Decoding by masked diffusion block by block (LLaDA; Nie et al. 2025, arXiv:2502.09992): the tokens of a block are revealed over some steps, all later ones in sight as masks, before the next block
 * begins. With a threshold a step reveals all tokens of the block that are likely enough (Fast-dLLM; Wu et al. 2025, arXiv:2505.22618). What stands behind the first end of text is no part of a text.
 */
import { Effect, Schema } from "effect"
import { NonNegative, PositiveInt, setting } from "../config/setting.ts"
import { type RandomKey, uniformAt } from "../tensor/random.ts"
import { BlockRow, type BlockText } from "./blockRow.ts"
import { type Denoiser, type DiffusionDecoding, judge } from "./diffusion.ts"
import { probabilityOf, Sampling } from "./sampling.ts"

/** A probability that reveals a token. */
export const Threshold = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))

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
export type BlockDecoding = typeof BlockDecoding.Type & { readonly threshold?: number }

/** What a diffusion's settings say beside that, where it goes block by block. */
export const inBlocks = {
  fields: {
    /** Tokens of a block: one after the other is revealed, each in its share of the steps, and none behind the end of text. Where there are fewer steps than blocks, blocks are larger. By default all tokens are one */
    blockLength: Schema.optionalKey(PositiveInt),
    /**
     * A step also reveals every token of the block that the model gives at least this probability, at temperature 1 and without filters; `steps` are then the most that it takes. With as many steps as
     * tokens that is Fast-dLLM's rule: all that reach the threshold, at least the surest one. 1 is reached by none. Goes with the alg `maskgit_plus`
     */
    threshold: Schema.optionalKey(Threshold)
  },
  check: Schema.makeFilter((settings: BlockSettings) => {
    const fault = blockFault(settings)
    return fault === undefined ? undefined : { path: [fault.field], issue: fault.why }
  })
} as const

type BlockSettings = Pick<MaskDecoding, "alg" | "algTemp" | "blockLength" | "schedule" | "threshold">

interface Fault {
  readonly field: "alg" | "algTemp" | "schedule"
  readonly why: string
}

/** Why settings that ask for blocks, or for a threshold, cannot go block by block. */
export const blockFault = ({ alg, algTemp, blockLength, schedule, threshold }: BlockSettings): Fault | undefined => {
  if (blockLength === undefined && threshold === undefined) return undefined
  const by = threshold === undefined ? "blockLength" : "threshold"
  if (threshold !== undefined && alg !== "maskgit_plus")
    return { field: "alg", why: `${alg} does not go with threshold, which is one of what maskgit_plus reveals by` }
  if (alg === "origin" || alg === "p2")
    return { field: "alg", why: `${alg} does not go block by block, as blockLength asks` }
  if (algTemp > 0) return { field: "algTemp", why: `does not go with ${by}` }
  return schedule === "quota" ? undefined : { field: "schedule", why: `must be quota where ${by} is given` }
}

/** The settings of what decodes by masks, whole or in blocks. */
export type MaskDecoding = Omit<DiffusionDecoding, "steps"> & {
  readonly blockLength?: number
  readonly threshold?: number
}

/** How `newTokens` are decoded in some steps, one at least for each block. */
export const blocksOf = (
  { alg, blockLength: wanted = Infinity, ...sampling }: MaskDecoding,
  { newTokens, steps }: { readonly newTokens: number; readonly steps: number }
): BlockDecoding => {
  const blockSize = Math.min(newTokens, Math.max(wanted, Math.ceil(newTokens / steps)))
  // The last block may be shorter: where there is a step for each token, it leaves its rest to nobody.
  const stepsPerBlock = steps >= newTokens ? blockSize : Math.floor(steps / Math.ceil(newTokens / blockSize))
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

export interface BlockOptions<E, R> {
  /** Texts that are written side by side, at most: as many as the denoiser has rows. */
  readonly rows: number
  readonly mask: number
  readonly pad: number
  readonly eos: number
  readonly settings: BlockDecoding
  /** Told of a text's new tokens after each of its steps. */
  readonly onStep?: (number: number, step: number, tokens: Int32Array) => Effect.Effect<void, E, R>
  /** Told of each text when it is done. */
  readonly onText?: (number: number, text: BlockText) => Effect.Effect<void, E, R>
}

export interface BlockTexts {
  /** In the order of the prompts. */
  readonly texts: ReadonlyArray<BlockText>
  /** Forward passes of the denoiser, each of as many texts as were open. */
  readonly passes: number
}

/**
 * Answers prompts. Each stands at the right end of a row with its new tokens; the row of a text that is done goes to the next prompt, so that short texts wait for none (continuous batching; Yu et al.
 * 2022, Orca).
 */
export const decodeBlocks = <E, E2 = never, R = never>(
  denoiser: Denoiser<E>,
  prompts: ReadonlyArray<BlockPrompt>,
  { eos, mask, onStep, onText, pad, rows: most, settings }: BlockOptions<E2, R>
): Effect.Effect<BlockTexts, E | E2, R> =>
  Effect.gen(function* () {
    const { length, vocabSize } = denoiser
    const decoding: DiffusionDecoding = {
      ...settings,
      steps: settings.stepsPerBlock,
      schedule: "quota",
      algTemp: 0,
      eps: 1e-3
    }
    if (prompts.some(({ ids, newTokens }) => ids.length === 0 || ids.length + newTokens > length))
      return yield* Effect.die(
        new RangeError(`prompts and new tokens must fit into ${length} tokens, and none be empty`)
      )
    /** Whether a score is what thresholds are compared with, already. */
    const isProbability =
      settings.alg === "maskgit_plus" &&
      (settings.temperature === 0 || settings.temperature === 1) &&
      (settings.topP ?? 1) === 1 &&
      settings.topK === undefined
    const count = Math.min(most, prompts.length)
    const canvas = new Int32Array(count * length)
    const texts: Array<BlockText> = []
    let passes = 0

    const waiting = prompts.entries()
    /** The next prompt in a row; undefined when there is none. */
    const begin = (slot: number) => {
      const { done, value } = waiting.next()
      if (done === true) return undefined
      const [number, { ids, key, newTokens }] = value
      const end = (slot + 1) * length
      const start = end - newTokens
      canvas.fill(pad, slot * length, start)
      canvas.set(Array.from(ids), start - ids.length)
      canvas.fill(mask, start, end)
      const row = new BlockRow(canvas, { start, end }, { decoding, blockSize: settings.blockSize, mask, eos })
      return { number, key, newTokens, padding: length - newTokens - ids.length, row }
    }
    type Writing = NonNullable<ReturnType<typeof begin>>

    /** Reveals what a step reveals of a text, by the logits of its masks. */
    const reveal = ({ key, newTokens, row }: Writing, places: ReadonlyArray<number>, logits: Float32Array) => {
      const { threshold = 1 } = settings
      const judged = places.map((place, i) => {
        const found = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
        found[mask] = -Infinity
        const uniform = uniformAt(key, row.forwards * newTokens + (place - row.start))
        const each = judge(decoding, { place, logits: found, uniform, there: undefined })
        // No token of several has probability 1, though rounding says so.
        const likely =
          threshold < 1 && (isProbability ? each.score : probabilityOf(found, unfiltered, each.token)) >= threshold
        return { ...each, likely }
      })
      row.reveal(judged)
    }

    const slots = Array.from({ length: count }, (_, slot) => begin(slot)!)
    for (;;) {
      for (const slot of slots.keys())
        for (let each = slots[slot]!; each.row.done && texts[each.number] === undefined; each = slots[slot]!) {
          const text = each.row.text()
          texts[each.number] = text
          if (onText !== undefined) yield* onText(each.number, text)
          slots[slot] = begin(slot) ?? each
        }
      const masked = slots.map(({ row }) => row.masked())
      const places = masked.flat()
      if (places.length === 0) break
      const logits = yield* denoiser.logits(
        canvas,
        slots.map(({ padding }) => padding),
        places,
        slots.map(({ number, row }) => ({ number, pass: row.forwards }))
      )
      passes++
      let from = 0
      for (const [slot, own] of masked.entries()) {
        if (own.length === 0) continue
        const { number, row } = slots[slot]!
        reveal(slots[slot]!, own, logits.subarray(from * vocabSize, (from += own.length) * vocabSize))
        if (onStep !== undefined) yield* onStep(number, row.forwards, row.tokens)
      }
    }
    return { texts, passes }
  })

/** What a threshold is compared with. */
const unfiltered: Sampling = { temperature: 0 }

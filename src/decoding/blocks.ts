/**
 * Decoding by masked diffusion block by block (LLaDA; Nie et al. 2025, arXiv:2502.09992): the tokens of a block are revealed over some steps, all later ones in sight as masks, before the next block
 * begins, or while it is being revealed (d3LLM). What a step reveals beside what it must is said by a rule (accepting.ts). What stands behind the first end of text is no part of a text.
 */
import { Effect } from "effect"
import type { RandomKey } from "../tensor/random.ts"
import { BlockRow, type BlockReading, type BlockText } from "./blockRow.ts"
import type { BlockDecoding } from "./blockSettings.ts"
import type { Ending } from "./ending.ts"
import { proposing } from "./proposing.ts"
import { misfit, type TextPass, type TextReader } from "./textPass.ts"

export interface BlockPrompt {
  /** At least one token: what would predict the first new one? */
  readonly ids: ArrayLike<number>
  /** Tokens behind it, at most. */
  readonly newTokens: number
  /** Of the numbers that tokens are drawn by: a prompt has the same text in any company. */
  readonly key: RandomKey
}

export interface BlockOptions<E, R> extends BlockReading {
  /** Texts that are written side by side, at most: as many as the reader has rows. */
  readonly rows: number
  readonly mask: number
  /** End a text. */
  readonly ends: ReadonlySet<number>
  readonly settings: BlockDecoding
  /** Ends a text before its end of text; its row then goes to the next prompt. */
  readonly ending?: Ending | undefined
  /** Told of a text's new tokens after each of its steps, and how sure the model was of each (`confidenceOf`) when it was revealed, NaN of masks. */
  readonly onStep?: (
    number: number,
    step: number,
    tokens: Int32Array,
    confidence: Float32Array
  ) => Effect.Effect<void, E, R>
  /** Told of each text when it is done. */
  readonly onText?: (number: number, text: BlockText) => Effect.Effect<void, E, R>
}

export interface BlockTexts {
  /** In the order of the prompts. */
  readonly texts: ReadonlyArray<BlockText>
  /** Forward passes, each of as many texts as were open. */
  readonly passes: number
}

/** A text that is being written, in a row. */
interface Writing {
  readonly number: number
  readonly prompt: BlockPrompt
  readonly row: BlockRow
}

/**
 * Answers prompts. The row of a text that is done goes to the next prompt, so that short texts wait for none (continuous batching; Yu et al. 2022, Orca).
 */
export const decodeBlocks = <E, E2 = never, R = never>(
  reader: TextReader<E>,
  prompts: ReadonlyArray<BlockPrompt>,
  { ending, onStep, onText, rows: most, ...options }: BlockOptions<E2, R>
): Effect.Effect<BlockTexts, E | E2, R> =>
  Effect.gen(function* () {
    const fault = misfit(reader, prompts)
    if (fault !== undefined) return yield* Effect.die(fault)
    const propose = proposing(reader, options.settings, { mask: options.mask, watched: onStep !== undefined })
    const texts: Array<BlockText> = []
    let passes = 0
    const waiting = prompts.entries()
    const begin = (): Writing | undefined => {
      const { done, value } = waiting.next()
      if (done === true) return undefined
      const [number, prompt] = value
      return { number, prompt, row: new BlockRow(prompt.ids, prompt.newTokens, options) }
    }
    const slots = Array.from({ length: Math.min(most, prompts.length) }, begin)
    for (;;) {
      for (const slot of slots.keys())
        for (let each = slots[slot]; each !== undefined && each.row.done; each = slots[slot]) {
          const text = each.row.text()
          texts[each.number] = text
          if (onText !== undefined) yield* onText(each.number, text)
          slots[slot] = begin()
        }
      const open = slots.flatMap((each, row): ReadonlyArray<Writing & { readonly pass: TextPass }> => {
        const pass = each?.row.next()
        return each === undefined || pass === undefined
          ? []
          : [{ ...each, pass: { ...pass, row, text: { number: each.number, pass: each.row.forwards } } }]
      })
      if (open.length === 0) break
      const proposed = yield* propose(
        open.map(({ pass, prompt: { key, newTokens }, row }) => ({ pass, row, key, newTokens }))
      )
      passes++
      for (const [i, { number, row }] of open.entries()) {
        row.reveal(proposed[i]!)
        if (onStep !== undefined) yield* onStep(number, row.forwards, row.tokens, row.confidence)
        // Who is told of a step may know then that no more is needed.
        if (ending !== undefined) row.endBy(ending, number)
      }
    }
    return { texts, passes }
  })

/**
 * Decoding by masked diffusion block by block (LLaDA; Nie et al. 2025, arXiv:2502.09992): the tokens of a block are revealed over some steps, all later ones in sight as masks, before the next block
 * begins, or while it is being revealed (d3LLM). What a step reveals beside what it must is said by a rule (accepting.ts). What stands behind the first end of text is no part of a text.
 */
import { Effect } from "effect"
import { type BlockPrompt, BlockRow, type BlockReading, type BlockText } from "./blockRow.ts"
import type { BlockDecoding } from "./blockSettings.ts"
import { type Ending, endingOf } from "./ending.ts"
import { maskStep } from "./maskStep.ts"
import { OpenBatch, writeAll } from "./openBatch.ts"
import { misfit, type TextReader } from "./textPass.ts"

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

/** Answers prompts, each in a row from when one is free until it is done. */
export const decodeBlocks = <E, E2 = never, R = never>(
  reader: TextReader<E>,
  prompts: ReadonlyArray<BlockPrompt>,
  { ending, onStep, onText, rows, ...options }: BlockOptions<E2, R>
): Effect.Effect<BlockTexts, E | E2, R> =>
  Effect.gen(function* () {
    const fault = misfit(reader, prompts)
    if (fault !== undefined) return yield* Effect.die(fault)
    const watched = onStep !== undefined
    const texts = prompts.map(
      (prompt, number) => new BlockRow({ ...prompt, ending: endingOf(ending, number) }, { ...options, watched })
    )
    const { passes } = yield* writeAll(new OpenBatch<BlockRow, E>(rows, maskStep(reader)), texts, {
      onStep: onStep && (({ forwards, sure, tokens }, number) => onStep(number, forwards, tokens, sure)),
      onDone: onText && ((text, number) => onText(number, text.text()))
    })
    return { passes, texts: texts.map(text => text.text()) }
  })

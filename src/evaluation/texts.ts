/** What texts are worth: under the autoregressive teacher, under an n-gram model that shares nothing with it, and by how varied they are. */
import { Array as Arr, Effect } from "effect"
import type { EngineError } from "../engines/Engine.ts"
import { diversity } from "./diversity.ts"
import type { NgramModel } from "./ngram.ts"
import { type RowLosses, sequenceLosses } from "./sequenceLosses.ts"
import type { ScoredTexts } from "./results.ts"

/** Losses are the teacher's; rows are at least as long as the longest text. */
export interface Judges extends Omit<RowLosses, "pad"> {
  readonly ngram: NgramModel
  /** End a text. */
  readonly ends: ReadonlySet<number>
}

/**
 * Judges the continuations of prompts of `promptTokens` tokens, up to and with the first end of text; what a model wrote behind it is no text.
 */
export const scoreTexts = (
  judges: Judges,
  texts: Arr.NonEmptyReadonlyArray<Int32Array>,
  promptTokens: number
): Effect.Effect<ScoredTexts, EngineError> =>
  Effect.gen(function* () {
    const { ends, ngram } = judges
    const cut = Arr.map(texts, ids => {
      const end = ids.findIndex((id, i) => i >= promptTokens && ends.has(id))
      return end < 0 ? ids : ids.subarray(0, end + 1)
    })
    const teacherNats = texts.map(() => 0)
    // Each in a row of its own.
    const alone = cut.map((_, text) => [text])
    yield* sequenceLosses({ ...judges, pad: 0 }, cut, alone, (losses, text) => {
      for (const value of losses.subarray(promptTokens - 1)) teacherNats[text]! += value
    })
    const { distinctPairs, distinctTokens, texts: varieties } = diversity(cut.map(ids => ids.subarray(promptTokens)))
    return {
      distinctTokens,
      distinctPairs,
      texts: Arr.map(cut, (ids, i) => ({
        tokens: ids.length - promptTokens,
        teacherNats: teacherNats[i]!,
        ngramNats: -ngram.logLikelihood([...ids], promptTokens),
        ...varieties[i]!
      }))
    }
  })

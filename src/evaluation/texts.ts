/** What texts are worth: under the autoregressive teacher, under an n-gram model that shares nothing with it, and by how varied they are. */
import { Effect } from "effect"
import type { EngineError } from "../engines/Engine.ts"
import { perplexity } from "./causal.ts"
import { diversity } from "./diversity.ts"
import type { NgramModel } from "./ngram.ts"
import { type RowLosses, sequenceLosses } from "./sequenceLosses.ts"
import type { TextQuality } from "./results.ts"

/** Losses are the teacher's; rows are at least as long as the longest text. */
export interface Judges extends Omit<RowLosses, "pad"> {
  readonly ngram: NgramModel
  readonly eos: number
}

/**
 * Judges the continuations of prompts of `promptTokens` tokens, up to and with the first end of text; what a model wrote behind it is no text. Perplexities are over all of
 * their tokens together.
 */
export const textQuality = (
  judges: Judges,
  texts: ReadonlyArray<Int32Array>,
  promptTokens: number
): Effect.Effect<TextQuality, EngineError> =>
  Effect.gen(function* () {
    const { eos, ngram } = judges
    const cut = texts.map(ids => {
      const end = ids.indexOf(eos, promptTokens)
      return end < 0 ? ids : ids.subarray(0, end + 1)
    })
    let [nats, ngramNats, tokens] = [0, 0, 0]
    // Each in a row of its own.
    const alone = cut.map((_, text) => [text])
    yield* sequenceLosses({ ...judges, pad: 0 }, cut, alone, losses => {
      for (const value of losses.subarray(promptTokens - 1)) nats += value
    })
    for (const ids of cut) {
      ngramNats -= ngram.logLikelihood([...ids], promptTokens)
      tokens += ids.length - promptTokens
    }
    return {
      teacherPerplexity: perplexity({ nats, tokens }),
      ngramPerplexity: perplexity({ nats: ngramNats, tokens }),
      ...diversity(cut.map(ids => ids.subarray(promptTokens)))
    }
  })

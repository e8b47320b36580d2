/** What texts are worth: under the autoregressive teacher, under an n-gram model that shares nothing with it, and by how varied they are. */
import { Effect } from "effect"
import type { EngineError } from "../engines/Engine.ts"
import { packedArrays } from "../tokens/packing.ts"
import { nextTokenLossData } from "../models/nextTokenLoss.ts"
import { perplexity } from "./causal.ts"
import { diversity } from "./diversity.ts"
import type { TokenLosses } from "../sessions/tokenLosses.ts"
import type { NgramModel } from "./ngram.ts"
import type { TextQuality } from "./results.ts"

export interface Judges {
  /** Losses of the teacher for rows of this shape. */
  readonly losses: TokenLosses
  readonly rows: number
  /** At least that of the longest text. */
  readonly length: number
  readonly ngram: NgramModel
  readonly eos: number
}

/**
 * Judges the continuations of prompts of `promptTokens` tokens, up to and with the first end of text; what a model wrote behind it is no text. Perplexities are over all of
 * their tokens together.
 */
export const textQuality = (
  { eos, length, losses, ngram, rows }: Judges,
  texts: ReadonlyArray<Int32Array>,
  promptTokens: number
): Effect.Effect<TextQuality, EngineError> =>
  Effect.gen(function* () {
    const cut = texts.map(ids => {
      const end = ids.indexOf(eos, promptTokens)
      return end < 0 ? ids : ids.subarray(0, end + 1)
    })
    let [nats, ngramNats, tokens] = [0, 0, 0]
    for (let start = 0; start < cut.length; start += rows) {
      const filled = Array.from({ length: rows }, (_, r) => (start + r < cut.length ? [start + r] : []))
      const values = yield* losses(
        nextTokenLossData(packedArrays(cut, filled, { capacity: length, pad: 0 }), { rows, length })
      )
      for (const [r, ids] of cut.slice(start, start + rows).entries())
        for (let i = promptTokens; i < ids.length; i++) nats += values[r * (length - 1) + i - 1]!
    }
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

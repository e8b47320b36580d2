/** What the scores of some texts come to. */
import { perplexity } from "./causal.ts"
import type { ScoredText, ScoredTexts } from "./results.ts"

/** Judges and diversity of some texts together. */
export interface TextQuality {
  /** Of the new tokens, under the autoregressive teacher, and under an n-gram model: over all of them together. */
  readonly teacherPerplexity: number
  readonly ngramPerplexity: number
  /** Shares of different tokens and pairs among all of them. */
  readonly distinct1: number
  readonly distinct2: number
  /** Share of runs of four tokens that occurred before in their text, and entropy of a text's tokens, nats: means over texts. */
  readonly repetition: number
  readonly entropy: number
}

export const textQuality = ({ distinctPairs, distinctTokens, texts }: ScoredTexts): TextQuality => {
  const total = (of: (text: ScoredText) => number): number => texts.reduce((sum, text) => sum + of(text), 0)
  const tokens = total(text => text.tokens)
  const mean = (of: (text: ScoredText) => number): number => total(of) / texts.length
  return {
    teacherPerplexity: perplexity({ nats: total(text => text.teacherNats), tokens }),
    ngramPerplexity: perplexity({ nats: total(text => text.ngramNats), tokens }),
    distinct1: share(distinctTokens, tokens),
    distinct2: share(
      distinctPairs,
      total(({ pairs }) => pairs)
    ),
    repetition: mean(({ repetition }) => repetition),
    entropy: mean(({ entropy }) => entropy)
  }
}

const share = (some: number, all: number): number => (all === 0 ? 0 : some / all)

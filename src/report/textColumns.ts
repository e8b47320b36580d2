/** What stands in the grid of generated texts: judges' perplexities, and how varied the texts are, each with an interval. */
import type { ScoredText, ScoredTexts } from "../evaluation/results.ts"
import type { Part } from "../evaluation/parts.ts"
import { type TextQuality, textQuality } from "../evaluation/textQuality.ts"
import type { Figure } from "./column.ts"
import { fixed, significant } from "./format.ts"
import { mean } from "./lines.ts"
import { bootstrap, jackknife, type Resampler } from "./statistics.ts"
import { greatest, least } from "../pipeline/lists.ts"

/** A sum over texts, over another. */
interface Mean {
  readonly sum: (text: ScoredText) => number
  readonly over: (text: ScoredText) => number
  /** Of the mean what is shown. */
  readonly shown: (mean: number) => number
}

interface Quality {
  readonly id: keyof TextQuality
  readonly label: string
  readonly format: (value: number) => string
  /** Left out where the quality is one of all texts together alone. */
  readonly mean?: Mean
}

const perToken = (id: "teacherNats" | "ngramNats"): Mean => ({
  sum: text => text[id],
  over: ({ tokens }) => tokens,
  shown: Math.exp
})
const perText = (id: "repetition" | "entropy"): Mean => ({
  sum: text => text[id],
  over: () => 1,
  shown: value => value
})

export const qualities: ReadonlyArray<Quality> = [
  { id: "teacherPerplexity", label: "perplexity: teacher", format: significant, mean: perToken("teacherNats") },
  { id: "ngramPerplexity", label: "n-gram", format: significant, mean: perToken("ngramNats") },
  { id: "distinct2", label: "distinct-2", format: fixed(3) },
  { id: "repetition", label: "repetition", format: fixed(3), mean: perText("repetition") },
  { id: "entropy", label: "entropy, nats", format: fixed(2), mean: perText("entropy") }
]

/** What each text adds to a mean. */
export const partsOf = ({ texts }: ScoredTexts, { over, sum }: Mean): ReadonlyArray<Part> =>
  texts.map(text => ({ sum: sum(text), weight: over(text) }))

/** A quality of each run's texts, all behind the same prompts: what other prompts, and other runs, might have shown is its interval. */
export const qualityFigure = (
  { id, mean: known }: Quality,
  runs: ReadonlyArray<ScoredTexts>,
  resampler: Resampler
): Figure => {
  const values = runs.map(texts => textQuality(texts)[id])
  const documents = runs[0]!.texts.length
  if (known !== undefined && runs.every(({ texts }) => texts.length === documents)) {
    const { shown } = known
    const parts = runs.map(texts => partsOf(texts, known))
    const { high, low, value } = bootstrap(parts, resampler({ documents, runs: runs.length }))
    return { value: shown(value), low: shown(low), high: shown(high) }
  }
  if (runs.length > 1) return { value: mean(values), low: least(values), high: greatest(values) }
  const [all] = runs
  const without = all!.texts.map((text, i) => {
    const others = all!.texts.toSpliced(i, 1) as unknown as ScoredTexts["texts"]
    const { ownPairs, ownTokens } = text
    return textQuality({
      distinctTokens: all!.distinctTokens - ownTokens,
      distinctPairs: all!.distinctPairs - ownPairs,
      texts: others
    })[id]
  })
  return { value: values[0]!, ...(without.length < 2 ? {} : jackknife(values[0]!, without)) }
}

/** How varied texts are: what a low perplexity alone does not tell, since the likeliest texts repeat themselves. */

export interface Diversity {
  /** Share of different tokens among all tokens of the texts together, and of different pairs among all pairs (Li et al. 2016). */
  readonly distinct1: number
  readonly distinct2: number
  /** Share of a text's runs of four tokens that occurred before in it, on average over texts (Welleck et al. 2020, seq-rep-4). */
  readonly repetition: number
  /** Entropy of the tokens' frequencies in a text, nats, on average over texts. */
  readonly entropy: number
}

const runs = (text: ArrayLike<number>, n: number): ReadonlyArray<string> =>
  Array.from({ length: Math.max(0, text.length - n + 1) }, (_, i) =>
    Array.from({ length: n }, (_token, j) => text[i + j]).join(" ")
  )

const distinct = (texts: ReadonlyArray<ArrayLike<number>>, n: number): number => {
  const all = texts.flatMap(text => runs(text, n))
  return all.length === 0 ? 0 : new Set(all).size / all.length
}

const mean = (values: ReadonlyArray<number>): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length

export const diversity = (texts: ReadonlyArray<ArrayLike<number>>): Diversity => ({
  distinct1: distinct(texts, 1),
  distinct2: distinct(texts, 2),
  repetition: mean(
    texts.map(text => {
      const all = runs(text, 4)
      return all.length === 0 ? 0 : 1 - new Set(all).size / all.length
    })
  ),
  entropy: mean(
    texts.map(text => {
      const counts = new Map<number, number>()
      for (const token of Array.from(text)) counts.set(token, (counts.get(token) ?? 0) + 1)
      return [...counts.values()].reduce((sum, count) => sum - (count / text.length) * Math.log(count / text.length), 0)
    })
  )
})

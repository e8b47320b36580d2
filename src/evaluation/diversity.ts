/** How varied texts are: what a low perplexity alone does not tell, since the likeliest texts repeat themselves. */

/** Of one text among others. */
export interface Variety {
  /** Pairs of neighbouring tokens. */
  readonly pairs: number
  /** Different tokens, and different pairs, that no other text has. */
  readonly ownTokens: number
  readonly ownPairs: number
  /** Share of its runs of four tokens that occurred before in it (Welleck et al. 2020, seq-rep-4). */
  readonly repetition: number
  /** Entropy of its tokens' frequencies, nats. */
  readonly entropy: number
}

export interface Diversity {
  /** Different tokens of all texts together, and different pairs: shares of all are distinct-1 and distinct-2 (Li et al. 2016). */
  readonly distinctTokens: number
  readonly distinctPairs: number
  /** In the order of the texts. */
  readonly texts: ReadonlyArray<Variety>
}

const runs = (text: ArrayLike<number>, n: number): ReadonlyArray<string> =>
  Array.from({ length: Math.max(0, text.length - n + 1) }, (_, i) =>
    Array.from({ length: n }, (_token, j) => text[i + j]).join(" ")
  )

/** What is different in texts: of all together, and in each what no other has. */
const different = (texts: ReadonlyArray<ArrayLike<number>>, n: number) => {
  const sets = texts.map(text => new Set(runs(text, n)))
  const holders = new Map<string, number>()
  for (const set of sets) for (const run of set) holders.set(run, (holders.get(run) ?? 0) + 1)
  return { all: holders.size, own: sets.map(set => [...set].filter(run => holders.get(run) === 1).length) }
}

export const diversity = (texts: ReadonlyArray<ArrayLike<number>>): Diversity => {
  const [tokens, pairs] = [different(texts, 1), different(texts, 2)]
  return {
    distinctTokens: tokens.all,
    distinctPairs: pairs.all,
    texts: texts.map((text, i) => {
      const fours = runs(text, 4)
      const counts = new Map<number, number>()
      for (const token of Array.from(text)) counts.set(token, (counts.get(token) ?? 0) + 1)
      const shares = [...counts.values()].map(count => count / text.length)
      return {
        pairs: Math.max(0, text.length - 1),
        ownTokens: tokens.own[i]!,
        ownPairs: pairs.own[i]!,
        repetition: fours.length === 0 ? 0 : 1 - new Set(fours).size / fours.length,
        entropy: shares.reduce((sum, share) => sum - share * Math.log(share), 0)
      }
    })
  }
}

/** Command lines that only look into the ledger: they need little of the program, and should be answered at once. */

export const lookingVerbs = ["runs", "status", "show", "lineage", "query", "diff", "metrics", "why"] as const

/** A path may name a pipeline of the user's own, which is evaluated by the whole program; so is one that `--next` asks about. */
export const isLooking = (words: ReadonlyArray<string>): boolean =>
  (lookingVerbs as ReadonlyArray<string>).includes(words[0] ?? "") &&
  !words.some(word => /\.[cm]?[jt]s(\/|$)|^--next(=|$)/.test(word))

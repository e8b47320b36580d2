/** How far two texts of the same model are the same. */

export interface Agreement {
  /** New tokens, and those of them that are the same at the same place. */
  readonly tokens: number
  readonly same: number
}

/** Of texts with their prompt. */
export const agreement = (a: ArrayLike<number>, b: ArrayLike<number>, promptTokens: number): Agreement => {
  if (a.length !== b.length) throw new Error(`texts of ${a.length} and ${b.length} tokens`)
  let same = 0
  for (let place = promptTokens; place < a.length; place++) if (a[place] === b[place]) same++
  return { tokens: a.length - promptTokens, same }
}

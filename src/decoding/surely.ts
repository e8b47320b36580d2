/** The surest of places whose scores are known within tolerances. */

/** The tolerance of a place from whose logits no token can be drawn. */
export const undrawable = 1e30

/** A place with what was computed of it. */
export interface Bounded {
  readonly place: number
  readonly score: number
  readonly tolerance: number
}

/** Of places those that are among the `n` surest wherever within the tolerances the scores are, and those of which that cannot be said. */
export const surelyAmong = (
  places: ReadonlyArray<Bounded>,
  n: number
): { readonly certain: ReadonlyArray<Bounded>; readonly contested: ReadonlyArray<Bounded> } => {
  const above = (a: Bounded, b: Bounded): boolean => a.score - a.tolerance > b.score + b.tolerance
  const count = (of: (other: Bounded) => boolean): number => places.filter(of).length
  const certain = places.filter(
    each => each.tolerance < undrawable && count(other => other !== each && !above(each, other)) < n
  )
  const hopeful = places.filter(each => !certain.includes(each) && count(other => above(other, each)) < n)
  return { certain, contested: hopeful }
}

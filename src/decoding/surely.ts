/** The surest of places whose scores are known within tolerances. */

/** The tolerance of a place from whose logits no token can be drawn. */
export const undrawable = 1e30

/** A place with what was computed of it. */
export interface Bounded {
  readonly place: number
  readonly score: number
  readonly tolerance: number
}

/** How many of ascending numbers are above a bound, or at least it. */
const countFrom = (ascending: Float64Array, bound: number, { orEqual }: { readonly orEqual: boolean }): number => {
  let [low, high] = [0, ascending.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const value = ascending[middle]!
    if (value > bound || (orEqual && value === bound)) high = middle
    else low = middle + 1
  }
  return ascending.length - low
}

/** Of places those that are among the `n` surest wherever within the tolerances the scores are, and those of which that cannot be said. */
export const surelyAmong = (
  places: ReadonlyArray<Bounded>,
  n: number
): { readonly certain: ReadonlyArray<Bounded>; readonly contested: ReadonlyArray<Bounded> } => {
  // A score that is no number may be anywhere.
  const end = (bound: number, without: number): number => (Number.isNaN(bound) ? without : bound)
  const lows = Float64Array.from(places, ({ score, tolerance }) => end(score - tolerance, -Infinity))
  const highs = Float64Array.from(places, ({ score, tolerance }) => end(score + tolerance, Infinity))
  const [ascendingLows, ascendingHighs] = [lows.toSorted(), highs.toSorted()]
  const certain: Array<Bounded> = []
  const contested: Array<Bounded> = []
  for (const [i, each] of places.entries()) {
    // Itself is one of those that it is not above.
    const maybeAbove = countFrom(ascendingHighs, lows[i]!, { orEqual: true }) - 1
    const surelyAbove = countFrom(ascendingLows, highs[i]!, { orEqual: false })
    if (each.tolerance < undrawable && maybeAbove < n) certain.push(each)
    else if (surelyAbove < n) contested.push(each)
  }
  return { certain, contested }
}

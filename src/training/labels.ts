/** How long a training takes that is to predict some number of tokens. */
import type { Rows } from "../tokens/packing.ts"

/** Masks that depend on how far the training is change with its length; more looks change little. */
const mostLooks = 8

/**
 * The number of steps whose labels come nearest to `wanted`. `perStep` tells how many tokens each step (from 0) of a training of so many steps predicts: along a curriculum that is another number
 * in a longer training, so that lengths are tried, from `first` on, until one fits. Throws RangeError where nothing is predicted.
 */
export const stepsForLabels = (
  wanted: number,
  perStep: (steps: number) => (step: number) => number,
  first: number
): number => {
  let best = { steps: first, off: Infinity }
  for (let look = 0, steps = first; look < mostLooks; look++) {
    const labelled = labelledIn(steps, perStep(steps))
    if (labelled === 0) throw new RangeError("no token is predicted: labelled_tokens would never be reached")
    const off = Math.abs(labelled - wanted)
    if (off < best.off) best = { steps, off }
    const next = Math.max(1, Math.round((steps * wanted) / labelled))
    if (next === steps) break
    steps = next
  }
  return best.steps
}

const labelledIn = (steps: number, labels: (step: number) => number): number =>
  Array.from({ length: steps }, (_, step) => labels(step)).reduce((sum, n) => sum + n, 0)

/** Predicted tokens of rows all of whose supervised tokens are: not those that begin a sequence, nor what does not fit into a row. `supervised`: 1 for those, by sequence. */
export const supervisedIn = (
  rows: Rows,
  supervised: ReadonlyArray<ArrayLike<number>>,
  { capacity }: { readonly capacity: number }
): number => {
  let predicted = 0
  for (const row of rows) {
    let start = 0
    for (const sequence of row) {
      const flags = supervised[sequence]!
      const size = Math.min(flags.length, capacity - start)
      for (let i = 1; i < size; i++) predicted += flags[i]!
      start += size
    }
  }
  return predicted
}

/** A teacher that teaches nothing: what alignment is compared with. */
import { permutation, randomKey } from "../../../tensor/random.ts"
import type { AnchorStates } from "../anchors/anchors.ts"

/**
 * Gives each sequence the states of another one, in a random order of its tokens (over and over where it is shorter): the same vectors, but none belongs to
 * the token that it is given to. Needs two sequences. `lengths`: tokens of each; d: numbers per token.
 */
export const shuffledStates = (
  states: AnchorStates,
  lengths: ReadonlyArray<number>,
  { d, seed }: { readonly d: number; readonly seed: number }
): AnchorStates => {
  const n = lengths.length
  if (n < 2) throw new RangeError("with one sequence there is no other whose states it could be given")
  const circle = permutation(randomKey(seed, "shuffled teacher: sequences"), n)
  const other = new Int32Array(n)
  for (let i = 0; i < n; i++) other[circle[i]!] = circle[(i + 1) % n]!
  return (sequence, layer) => {
    const from = other[sequence]!
    const source = states(from, layer)
    const order = permutation(randomKey(seed, "shuffled teacher: tokens", sequence), lengths[from]!)
    const shuffled = new Float32Array(lengths[sequence]! * d)
    for (let i = 0; i < lengths[sequence]!; i++) {
      const token = order[i % order.length]!
      shuffled.set(source.subarray(token * d, (token + 1) * d), i * d)
    }
    return shuffled
  }
}

/** Random choices that are the same on every machine. */
import { append } from "../pipeline/lists.ts"

/** A generator of numbers in [0, 1) from a seed (mulberry32). */
export type Random = () => number

export const seeded = (seed: number): Random => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A whole number from `low` to `high`, both included. */
export const integer = (random: Random, low: number, high: number): number =>
  low + Math.floor(random() * (high - low + 1))

export const pick = <A>(random: Random, from: ReadonlyArray<A>): A => {
  const chosen = from[integer(random, 0, from.length - 1)]
  if (chosen === undefined) throw new RangeError("nothing to pick from")
  return chosen
}

/** A new order of the items, every order equally likely. */
export const shuffled = <A>(random: Random, items: ReadonlyArray<A>): Array<A> => {
  const rest = [...items]
  const result: Array<A> = []
  while (rest.length > 0) append(result, rest.splice(integer(random, 0, rest.length - 1), 1))
  return result
}

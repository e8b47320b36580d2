/** Seeded random numbers for simulations: the same seed gives the same run. */

/** Numbers in [0, 1), by the mulberry32 generator. */
export const seeded = (seed: number): (() => number) => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** An integer in [0, below). */
export const below = (random: () => number, limit: number): number => Math.floor(random() * limit)

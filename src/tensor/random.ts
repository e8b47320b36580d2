/**
 * Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). A number depends on its key and its index alone, so that data order, masks and noise are the same in every engine,
 * row of the grid, and resumed run.
 */

/** Two words of 32 bits. */
export type RandomKey = readonly [number, number]

/** Bits to rotate by in each of eight consecutive rounds. */
export const threefryRotations = [13, 15, 26, 6, 17, 29, 16, 24] as const
export const threefryRounds = 20
/** Makes the third key word differ from zero even for a zero key. */
export const threefryParity = 0x1bd11bda

/** Encrypts a counter of two words under a key. */
export const threefry = (key: RandomKey, counter: readonly [number, number]): readonly [number, number] => {
  const keys = [key[0] >>> 0, key[1] >>> 0, (threefryParity ^ key[0] ^ key[1]) >>> 0] as const
  let x0 = (counter[0] + keys[0]) >>> 0
  let x1 = (counter[1] + keys[1]) >>> 0
  for (let round = 0; round < threefryRounds; round++) {
    const bits = threefryRotations[round % 8]!
    x0 = (x0 + x1) >>> 0
    x1 = ((x1 << bits) | (x1 >>> (32 - bits))) >>> 0
    x1 = (x1 ^ x0) >>> 0
    if (round % 4 !== 3) continue
    const injection = (round + 1) / 4
    x0 = (x0 + keys[injection % 3]!) >>> 0
    x1 = (x1 + keys[(injection + 1) % 3]! + injection) >>> 0
  }
  return [x0, x1]
}

/** Word `index` of a key's stream: two words a counter. */
const word = (key: RandomKey, index: number): number => {
  const block = Math.floor(index / 2)
  return threefry(key, [block >>> 0, Math.floor(block / 2 ** 32)])[index % 2]!
}

/** A word as a number in [0, 1): a multiple of 2^-24, exact in f32. */
const unit = (bits: number): number => (bits >>> 8) * 2 ** -24

/** Number `index` of a key's stream of uniform numbers in [0, 1). */
export const uniformAt = (key: RandomKey, index: number): number => unit(word(key, index))

/** The first `n` uniform numbers of a key: what the primitive `random` gives. */
export const uniforms = (key: RandomKey, n: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: n }, (_, index) => uniformAt(key, index))

/** `n` standard normal numbers of a key, from number `first` on, by Box and Muller's transform of two uniforms each. */
export const normals = (key: RandomKey, n: number, first = 0): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: n }, (_, at) => {
    // One counter gives both: numbers 2 i and 2 i + 1 of the key's stream of uniform numbers.
    const i = first + at
    const [forRadius, forAngle] = threefry(key, [i >>> 0, Math.floor(i / 2 ** 32)])
    // 1 - u lies in (0, 1], so that the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - unit(forRadius)))
    return radius * Math.cos(2 * Math.PI * unit(forAngle))
  })

/** The numbers 0 to n - 1 in a random order (Fisher and Yates). */
export const permutation = (key: RandomKey, n: number): Int32Array<ArrayBuffer> => {
  const order = Int32Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    // 48 bits, so that the bias towards small indices is below 2^-16 even for 2^32 elements.
    const u = (word(key, 2 * i) * 2 ** 16 + (word(key, 2 * i + 1) >>> 16)) * 2 ** -48
    const j = Math.floor(u * (i + 1))
    const kept = order[i]!
    order[i] = order[j]!
    order[j] = kept
  }
  return order
}

/** The key of a use of randomness: a seed, what for, and counters such as step and example. */
export const randomKey = (seed: number, purpose: string, ...counters: ReadonlyArray<number>): RandomKey =>
  subkey(threefry([seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0], [0, 0]), purpose, counters)

/** The key of one of the uses that a key stands for, as `randomKey` makes one of a seed. */
export const subkey = (of: RandomKey, purpose: string, counters: ArrayLike<number> = []): RandomKey => {
  let key = of
  for (const byte of new TextEncoder().encode(purpose)) key = threefry(key, [byte, 1])
  for (let i = 0; i < counters.length; i++) {
    const counter = counters[i]!
    key = threefry(key, [counter >>> 0, (Math.floor(counter / 2 ** 32) << 2) | 2])
  }
  return key
}

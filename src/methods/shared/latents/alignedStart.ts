/**
 * A start from which attention goes by place: each latent begins as the positions that it stands for, and cross-attention compares them as they are. From a random start latents first
 * have to find out which of them stands for what, and until then they are all the same mean of a text.
 */
import type { Initial, ParameterSpec } from "../../../models/parameters.ts"

export const latentStarts = ["aligned", "random"] as const
export type LatentStart = (typeof latentStarts)[number]

export interface Places {
  readonly latents: number
  readonly positions: number
  readonly heads: number
}

/**
 * The positions from (with) to (without) that a head of a latent stands for. Latents share the positions evenly, one stretch each, and the heads of a latent share its stretch; with fewer positions than
 * heads of latents, several have the same one.
 */
export const standsFor = (
  { heads, latents, positions }: Places,
  latent: number,
  head: number
): readonly [from: number, to: number] => {
  const part = latent * heads + head
  const at = (i: number): number => Math.floor((i * positions) / (latents * heads))
  return [at(part), Math.max(at(part) + 1, at(part + 1))]
}

/** Pairs of a latent and a position of which a head of the one stands for the other. */
const pairs = (places: Places): ReadonlyArray<{ readonly latent: number; readonly head: number; readonly at: number }> =>
  Array.from({ length: places.latents * places.heads }, (_, part) => {
    const [latent, head] = [Math.floor(part / places.heads), part % places.heads]
    const [from, to] = standsFor(places, latent, head)
    return Array.from({ length: to - from }, (_, i) => ({ latent, head, at: from + i }))
  }).flat()

/**
 * Queries [rows, width] that begin as the keys of what they are to find. The part of a head is the sum of its keys' parts, with a deviation of 1, or 0 where there is nothing to find.
 */
export interface AlignedQueries extends Places {
  readonly width: number
  /** Whether the queries are latents and find positions, or the other way round. */
  readonly queries: "latents" | "positions"
  /** The parameter beside them that holds the keys' learned vectors, [keys, width], which begin as standard normal numbers. */
  readonly of: string
  /** Keys before those of the first latent, which stand for no place. */
  readonly unplaced?: number
  /** Where queries are positions: how many places later the token is that each is to find. */
  readonly ahead?: number
}

export const alignedQueries = (
  name: string,
  { ahead = 0, of, queries, unplaced = 0, width, ...places }: AlignedQueries
): ParameterSpec => {
  const { heads, latents, positions } = places
  const [rows, keys] = queries === "latents" ? [latents, positions] : [positions, unplaced + latents]
  const size = width / heads
  return {
    name,
    shape: [rows, width],
    initial: {
      made: normal => {
        const vectors = normal(of, keys * width)
        const values = new Float32Array(rows * width)
        const found = new Float32Array(rows * heads)
        for (const { at, head, latent } of pairs(places)) {
          const [row, key] = queries === "latents" ? [latent, at] : [at - ahead, unplaced + latent]
          if (row < 0) continue
          for (let i = head * size; i < (head + 1) * size; i++) values[row * width + i]! += vectors[key * width + i]!
          found[row * heads + head]!++
        }
        return values.map((value, i) => {
          const count = found[Math.floor(i / width) * heads + Math.floor((i % width) / size)]!
          return count === 0 ? 0 : value / Math.sqrt(count)
        })
      }
    }
  }
}

/** What the projections of an attention begin as: to queries, keys and values, one below the other, and back. */
export interface AttentionStart {
  readonly read: Initial
  readonly back?: Initial
}

export interface LookUp extends Places {
  readonly width: number
  /** Whose queries they are. Latents write down what they find, and positions read it. */
  readonly queries: "latents" | "positions"
  /** Keys that stand for no place. */
  readonly unplaced?: number
}

/**
 * Cross-attention that begins as a look-up: queries and keys are compared as they are, times a number by which the score of a match is twice the logarithm of the number of keys, so that
 * all others together weigh little. Where a latent stands for several positions, each head has a part of the latent to itself, which keeps them apart; what is done with a token is drawn for one head and
 * the same in all, so that what is learnt of it holds wherever the token is. Otherwise values, and the way back, are drawn as always.
 */
export const lookUp = ({ heads, latents, positions, queries, unplaced = 0, width }: LookUp): AttentionStart => {
  const size = width / heads
  const keys = queries === "latents" ? positions : unplaced + latents
  const gain = Math.max(1, (2 * Math.log(keys)) / Math.sqrt(size))
  const compared = identities(width, [gain, 1])
  if (positions <= latents) return { read: below(compared, width, 3 * width, (3 * width) ** -0.5) }
  return queries === "latents"
    ? { read: below(compared, width, size, width ** -0.5), back: identities(width, [1]) }
    : {
        read: identities(width, [gain, 1, 1]),
        back: {
          made: normal => {
            const drawn = normal("weight", width * size)
            const at = (i: number): number => Math.floor(i / width) * size + (i % size)
            return Float32Array.from({ length: width * width }, (_, i) => drawn[at(i)]! * size ** -0.5)
          }
        }
      }
}

/** Below two maps of a width a third, whose rows are the last of so many that are drawn, over and over. */
const below = (maps: Made, width: number, rows: number, deviation: number): Made => ({
  made: normal => {
    const drawn = normal("weight", rows * width).subarray(Math.max(0, rows - width) * width)
    const values = new Float32Array(3 * width * width)
    values.set(maps.made(normal))
    for (let i = 0; i < width * width; i++) values[2 * width * width + i] = drawn[i % drawn.length]! * deviation
    return values
  }
})

type Made = Extract<Initial, { readonly made: unknown }>

/** Identities, each times a number, one below the other. */
export const identities = (width: number, factors: ReadonlyArray<number>): Made => ({
  made: () => {
    const values = new Float32Array(factors.length * width * width)
    for (const [part, factor] of factors.entries())
      for (let i = 0; i < width; i++) values[(part * width + i) * width + i] = factor
    return values
  }
})

/** A map [to, from] to the first `to` of what it reads. */
export const firstOf = (to: number, from: number): Made => ({
  made: () => Float32Array.from({ length: to * from }, (_, i) => (i % from === Math.floor(i / from) ? 1 : 0))
})

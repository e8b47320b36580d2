/**
 * A start from which attention goes by place: the vector of a latent's place begins as those of the positions that the latent stands for. From a random start latents first have to find
 * out which of them stands for what, and until then they are all the same mean of a text.
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
const pairs = (
  places: Places
): ReadonlyArray<{ readonly latent: number; readonly head: number; readonly at: number }> =>
  Array.from({ length: places.latents * places.heads }, (_, part) => {
    const [latent, head] = [Math.floor(part / places.heads), part % places.heads]
    const [from, to] = standsFor(places, latent, head)
    return Array.from({ length: to - from }, (_, i) => ({ latent, head, at: from + i }))
  }).flat()

/** Places of queries, [rows, width], that begin as those of the keys that they are to find. */
export interface AlignedPlaces extends Places {
  readonly width: number
  /** Whether the queries are latents and find positions, or the other way round. */
  readonly queries: "latents" | "positions"
  /** The parameter beside them with the places of the keys, [keys, width], which begin as standard normal numbers. */
  readonly of: string
  /** Keys before those of the first latent, which stand for no place. */
  readonly unplaced?: number
  /** Where queries are positions: how many places later the token is that each is to find. */
  readonly ahead?: number
}

/**
 * The part of a head is the sum of its keys' parts, divided by its deviation, and times a number by which the score of a match is twice the logarithm of the number of keys, so that all others
 * together weigh little; 0 where there is nothing to find.
 */
export const alignedPlaces = (
  name: string,
  { ahead = 0, of, queries, unplaced = 0, width, ...places }: AlignedPlaces
): ParameterSpec => {
  const { heads, latents, positions } = places
  const [rows, keys] = queries === "latents" ? [latents, positions] : [positions, unplaced + latents]
  const size = width / heads
  const gain = Math.max(1, (2 * Math.log(keys)) / Math.sqrt(size))
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
          return count === 0 ? 0 : (gain * value) / Math.sqrt(count)
        })
      }
    }
  }
}

/** What the projections of an attention begin as: to queries, keys and values, one below the other, and back. */
export interface AttentionStart {
  readonly read?: Initial
  readonly back?: Initial
}

/**
 * Cross-attention between latents and more positions than those. Each head has a part of a latent to itself, by which the latent keeps several tokens apart: what latents find is brought there as
 * it is, and positions take it from there as it is. What is done with a token on either way is drawn for one head and the same in all, so that what is learnt of it holds wherever the token
 * is. Undefined where no latent stands for several positions: there all is drawn.
 */
export const partsOfLatents = ({
  heads,
  latents,
  positions,
  queries,
  width
}: Places & Pick<AlignedPlaces, "queries" | "width">): AttentionStart | undefined => {
  if (positions <= latents) return undefined
  const size = width / heads
  const values = (third: (normal: Normal) => Float32Array): Initial => ({
    made: normal => {
      const all = normal("weight", 3 * width * width).map(x => x * (3 * width) ** -0.5)
      all.set(third(normal), 2 * width * width)
      return Float32Array.from(all)
    }
  })
  return queries === "latents"
    ? {
        read: values(normal => {
          const drawn = normal("weight", size * width)
          return Float32Array.from({ length: width * width }, (_, i) => drawn[i % drawn.length]! * width ** -0.5)
        }),
        back: identity(width)
      }
    : {
        read: values(identity(width).made),
        back: {
          made: normal => {
            const drawn = normal("weight", width * size)
            const at = (i: number): number => Math.floor(i / width) * size + (i % size)
            return Float32Array.from({ length: width * width }, (_, i) => drawn[at(i)]! * size ** -0.5)
          }
        }
      }
}

type Made = Extract<Initial, { readonly made: unknown }>
type Normal = Parameters<Made["made"]>[0]

export const identity = (width: number): Made => firstOf(width, width)

/** A map [to, from] to the first `to` of what it reads. */
export const firstOf = (to: number, from: number): Made => ({
  made: () => Float32Array.from({ length: to * from }, (_, i) => (i % from === Math.floor(i / from) ? 1 : 0))
})

/** Draws of masks: which tokens of held-out sequences are masked together. The same for every model. */
import { packedArrays, type PackedArrays, type Rows } from "../tokens/packing.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import type { Asked } from "../sessions/maskedLosses.ts"
import { permutation, randomKey, uniformAt } from "../tensor/random.ts"

/** A sequence, and 1 for each token that may be masked. The first token is given: nothing predicts it. */
export interface Evaluated {
  readonly ids: Int32Array
  readonly maskable: ArrayLike<number>
}

/** How masks are drawn: `draws` times for each sequence. */
export interface Drawing {
  readonly draws: number
  readonly seed: number
  /** Tokens of a block, where each block of a sequence has draws of its own. Left out: the sequence is drawn as one. */
  readonly blockSize?: number | undefined
}

/** A part of a sequence that is drawn by itself, a block or all of it. */
export interface PartDraws {
  /** How many of its tokens may be masked, at least one. */
  readonly maskable: number
  /** How many of them each draw masks. */
  readonly sizes: ReadonlyArray<number>
}

/** The draws of a sequence. */
export interface SequenceDraws {
  /** How many of its tokens may be masked. */
  readonly maskable: number
  /** Share of these that each draw masks. */
  readonly shares: ReadonlyArray<number>
  /** Those that have tokens which may be masked. */
  readonly parts: ReadonlyArray<PartDraws>
  /** The places that a draw masks, part by part. */
  readonly places: (draw: number) => Int32Array
}

/**
 * Of n places that may be masked, draw j masks k = ceil(t n), t uniform in stratum j of (0, 1], which is cut into as many equal strata as there are draws; so over all
 * draws k is uniform on 1 to n. The places are the next k of one random order, from where the draw before it ended, around its end: each draw's are a random subset,
 * and draws that follow each other mask different tokens as far as they can. Of several blocks, block b begins with stratum b: the blocks of a draw have different shares.
 */
export const drawMasks = (
  { ids, maskable }: Evaluated,
  sequence: number,
  { blockSize = Infinity, draws, seed }: Drawing
): SequenceDraws => {
  const all = Array.from(ids.keys()).filter(i => i > 0 && maskable[i] === 1)
  const blocks = [...Map.groupBy(all, i => Math.floor(i / blockSize)).values()]
  const drawn = blocks.map((places, part) => {
    const n = places.length
    // What is drawn as one is the same whether it is a block or not.
    const name = part === 0 ? [sequence] : [sequence, part]
    const key = randomKey(seed, "bound: shares of masks", ...name)
    const order = permutation(randomKey(seed, "bound: order of masks", ...name), n)
    // 1 - u lies in (0, 1]; rounding may not lead out of 1 to n.
    const sizes = Array.from({ length: draws }, (_, j) => {
      const stratum = (j + part) % draws
      return Math.min(n, Math.max(1, Math.ceil(((stratum + 1 - uniformAt(key, j)) * n) / draws)))
    })
    const starts = sizes.map((_, j) => sizes.slice(0, j).reduce((sum, k) => sum + k, 0))
    const own = (draw: number): Int32Array =>
      Int32Array.from({ length: sizes[draw]! }, (_, i) => places[order[(starts[draw]! + i) % n]!]!)
    return { maskable: n, sizes, places: own }
  })
  return {
    maskable: all.length,
    shares: Array.from({ length: draws }, (_, j) => drawn.reduce((sum, { sizes }) => sum + sizes[j]!, 0) / all.length),
    parts: drawn,
    places: draw => Int32Array.from(drawn.flatMap(({ places }) => [...places(draw)]))
  }
}

/** The draw whose share of masks is nearest to a half. */
export const nearestHalf = ({ shares }: Pick<SequenceDraws, "shares">): number =>
  shares.reduce((best, share, draw) => (Math.abs(share - 0.5) < Math.abs(shares[best]! - 0.5) ? draw : best), 0)

/** A sequence with some of its tokens masked. */
export interface Masked {
  readonly ids: Int32Array
  readonly places: Int32Array
}

/** Rows of masked sequences: as a model reads them, as they are, and what is asked: their masked tokens, sequence by sequence in the order of the rows. Sequences fit into their rows. */
export const maskedRows = (
  sequences: ReadonlyArray<Masked>,
  filled: Rows,
  { length, mask, pad, rows }: BatchShape & { readonly mask: number; readonly pad: number }
): { readonly clean: PackedArrays; readonly read: PackedArrays; readonly asked: Asked } => {
  const all = Array.from({ length: rows }, (_, r) => filled[r] ?? [])
  const clean = packedArrays(
    sequences.map(({ ids }) => ids),
    all,
    { capacity: length, pad }
  )
  const places = all.flatMap((row, r) => {
    let start = r * length
    return row.flatMap(index => {
      const { ids, places: own } = sequences[index]!
      const first = start
      start += ids.length
      return Array.from(own, place => first + place)
    })
  })
  const ids = clean.ids.slice()
  for (const place of places) ids[place] = mask
  const asked = { places: Int32Array.from(places), targets: Int32Array.from(places, place => clean.ids[place]!) }
  return { clean, read: { ...clean, ids }, asked }
}

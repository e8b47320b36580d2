/** What a masked-diffusion model is worth on held-out sequences: a bound of the likelihood, and the loss by the share of masks, of the same passes. */
import { Effect } from "effect"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import type { MaskedLosses } from "../sessions/maskedLosses.ts"
import { drawMasks, type Drawing, type Evaluated, type Masked, maskedRows } from "./maskDraws.ts"
import type { Part } from "./parts.ts"
import { packed } from "./sequenceLosses.ts"

export interface DiffusionEvaluation extends BatchShape, Drawing {
  readonly losses: MaskedLosses
  readonly pad: number
  readonly mask: number
  /** Bands of equal width into which shares of masks are sorted. Default 1. */
  readonly bands?: number
}

/** What a sequence adds. */
export interface SequenceBound {
  /** Estimate of the bound of its negative log-likelihood, nats. */
  readonly nats: number
  /** Tokens that may be masked. */
  readonly tokens: number
  /** Mean losses of its draws in each band, each draw weighing as many tokens as the sequence has. */
  readonly bands: ReadonlyArray<Part>
}

export interface Bound {
  /** Upper bound of the negative log-likelihood, nats per token that may be masked. */
  readonly nats: number
  /**
   * Standard error of its estimate by the draws of masks; the choice of sequences is not in it. As if draws were independent: since their numbers of
   * masks are spread evenly, the true one is smaller.
   */
  readonly standardError: number
  readonly tokens: number
  /** In the order of the sequences. */
  readonly sequences: ReadonlyArray<SequenceBound>
}

const nothing = () => Effect.void

/** How results name the estimate that `likelihoodBound` makes. */
export const boundEstimator = ({ blockSize, draws }: Pick<Drawing, "blockSize" | "draws">): string =>
  `k-subset Monte Carlo, ${draws} draws per ${blockSize === undefined ? "sequence" : `block of ${blockSize} tokens behind the clean blocks before it`}, one in each of ${draws} strata of the share of masks; the first token of a sequence is given`

/** The band of k masks of n tokens: band i holds shares above i / bands, up to (i + 1) / bands. */
export const bandOf = (k: number, n: number, bands: number): number => Math.ceil((k * bands) / n) - 1

/**
 * Monte-Carlo estimate of the bound (the k-subset form of the 1/t integral; Nie et al. 2025, LLaDA): of a sequence of n maskable tokens, each of `draws` random subsets of k tokens is
 * masked, k by strata (`drawMasks`), and (n/k) times the sum of its losses estimates the sequence's negative log-likelihood from above. The mean loss of the
 * same draws by their share of masks k/n: over bands of equal width, it averages to the bound. With `blockSize` each block is estimated so by itself, and a sequence's estimate is the sum of its blocks': the
 * bound of block diffusion, where the losses read each block behind clean ones (Arriola et al. 2025, BD3-LM).
 */
export const likelihoodBound = Effect.fn("likelihoodBound")(function* (
  { bands = 1, blockSize, draws, losses, mask, pad, seed, ...shape }: DiffusionEvaluation,
  given: ReadonlyArray<Evaluated>,
  onRows: (done: number, total: number) => Effect.Effect<void> = nothing
) {
  // What does not fit into a row is neither read nor counted.
  const sequences = given.map(({ ids, maskable }) => ({ ids: ids.subarray(0, shape.length), maskable }))
  const rows = packed(
    sequences.map(({ ids }) => ids),
    shape
  )
  const drawn = sequences.map((sequence, i) => drawMasks(sequence, i, { blockSize, draws, seed }))
  const estimates = sequences.map(() => new Float64Array(draws))
  const parts = sequences.map(() => Array.from({ length: bands }, () => ({ sum: 0, weight: 0 })))
  // Every draw packs the sequences alike; a pass goes on where the one before it ended.
  const total = draws * rows.length
  for (let start = 0; start < total; start += shape.rows) {
    const masked: Array<Masked & { readonly sequence: number; readonly draw: number }> = []
    const filled = Array.from({ length: Math.min(shape.rows, total - start) }, (_, r) => {
      const draw = Math.floor((start + r) / rows.length)
      return rows[(start + r) % rows.length]!.flatMap(sequence => {
        if (drawn[sequence]!.maskable === 0) return []
        const places = drawn[sequence]!.places(draw)
        return [masked.push({ ids: sequences[sequence]!.ids, places, sequence, draw }) - 1]
      })
    })
    const { asked, read } = maskedRows(masked, filled, { ...shape, mask, pad })
    const found = yield* losses(read, asked)
    let at = 0
    for (const { draw, sequence } of masked)
      for (const { maskable: n, sizes } of drawn[sequence]!.parts) {
        const k = sizes[draw]!
        let sum = 0
        for (const loss of found.subarray(at, (at += k))) sum += loss
        const estimate = (n / k) * sum
        estimates[sequence]![draw]! += estimate
        const band = parts[sequence]![bandOf(k, n, bands)]!
        band.sum += estimate
        band.weight += n
      }
    yield* onRows(Math.min(start + shape.rows, total), total)
  }
  let [nats, tokens, variance] = [0, 0, 0]
  const each = sequences.map((_, i): SequenceBound => {
    const { maskable } = drawn[i]!
    const mean = estimates[i]!.reduce((sum, estimate) => sum + estimate, 0) / draws
    if (draws > 1)
      variance += estimates[i]!.reduce((sum, estimate) => sum + (estimate - mean) ** 2, 0) / (draws - 1) / draws
    nats += mean
    tokens += maskable
    return { nats: mean, tokens: maskable, bands: parts[i]! }
  })
  const bound: Bound = { nats: nats / tokens, standardError: Math.sqrt(variance) / tokens, tokens, sequences: each }
  return bound
})

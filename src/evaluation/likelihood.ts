/** What a masked-diffusion model is worth on held-out sequences: a bound of the likelihood, and the loss at fixed shares of masks. */
import { Effect } from "effect"
import { permutation, randomKey, uniformAt } from "../tensor/random.ts"
import { packed, type RowLosses, sequenceLosses } from "./sequenceLosses.ts"

export interface DiffusionEvaluation extends RowLosses {
  readonly mask: number
  readonly seed: number
}

/** A sequence, and 1 for each token that may be masked. The first token is given: nothing predicts it. */
export interface Evaluated {
  readonly ids: Int32Array
  readonly maskable: ArrayLike<number>
}

/** A sequence with some of its tokens masked. */
interface Draw {
  readonly sequence: number
  readonly places: ReadonlyArray<number>
}

const placesOf = ({ ids, maskable }: Evaluated): ReadonlyArray<number> =>
  Array.from(ids.keys()).filter(i => i > 0 && maskable[i] === 1)

/** Sums of the losses of each draw's masked tokens; draws are packed into rows as they come. What did not fit into a row counts nothing. */
const lossesOfDraws = Effect.fn("lossesOfDraws")(function* <E>(
  evaluation: DiffusionEvaluation,
  sequences: ReadonlyArray<Evaluated>,
  draws: ReadonlyArray<Draw>,
  onRows: (done: number, total: number) => Effect.Effect<void, E>
) {
  const sums = new Float64Array(draws.length)
  const clean = draws.map(({ sequence }) => sequences[sequence]!.ids)
  const read = draws.map(({ places, sequence }) => {
    const ids = sequences[sequence]!.ids.slice()
    for (const place of places) ids[place] = evaluation.mask
    return ids
  })
  const visit = (losses: Float32Array, draw: number) => {
    for (const place of draws[draw]!.places) sums[draw]! += losses[place - 1] ?? 0
  }
  yield* sequenceLosses(evaluation, clean, packed(clean, evaluation), visit, { read, onRows })
  return sums
})

/** A sequence's part of the bound. */
export interface SequenceBound {
  /** Estimate of the bound of its negative log-likelihood, nats. */
  readonly nats: number
  /** Tokens that may be masked. */
  readonly tokens: number
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
export const boundEstimator = (draws: number): string =>
  `k-subset Monte Carlo, ${draws} draws per sequence, numbers of masks spread evenly; the first token of a sequence is given`

/**
 * Monte-Carlo estimate of the bound (the k-subset form of the 1/t integral; Nie et al. 2025, LLaDA): for a sequence of n maskable tokens, `draws`
 * numbers of masks k, evenly spread over 1 to n from a random start; for each a random subset of k tokens is masked, and (n/k) times the sum of its losses
 * estimates the sequence's negative log-likelihood from above.
 */
export const likelihoodBound = Effect.fn("likelihoodBound")(function* (
  evaluation: DiffusionEvaluation,
  sequences: ReadonlyArray<Evaluated>,
  draws: number,
  onRows: (done: number, total: number) => Effect.Effect<void> = nothing
) {
  const all: Array<Draw & { readonly factor: number }> = []
  const parts: Array<{ nats: number; readonly tokens: number }> = []
  for (const [sequence, evaluated] of sequences.entries()) {
    const places = placesOf(evaluated)
    const n = places.length
    parts.push({ nats: 0, tokens: n })
    if (n === 0) continue
    const first = Math.floor(uniformAt(randomKey(evaluation.seed, "bound: first k", sequence), 0) * n)
    for (let j = 0; j < draws; j++) {
      const k = 1 + ((first + Math.floor((j * n) / draws)) % n)
      const order = permutation(randomKey(evaluation.seed, "bound: subset", sequence, j), n)
      all.push({ sequence, places: Array.from(order.subarray(0, k), i => places[i]!), factor: n / k })
    }
  }
  const sums = yield* lossesOfDraws(evaluation, sequences, all, onRows)
  let variance = 0
  for (let start = 0; start < all.length; start += draws) {
    const estimates = all.slice(start, start + draws).map(({ factor }, i) => factor * sums[start + i]!)
    const mean = estimates.reduce((sum, estimate) => sum + estimate, 0) / draws
    parts[all[start]!.sequence]!.nats = mean
    if (draws > 1)
      variance += estimates.reduce((sum, estimate) => sum + (estimate - mean) ** 2, 0) / (draws - 1) / draws
  }
  const [nats, tokens] = parts.reduce(([sum, n], part) => [sum + part.nats, n + part.tokens], [0, 0])
  const bound: Bound = { nats: nats / tokens, standardError: Math.sqrt(variance) / tokens, tokens, sequences: parts }
  return bound
})

/** Mean loss of masked tokens, each masked with probability `ratio`; the same masks in every call. */
export const lossAtRatio = Effect.fn("lossAtRatio")(function* (
  evaluation: DiffusionEvaluation,
  sequences: ReadonlyArray<Evaluated>,
  ratio: number,
  onRows: (done: number, total: number) => Effect.Effect<void> = nothing
) {
  const draws = sequences.map((evaluated, sequence): Draw => {
    const key = randomKey(evaluation.seed, "loss at a ratio", sequence)
    return { sequence, places: placesOf(evaluated).filter(place => uniformAt(key, place) < ratio) }
  })
  const sums = yield* lossesOfDraws(evaluation, sequences, draws, onRows)
  const masked = draws.reduce((sum, { places }) => sum + places.length, 0)
  return masked === 0 ? 0 : sums.reduce((sum, loss) => sum + loss, 0) / masked
})

/** The parts of a bound by document, for documents of which each has some of the sequences, in order. */
export const documentBounds = (
  documents: ReadonlyArray<ReadonlyArray<unknown>>,
  sequences: ReadonlyArray<SequenceBound>
): ReadonlyArray<SequenceBound> => {
  let at = 0
  return documents.map(own => {
    const parts = sequences.slice(at, (at += own.length))
    return {
      nats: parts.reduce((sum, { nats }) => sum + nats, 0),
      tokens: parts.reduce((sum, { tokens }) => sum + tokens, 0)
    }
  })
}

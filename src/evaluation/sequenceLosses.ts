/** Losses of sequences that are packed into rows, sequence by sequence: what every likelihood is summed from. */
import { Effect } from "effect"
import { packedArrays, packRows, type Rows } from "../tokens/packing.ts"
import { type BatchShape, nextTokenLossData } from "../models/nextTokenLoss.ts"
import type { TokenLosses } from "../sessions/tokenLosses.ts"

/** Losses of rows of this shape. */
export interface RowLosses extends BatchShape {
  readonly losses: TokenLosses
  readonly pad: number
}

/** As few rows as hold all sequences. */
export const packed = (sequences: ReadonlyArray<ArrayLike<number>>, { length }: BatchShape): Rows =>
  packRows(
    sequences.map(sequence => sequence.length),
    sequences.keys(),
    { capacity: length }
  )

/**
 * Hands over the losses of each sequence's tokens but its first, nats, in the order of `all` rows; of a sequence that is longer than a row, those of its beginning.
 */
export const sequenceLosses = Effect.fn("sequenceLosses")(function* <E = never>(
  { length, losses, pad, rows }: RowLosses,
  sequences: ReadonlyArray<ArrayLike<number>>,
  all: Rows,
  visit: (losses: Float32Array, sequence: number) => void,
  onRows?: (done: number, total: number) => Effect.Effect<void, E>
) {
  for (let start = 0; start < all.length; start += rows) {
    const filled = Array.from({ length: rows }, (_, r) => all[start + r] ?? [])
    const arrays = packedArrays(sequences, filled, { capacity: length, pad })
    const values = yield* losses(nextTokenLossData(arrays, { rows, length }))
    for (const [r, row] of filled.entries()) {
      let at = r * (length - 1)
      for (const sequence of row) {
        const own = sequences[sequence]!.length
        visit(values.subarray(at, Math.min(at + own - 1, (r + 1) * (length - 1))), sequence)
        at += own
      }
    }
    if (onRows !== undefined) yield* onRows(Math.min(start + rows, all.length), all.length)
  }
})

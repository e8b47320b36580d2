/** Sequences that are computed together. */
import { bucketOf } from "../../../sessions/hiddenStates.ts"

/** Of all rows of a pass, padding included; a longer sequence is a pass of its own. */
const tokensPerPass = 2048

export interface Batches {
  /** Of each row, tokens. */
  readonly length: number
  /** Of a pass, at most. */
  readonly rows: number
  readonly batches: ReadonlyArray<ReadonlyArray<number>>
}

/** Sequences, by their numbers, in rows of about their length: those of like length are done after like numbers of steps. `most`: rows of a pass, where that is limited, too. */
export const batchesOf = (
  sequences: ReadonlyArray<number>,
  tokensOf: (sequence: number) => number,
  most = Infinity
): ReadonlyArray<Batches> => {
  const sorted = sequences.toSorted((a, b) => tokensOf(a) - tokensOf(b))
  return [...Map.groupBy(sorted, i => bucketOf(tokensOf(i)))].map(([length, members]) => {
    const rows = Math.max(1, Math.min(members.length, most, Math.floor(tokensPerPass / length)))
    const batches = Array.from({ length: Math.ceil(members.length / rows) }, (_, b) =>
      members.slice(b * rows, (b + 1) * rows)
    )
    return { length, rows, batches }
  })
}

/** Packs token sequences of different lengths into rows of one length. */

/** Indices of the sequences that lie one after the other in each row. */
export type Rows = ReadonlyArray<ReadonlyArray<number>>

/** Samples that wait to be packed, by default; `dyn_bsz_buffer_size` of the field's configurations. */
export const defaultBufferSize = 200

/**
 * Rows of at most `capacity` tokens. A buffer of sequences is kept full in the order given; each row takes, in the buffer's order, every
 * sequence that still fits. The first is always taken, cut by whoever fills the row if it is longer than that.
 */
export const packRows = (
  lengths: ReadonlyArray<number>,
  order: Iterable<number>,
  { bufferSize = defaultBufferSize, capacity }: { readonly bufferSize?: number; readonly capacity: number }
): Rows => {
  const rows: Array<ReadonlyArray<number>> = []
  const incoming = order[Symbol.iterator]()
  let buffer: Array<number> = []
  const fill = (): void => {
    while (buffer.length < bufferSize) {
      const next = incoming.next()
      if (next.done === true) return
      buffer.push(next.value)
    }
  }
  for (fill(); buffer.length > 0; fill()) {
    const row: Array<number> = []
    let room = capacity
    const rest: Array<number> = []
    for (const index of buffer) {
      const length = lengths[index]!
      if (row.length === 0 || length <= room) {
        row.push(index)
        room -= length
      } else rest.push(index)
    }
    rows.push(row)
    buffer = rest
  }
  return rows
}

/** The tensors of packed rows, each [rows, capacity], row-major. */
export interface PackedArrays {
  readonly ids: Int32Array<ArrayBuffer>
  /** Number of the sequence within its row; -1 where there is none (padding). */
  readonly segmentIds: Int32Array<ArrayBuffer>
  /** Position within the sequence; 0 in padding. */
  readonly positions: Int32Array<ArrayBuffer>
}

/** Lays rows of sequences out; what is longer than the row is cut off, the rest is filled with `pad`. */
export const packedArrays = (
  sequences: ReadonlyArray<ArrayLike<number>>,
  rows: Rows,
  { capacity, pad }: { readonly capacity: number; readonly pad: number }
): PackedArrays => {
  const ids = new Int32Array(rows.length * capacity).fill(pad)
  const segmentIds = new Int32Array(rows.length * capacity).fill(-1)
  const positions = new Int32Array(rows.length * capacity)
  for (const [r, row] of rows.entries()) {
    let at = r * capacity
    for (const [document, index] of row.entries()) {
      const sequence = sequences[index]!
      const length = Math.min(sequence.length, (r + 1) * capacity - at)
      for (let i = 0; i < length; i++, at++) {
        ids[at] = sequence[i]!
        segmentIds[at] = document
        positions[at] = i
      }
    }
  }
  return { ids, segmentIds, positions }
}

/** Packed rows of sequences, each masked on its own: the data of masked diffusion. */
import type { Epochs } from "../../data/epochs.ts"
import { packedArrays, type Rows } from "../../data/packing.ts"
import type { Masking } from "../../diffusion/corruption.ts"
import { columnsOf, shiftedData } from "../../models/shifted.ts"
import type { Averaging } from "../objective.ts"

export interface DiffusionData {
  readonly sequences: ReadonlyArray<Int32Array>
  readonly epochs: Epochs
  readonly microBatchRows: number
  readonly length: number
  readonly pad: number
  /** Id of the mask token. */
  readonly mask: number
  readonly masking: Masking
  readonly averaging: Averaging
}

export interface CorruptedRows {
  /** With masks among the ids. */
  readonly arrays: ReturnType<typeof shiftedData>
  /** f32 [columns]: t of the document where the token is masked and can be predicted, else 0. */
  readonly ratios: Float32Array<ArrayBuffer>
  /** [rows x length]: 1 where a mask stands. */
  readonly replaced: Uint8Array
  /** Predicted tokens that are masked, and that could have been. */
  readonly masked: number
  readonly maskable: number
}

/** Lays sequences out and masks each on its own. The first token of a sequence may be masked, but nothing predicts it. */
export const corruptRows = (
  rows: Rows,
  step: number,
  { length, mask, masking, pad, sequences }: DiffusionData
): CorruptedRows => {
  const shape = { rows: rows.length, length }
  const clean = shiftedData(packedArrays(sequences, rows, { capacity: length, pad }), shape)
  const ids = clean.ids.slice()
  const ratios = new Float32Array(columnsOf(shape))
  const replaced = new Uint8Array(ids.length)
  let [masked, maskable] = [0, 0]
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const example of row) {
      const drawn = masking(example, step)
      const size = Math.min(sequences[example]!.length, length - start)
      for (let i = 0; i < size; i++) {
        if (i > 0) maskable += drawn.maskable[i]!
        if (drawn.masked[i] !== 1) continue
        ids[r * length + start + i] = mask
        replaced[r * length + start + i] = 1
        if (i === 0 || drawn.labelled[i] !== 1) continue
        ratios[r * (length - 1) + start + i - 1] = drawn.ratio
        masked++
      }
      start += size
    }
  }
  return { arrays: { ...clean, ids }, ratios, replaced, masked, maskable }
}

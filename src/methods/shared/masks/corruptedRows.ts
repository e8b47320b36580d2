/** Packed rows of sequences, each masked on its own: the data of masked diffusion. */
import type { Epochs } from "../../../tokens/epochs.ts"
import { packedArrays, type Rows } from "../../../tokens/packing.ts"
import { complemented, type Corruption, type Masking, ratioAt } from "./corruption.ts"
import { predictionCount, nextTokenLossData } from "../../../models/nextTokenLoss.ts"
import type { Averaging } from "../../../training/objective.ts"

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
  /** Whether each block of a sequence is read behind clean ones: the pass reads the rows with and without masks. Default false. */
  readonly halves?: boolean
}

/** A sequence in its row. */
export interface Placed {
  /** First place, row x length + column, and how many tokens follow from there. */
  readonly start: number
  readonly size: number
  readonly corruption: Corruption
  /** Tokens behind the first that may be masked. */
  readonly maskable: number
}

export interface CorruptedRows {
  /** With masks among the ids. */
  readonly arrays: ReturnType<typeof nextTokenLossData>
  /** The ids without masks. */
  readonly clean: Int32Array<ArrayBuffer>
  /** f32 [columns]: t of the document where the token is masked and can be predicted, else 0. */
  readonly ratios: Float32Array<ArrayBuffer>
  /** [rows x length]: 1 where a mask stands. */
  readonly replaced: Uint8Array
  readonly placed: ReadonlyArray<Placed>
  /** Predicted tokens that are masked, and that could have been. */
  readonly masked: number
  readonly maskable: number
}

/** Column that predicts the token at a place, which is not the first of its row. */
export const columnOf = (place: number, length: number): number => {
  const row = Math.floor(place / length)
  return place - row - 1
}

/**
 * Lays sequences out and masks each on its own. The first token of a sequence may be masked, but nothing predicts it. `complement` masks what is else
 * left clean.
 */
export const corruptRows = (
  rows: Rows,
  step: number,
  { length, mask, masking, pad, sequences }: DiffusionData,
  { complement = false }: { readonly complement?: boolean } = {}
): CorruptedRows => {
  const shape = { rows: rows.length, length }
  const clean = nextTokenLossData(packedArrays(sequences, rows, { capacity: length, pad }), shape)
  const ids = clean.ids.slice()
  const ratios = new Float32Array(predictionCount(shape))
  const replaced = new Uint8Array(ids.length)
  const placed: Array<Placed> = []
  let masked = 0
  for (const [r, row] of rows.entries()) {
    let start = r * length
    for (const example of row) {
      const drawn = masking(example, step)
      const corruption = complement ? complemented(drawn) : drawn
      const size = Math.min(sequences[example]!.length, (r + 1) * length - start)
      let maskable = 0
      for (let i = 0; i < size; i++) {
        if (i > 0) maskable += corruption.maskable[i]!
        if (corruption.masked[i] !== 1) continue
        ids[start + i] = mask
        replaced[start + i] = 1
        if (i === 0 || corruption.labelled[i] !== 1) continue
        ratios[columnOf(start + i, length)] = ratioAt(corruption, i)
        masked++
      }
      placed.push({ start, size, corruption, maskable })
      start += size
    }
  }
  const maskable = placed.reduce((sum, { maskable: own }) => sum + own, 0)
  return { arrays: { ...clean, ids }, clean: clean.ids, ratios, replaced, placed, masked, maskable }
}

/** Tokens of the rows of a step that are to be predicted: `masked` of `corruptRows`, without laying anything out. `complementary`: those of the complements as well. */
export const countLabelled = (
  rows: Rows,
  step: number,
  { length, masking, sequences }: Pick<DiffusionData, "length" | "masking" | "sequences">,
  complementary = false
): number => {
  let labelled = 0
  for (const row of rows) {
    let start = 0
    for (const example of row) {
      const size = Math.min(sequences[example]!.length, length - start)
      const drawn = masking(example, step)
      for (const corruption of complementary ? [drawn, complemented(drawn)] : [drawn])
        for (let i = 1; i < size; i++) labelled += corruption.masked[i]! & corruption.labelled[i]!
      start += size
    }
  }
  return labelled
}

/** Mean t of a micro-batch: every token counts with the t of its sequence. */
export const meanRatio = ({ placed }: CorruptedRows): number => {
  const tokens = placed.reduce((sum, { size }) => sum + size, 0)
  return tokens === 0 ? 0 : placed.reduce((sum, { corruption, size }) => sum + corruption.ratio * size, 0) / tokens
}

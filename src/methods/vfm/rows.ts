/** Packed rows for the noise adapter: what is visible, what is to be found, and the noise of each document. */
import type { Rows } from "../../tokens/packing.ts"
import { predictionCount, nextTokens } from "../../models/nextTokenLoss.ts"
import { normals, randomKey, uniformAt } from "../../tensor/random.ts"
import { type CorruptedRows, corruptRows, type DiffusionData } from "../shared/masks/corruptedRows.ts"
import type { VfmSettings } from "./settings.ts"

type Floats = Float32Array<ArrayBuffer>

export interface VfmRowArrays extends Pick<CorruptedRows, "arrays"> {
  /** What each column, and each place, is to predict. */
  readonly targets: Int32Array<ArrayBuffer>
  readonly targetIds: Int32Array<ArrayBuffer>
  /** [rows x length], 1 for tokens that are there, for visible ones, and for the others. */
  readonly there: Floats
  readonly observed: Floats
  readonly hidden: Floats
  /** [rows x length]: tau where the noise is pure, 0 where it is the adapter's. */
  readonly pure: Floats
  /** [rows x length x d]. */
  readonly noise: Floats
  /** [columns]: 1 for those that predict a hidden, or a visible, token. */
  readonly dataColumns: Floats
  readonly observedColumns: Floats
}

export const vfmRows = (
  rows: Rows,
  step: number,
  {
    d,
    data,
    settings
  }: {
    readonly d: number
    readonly data: DiffusionData & { readonly seed: number }
    readonly settings: VfmSettings
  }
): VfmRowArrays => {
  const { length, seed, sequences } = data
  const shape = { rows: rows.length, length }
  const { arrays, ratios, replaced } = corruptRows(rows, step, data)
  const flat = (): Floats => new Float32Array(rows.length * length)
  const [there, observed, hidden, pure] = [flat(), flat(), flat(), flat()]
  const clean = arrays.ids.slice()
  const noise = new Float32Array(rows.length * length * d)
  const [dataColumns, observedColumns] = [
    new Float32Array(predictionCount(shape)),
    new Float32Array(predictionCount(shape))
  ]
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const example of row) {
      const ids = sequences[example]!
      const size = Math.min(ids.length, length - start)
      const at = r * length + start
      const unmasked = size - replaced.subarray(at, at + size).reduce((n, bit) => n + bit, 0)
      const isPure = uniformAt(randomKey(seed, "vfm pure noise", step, example), 0) >= settings.alpha
      noise.set(normals(randomKey(seed, "vfm noise", step, example), size * d), at * d)
      for (let i = 0; i < size; i++) {
        const visible = settings.observed === "unmasked" ? replaced[at + i] === 0 : i < unmasked
        there[at + i] = 1
        clean[at + i] = ids[i]!
        if (visible) observed[at + i] = 1
        else hidden[at + i] = 1
        if (isPure && (!visible || settings.pureNoiseEverywhere)) pure[at + i] = settings.tau
        if (i === 0) continue
        const column = r * (length - 1) + start + i - 1
        const supervised = settings.observed === "unmasked" ? ratios[column]! > 0 : !visible
        if (supervised) dataColumns[column] = 1
        if (visible) observedColumns[column] = 1
      }
      start += size
    }
  }
  const targetIds = settings.targets === "clean" ? clean : arrays.ids
  return {
    arrays,
    targets: nextTokens(targetIds, shape),
    targetIds,
    there,
    observed,
    hidden,
    pure,
    noise,
    dataColumns,
    observedColumns
  }
}

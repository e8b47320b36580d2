/** Generated texts of each row beside those of the row that it is compared with: prompt by prompt, without correction. */
import type { ScoredTexts } from "../evaluation/results.ts"
import type { TextQuality } from "../evaluation/textQuality.ts"
import { besideOf, generationAt, type GridRow } from "./rows.ts"
import { bootstrapDifference, type Interval, type Resampler } from "./statistics.ts"
import { partsOf, qualities } from "./textColumns.ts"

export interface TextDifference {
  readonly row: GridRow
  readonly beside: GridRow
  /** Of perplexities how many times the other's, of means what is more. */
  readonly of: { readonly [quality in keyof TextQuality]?: Interval & { readonly value: number } }
}

/** Of qualities that are means over texts. Rows without texts in so many steps, or behind other prompts, are left out. */
export const textDifferences = (
  rows: ReadonlyArray<GridRow>,
  baseline: GridRow,
  { resampler, steps }: { readonly steps: number; readonly resampler: Resampler }
): ReadonlyArray<TextDifference> =>
  rows.flatMap(row => {
    const beside = besideOf(row, rows, baseline)
    if (beside === undefined) return []
    const [own, others] = [row, beside].map(({ runs }) => runs.flatMap(run => generationAt(run, steps) ?? []))
    if (!comparable(own!, others!)) return []
    const resamples = resampler({ documents: own![0]!.texts.length, runs: own!.length })
    return [
      {
        row,
        beside,
        of: Object.fromEntries(
          qualities.flatMap(({ id, mean }) => {
            if (mean === undefined) return []
            const [parts, base] = [own!, others!].map(runs => runs.map(texts => partsOf(texts, mean)))
            const { high, low, value } = bootstrapDifference(parts!, base!, resamples)
            return [[id, { value: mean.shown(value), low: mean.shown(low), high: mean.shown(high) }]]
          })
        )
      }
    ]
  })

const comparable = (own: ReadonlyArray<ScoredTexts>, others: ReadonlyArray<ScoredTexts>): boolean =>
  own.length > 0 &&
  own.length === others.length &&
  [...own, ...others].every(({ texts }) => texts.length === own[0]!.texts.length)

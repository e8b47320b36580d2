/** What a column of the grid is: how it is measured on a row, and how it is written. */
import type { Reference, ScoredTexts } from "../evaluation/results.ts"
import { mean } from "./lines.ts"
import type { GridRow, Run } from "./rows.ts"
import { greatest, least } from "../pipeline/lists.ts"

/** A number, perhaps with an interval or a spread, and with what must be known of it; or why there is none. */
export type Figure =
  | { readonly value: number; readonly low?: number; readonly high?: number; readonly note?: string }
  | { readonly absent: string }

export const groups = ["training", "held-out text", "equal compute", "generated text", "decoding"] as const
export type Group = (typeof groups)[number]

export interface Column {
  readonly id: string
  readonly group: Group
  readonly label: string
  readonly format: (value: number) => string
  readonly figure: (row: GridRow) => Figure
  /** What the number means, where its label cannot say it. */
  readonly note?: string
  /** The same of what the rows are read beside; undefined: nothing stands there. */
  readonly reference?: (line: ReferenceLine) => Figure | undefined
}

/** What the rows are read beside: the held-out text under another model, and texts that no row wrote. */
export interface ReferenceLine {
  readonly label: string
  readonly likelihood?: Reference
  readonly texts?: ScoredTexts
}

export const absent = (why: string): Figure => ({ absent: why })

/** Of one run its figure; of several the mean, with the least and the largest as spread. What one run lacks, the row lacks. */
export const ofRuns =
  (figure: (run: Run) => Figure) =>
  ({ runs }: GridRow): Figure => {
    const values: Array<number> = []
    for (const run of runs) {
      const found = figure(run)
      if ("absent" in found || runs.length === 1) return found
      values.push(found.value)
    }
    const [low, high] = [least(values), greatest(values)]
    return low === high ? { value: low } : { value: mean(values), low, high }
  }

export const noLikelihood = "the row's likelihood was not evaluated"
export const noBound = "the method has no bound of the likelihood of tokens"

/** Undefined of a row with a bound, and of one whose likelihood was not evaluated. */
export const whyNoBound = ({ notApplicable, runs }: GridRow): string | undefined =>
  notApplicable["bound"] ??
  (runs.some(({ likelihood }) => likelihood !== undefined && likelihood.content.bound === undefined)
    ? noBound
    : undefined)

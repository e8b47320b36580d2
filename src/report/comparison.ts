/** Each row beside the baseline: paired differences of the likelihood bound, document by document, and what they support. */
import type { Part } from "../evaluation/parts.ts"
import type { LikelihoodResult } from "../evaluation/results.ts"
import { noLikelihood, whyNoBound } from "./column.ts"
import { fixed, pValue } from "./format.ts"
import { besideOf, type GridRow } from "./rows.ts"
import { bootstrap, detectable, type Estimate, holm, level, type Resampler, saysOfOthers } from "./statistics.ts"

/** Row minus baseline, nats per token: below 0 is better. */
export interface Difference extends Estimate {
  /** After Holm's correction over all rows that are compared. */
  readonly adjusted: number
  /** Documents in which the row is better, in which it is worse, and of all. Means over runs. */
  readonly better: number
  readonly worse: number
  readonly documents: number
  readonly runs: number
  /** The true difference that is found with a chance of 90 %, at 5 % and without the correction, nats per token. */
  readonly detectable: number
  /** The same difference of the loss by the share of masks, not corrected for how many these are. */
  readonly byRatio: ReadonlyArray<Estimate & { readonly ratio: number }>
}

export interface Comparison {
  readonly row: GridRow
  /** What it is compared with. */
  readonly beside: GridRow
  readonly difference?: Difference
  /** One sentence: what the data support. */
  readonly verdict: string
}

/** Compares every row but the baseline with it, or with the row that it names. */
export const compare = (
  rows: ReadonlyArray<GridRow>,
  baseline: GridRow,
  resampler: Resampler
): ReadonlyArray<Comparison> => {
  const paired = rows.flatMap(row => {
    const beside = besideOf(row, rows, baseline)
    return beside === undefined ? [] : [{ row, beside, pairs: pair(row, beside) }]
  })
  const measured = paired.flatMap(({ beside, pairs, row }) => {
    if (typeof pairs === "string") return []
    const [documents, runs] = [pairs[0]!.length, pairs.length]
    const means = Array.from({ length: documents }, (_, d) => pairs.reduce((sum, run) => sum + run[d]!.sum, 0))
    const resamples = resampler({ documents, runs })
    const estimate = bootstrap(pairs, resamples)
    return [
      {
        row,
        ...estimate,
        detectable: detectable(estimate),
        byRatio: ratiosOf(row, beside).map(([ratio, parts]) => ({ ratio, ...bootstrap(parts, resamples) })),
        better: means.filter(mean => mean < 0).length,
        worse: means.filter(mean => mean > 0).length,
        documents,
        runs
      }
    ]
  })
  const adjusted = holm(measured.map(({ p }) => p))
  return paired.map(({ beside, pairs, row }) => {
    if (typeof pairs === "string") return { row, beside, verdict: `Not compared with ${beside.label}: ${pairs}.` }
    const at = measured.findIndex(each => each.row === row)
    const { row: _row, ...estimate } = measured[at]!
    const difference = { ...estimate, adjusted: adjusted[at]! }
    return {
      row,
      beside,
      difference,
      verdict: verdict(difference, { baseline: beside, comparisons: measured.length })
    }
  })
}

/** What both measured by the share of masks, of the same draws: [runs][documents], how many nats more the row needs. */
const ratiosOf = (
  row: GridRow,
  beside: GridRow
): ReadonlyArray<readonly [ratio: number, parts: ReadonlyArray<ReadonlyArray<Part>>]> => {
  const losses = ({ runs }: GridRow): ReadonlyArray<LikelihoodResult["lossAtRatio"]> =>
    runs.map(({ likelihood }) => likelihood?.content.lossAtRatio ?? [])
  const [own, theirs] = [losses(row), losses(beside)]
  return own[0]!.flatMap(({ ratio }) => {
    const pairs = own.map((run, r) => {
      const [of, other] = [run, theirs[r]!].map(all => all.find(each => each.ratio === ratio)?.documents ?? [])
      const same =
        of!.length > 0 && of!.length === other!.length && of!.every(({ weight }, d) => weight === other![d]!.weight)
      return same && saysOfOthers(of!)
        ? of!.map(({ sum, weight }, d) => ({ sum: sum - other![d]!.sum, weight }))
        : undefined
    })
    const found = pairs.filter(parts => parts !== undefined)
    return found.length === own.length ? [[ratio, found] as const] : []
  })
}

/** [runs][documents]: how many nats more the row needs; or why it cannot be paired with the baseline. */
const pair = (row: GridRow, baseline: GridRow): ReadonlyArray<ReadonlyArray<Part>> | string => {
  const [why, whyBaseline] = [whyNoBound(row), whyNoBound(baseline)]
  if (why !== undefined) return why
  if (whyBaseline !== undefined) return `of ${baseline.label}, ${whyBaseline}`
  if (row.runs.length !== baseline.runs.length)
    return `it has ${row.runs.length} runs, ${baseline.label} ${baseline.runs.length}`
  const pairs: Array<ReadonlyArray<Part>> = []
  for (const [r, run] of row.runs.entries()) {
    const own = run.likelihood?.content
    const base = baseline.runs[r]!.likelihood?.content
    if (own === undefined) return noLikelihood
    if (base === undefined) return `the likelihood of ${baseline.label} was not evaluated`
    if (own.bound?.estimator !== base.bound?.estimator) return `its bound is another estimate (${own.bound?.estimator})`
    const same =
      own.documents.length > 0 &&
      own.documents.length === base.documents.length &&
      own.documents.every(({ tokens }, d) => tokens === base.documents[d]!.tokens)
    if (!same) return "it was not evaluated on the same documents"
    pairs.push(own.documents.map(({ nats, tokens }, d) => ({ sum: nats - base.documents[d]!.nats, weight: tokens })))
  }
  return pairs
}

const nats = fixed(4)

const verdict = (
  difference: Difference,
  { baseline, comparisons }: { readonly baseline: GridRow; readonly comparisons: number }
): string => {
  const { adjusted, better, documents, high, low, p, runs, smallest, value, worse } = difference
  if (better === 0 && worse === 0) return `Exactly ${baseline.label}: the same bound in each of ${documents} documents.`
  const corrected = `p ${smallest ? "" : "= "}${pValue(adjusted, smallest)}${comparisons === 1 ? "" : ` after correction for ${comparisons} rows`}`
  if (adjusted >= level) {
    const alone = p < level ? "; alone it would pass for one, but not among so many comparisons" : ""
    return `No difference found from ${baseline.label}: the bound changes by something between ${nats(low)} and ${nats(high)} nats per token (${corrected})${alone}.`
  }
  const [least, most] = [Math.abs(low), Math.abs(high)].toSorted((a, b) => a - b)
  const [direction, judgement, share] = value < 0 ? ["lower", "better", better] : ["higher", "worse", worse]
  return `The bound is ${direction} by ${nats(Math.abs(value))} nats per token (between ${nats(least!)} and ${nats(most!)}; ${corrected}), in ${share} of ${documents} documents: ${runs === 1 ? "these weights are" : "it is"} ${judgement} than ${baseline.label}.`
}

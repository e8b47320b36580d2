/** Rows of the same architecture must need the same time per forward pass: where they do not, something is wrong with a row or with the measurement. */
import { quantile } from "../evaluation/timing.ts"
import { fixed, interval, significant } from "./format.ts"
import { mean } from "./lines.ts"
import type { GridRow } from "./rows.ts"

/** Milliseconds per forward pass, over all timed calls of a row. */
export interface ForwardTimes {
  readonly calls: number
  readonly median: number
  readonly p10: number
  readonly p90: number
  /** Of a matrix product in the processes of these calls, operations per second: how fast the machine was then. */
  readonly machine: number
}

export interface Tie {
  readonly row: GridRow
  /** The first row of the same architecture. */
  readonly like: GridRow
  readonly own: ForwardTimes
  readonly other: ForwardTimes
  /** The row's median as a multiple of the other's. */
  readonly ratio: number
  readonly broken: boolean
}

/** Medians that are closer tie, however little the calls vary. */
const tolerance = 0.05

/**
 * Compares each row with the first of its architecture. Both were timed with the same numbers of steps, so that milliseconds per forward are pooled, over these
 * and over runs: two or three calls of one number of steps say nothing about noise. Rows are timed in processes of their own, one after the other, and a machine
 * that others use is not as fast in one as in the next: how fast it was is measured beside the calls, by a matrix product. A tie is broken when the pools' ranges
 * from the 10th to the 90th percentile do not overlap, and their medians differ by more than 5 % beyond what the machine's speed did.
 */
export const ties = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Tie> =>
  rows.flatMap((row, i) => {
    const architecture = architectureOf(row)
    const like = rows.slice(0, i).find(earlier => architectureOf(earlier) === architecture)
    if (architecture === undefined || like === undefined) return []
    const [own, other] = [forwardTimes(row), forwardTimes(like)]
    if (own === undefined || other === undefined) return []
    const ratio = own.median / other.median
    const apart = own.p10 > other.p90 || other.p10 > own.p90
    const allowed = Math.log(1 + tolerance) + Math.abs(Math.log(own.machine / other.machine))
    return [{ row, like, own, other, ratio, broken: apart && Math.abs(Math.log(ratio)) > allowed }]
  })

const architectureOf = ({ runs }: GridRow): string | undefined => {
  const all = new Set(runs.map(({ model }) => model?.content.architecture))
  return all.size === 1 ? [...all][0] : undefined
}

/** Undefined where one of the runs was not timed. */
const forwardTimes = ({ runs }: GridRow): ForwardTimes | undefined => {
  const each = runs.map(({ benchmark }) =>
    (benchmark?.content.results ?? []).flatMap(({ forwards, milliseconds }) => milliseconds.map(ms => ms / forwards))
  )
  if (each.some(({ length }) => length === 0)) return undefined
  const pooled = each.flat().sort((a, b) => a - b)
  return {
    calls: pooled.length,
    median: quantile(pooled, 0.5),
    p10: quantile(pooled, 0.1),
    p90: quantile(pooled, 0.9),
    machine: mean(runs.flatMap(({ benchmark }) => benchmark?.content.matmulPeak ?? []))
  }
}

export const tieText = ({ broken, like, other, own, ratio, row }: Tie): string => {
  const times = ({ calls, machine, median, p10, p90 }: ForwardTimes) =>
    `${fixed(1)(median)} ms/forward ${interval(fixed(1), p10, p90)} over ${calls} calls while a matrix product ran at ${significant(machine / 1e9)} GFLOP/s`
  const figures = `${times(own)}, against ${times(other)}: ${fixed(2)(ratio)} times`
  return broken
    ? `TIE BROKEN: ${row.label} has the architecture of ${like.label}, but takes ${figures}, with ranges that do not overlap, and more than the machine's own speed explains. The row does other work, or the measurement was disturbed: time it again before believing either.`
    : `${row.label} ties with ${like.label}, as the same architecture must: ${figures}.`
}

/** Rows of the same architecture must need the same time per forward pass: where they do not, something is wrong with a row or with the measurement. */
import { fixed } from "./format.ts"
import { everyNumber, type GridRow, timingAt } from "./rows.ts"

export interface Tie {
  readonly row: GridRow
  /** The first row of the same architecture. */
  readonly like: GridRow
  readonly at: ReadonlyArray<{
    readonly steps: number
    /** Milliseconds per forward, as a multiple of the other row's. */
    readonly ratio: number
    /** Whether the ranges are apart: a difference beyond the noise of the calls. */
    readonly apart: boolean
  }>
  readonly broken: boolean
}

/** Medians that are closer do not count as apart, however little the calls vary. */
const tolerance = 0.05

/**
 * Compares each row with the first of its architecture. At a number of steps two rows are apart when the ranges from the 10th to the 90th percentile of
 * their calls do not overlap and their medians differ by more than 5 %. A tie is broken when that is so for more than half of the numbers of
 * steps: a row that does other work is slower everywhere, a disturbance of the machine passes.
 */
export const ties = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Tie> => {
  const steps = everyNumber(rows, run => run.benchmark?.content.results.map(timing => timing.steps) ?? [])
  return rows.flatMap((row, i) => {
    const architecture = architectureOf(row)
    const like = rows.slice(0, i).find(earlier => architectureOf(earlier) === architecture)
    if (architecture === undefined || like === undefined) return []
    const at = steps.flatMap(count => {
      const [a, b] = [forwardAt(row, count), forwardAt(like, count)]
      if (a === undefined || b === undefined) return []
      const ratio = a.median / b.median
      return [
        { steps: count, ratio, apart: (a.low > b.high || b.low > a.high) && Math.abs(Math.log(ratio)) > tolerance }
      ]
    })
    return at.length === 0 ? [] : [{ row, like, at, broken: at.filter(({ apart }) => apart).length > at.length / 2 }]
  })
}

const architectureOf = ({ runs }: GridRow): string | undefined => {
  const all = new Set(runs.map(({ model }) => model?.content.architecture))
  return all.size === 1 ? [...all][0] : undefined
}

/** Milliseconds per forward; of several runs the mean of medians, and the widest range. */
const forwardAt = ({ runs }: GridRow, steps: number) => {
  const timings = runs.flatMap(run => timingAt(run, steps) ?? [])
  if (timings.length < runs.length) return undefined
  return {
    median: timings.reduce((sum, { msPerForward }) => sum + msPerForward, 0) / timings.length,
    low: Math.min(...timings.map(({ forwards, p10 }) => p10 / forwards)),
    high: Math.max(...timings.map(({ forwards, p90 }) => p90 / forwards))
  }
}

export const tieText = ({ at, broken, like, row }: Tie): string => {
  const ratios = at.map(({ ratio }) => ratio)
  const ends = new Set([Math.min(...ratios), Math.max(...ratios)].map(fixed(2)))
  const range = `${[...ends].join(" to ")} times its ms/forward`
  const apart = at.filter(each => each.apart).map(({ steps }) => steps)
  if (broken)
    return `TIE BROKEN: ${row.label} has the architecture of ${like.label}, but takes ${range}, apart at ${apart.join(", ")} steps. The row does other work, or the measurement was disturbed: time it again before believing either.`
  const remark = apart.length === 0 ? "" : `; apart at ${apart.join(", ")} steps only, which a busy machine explains`
  return `${row.label} ties with ${like.label}, as the same architecture must: ${range}${remark}.`
}

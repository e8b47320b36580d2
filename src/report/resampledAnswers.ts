/** The answers to a task at their operating points: accuracy, tokens per forward pass and AUP of all rows, as measured and in each resample of the problems and runs. */
import type { Answers, OperatingPoint } from "../evaluation/results.ts"
import { aup } from "./aup.ts"
import { keyOf } from "./operatingPoints.ts"
import type { Resampler } from "./statistics.ts"

/** A number as it was measured, and in each resample. */
export interface Drawn {
  readonly value: number
  readonly draws: Float64Array
}

/** What came of a task's problems at a point. Lists are in the order of the problems. */
export interface Tally<Point> {
  readonly point: Point
  /** Which problems these are: tallies of others are not put beside them. */
  readonly problems: string
  /** Share of a problem's answers that is right: 0 or 1 where each is answered once. */
  readonly right: ReadonlyArray<number>
  /** Tokens of its answers, and the forward passes that they took. */
  readonly tokens: ReadonlyArray<number>
  readonly forwards: ReadonlyArray<number>
}

/** Problems are the same as far as results tell: as many of them, beginning with the same one. */
export const tallyOf = ({ point, responses, sample }: Answers): Tally<OperatingPoint> => ({
  point,
  problems: `${responses.length} ${sample.prompt}`,
  right: responses.map(({ outcome }) => Number(outcome === "right")),
  tokens: responses.map(({ tokens }) => tokens),
  forwards: responses.map(({ forwards }) => forwards)
})

/** What was answered at a point. */
export interface AnsweredPoint<Point> {
  readonly point: Point
  /** Problems of all runs together. */
  readonly asked: number
  /** Share of them that is right, and tokens per forward pass. */
  readonly right: Drawn
  readonly rate: Drawn
}

/** Of each row its points and its AUP on a task, by the tallies of its runs; undefined where it was not asked, or other problems than the first. */
export const onTask = <Point>(
  task: string,
  all: ReadonlyArray<ReadonlyArray<ReadonlyArray<Tally<Point>>>>,
  resampler: Resampler
): ReadonlyArray<{ readonly points: ReadonlyArray<AnsweredPoint<Point>>; readonly aup: Drawn } | undefined> => {
  const first = all.flat(2)[0]
  const points = all.map(runs => {
    const complete = runs.every(
      tallies => tallies.length > 0 && tallies.every(({ problems }) => problems === first!.problems)
    )
    return complete ? pointsOf(runs, { task, resampler }) : []
  })
  const shares = points.flat().map(({ right }) => right)
  const most = (of: (share: Drawn) => number): number => shares.reduce((found, each) => Math.max(found, of(each)), 0)
  const greatest = most(({ value }) => value)
  const greatestIn = Float64Array.from({ length: shares[0]?.draws.length ?? 0 }, (_, b) =>
    most(({ draws }) => draws[b]!)
  )
  return points.map(own => {
    if (own.length === 0) return undefined
    const area = (of: (drawn: Drawn) => number, top: number): number =>
      aup(
        own.map(({ rate, right }) => ({ accuracy: 100 * of(right), rate: of(rate) })),
        100 * top
      )
    return {
      points: own,
      aup: {
        value: area(({ value }) => value, greatest),
        draws: greatestIn.map((top, b) => area(({ draws }) => draws[b]!, top))
      }
    }
  })
}

/** The points that all runs answered at. */
const pointsOf = <Point>(
  runs: ReadonlyArray<ReadonlyArray<Tally<Point>>>,
  { resampler, task }: { readonly resampler: Resampler; readonly task: string }
): ReadonlyArray<AnsweredPoint<Point>> =>
  runs[0]!.flatMap(({ point }) => {
    const key = keyOf(point)
    const own = runs.flatMap(tallies => tallies.find(each => keyOf(each.point) === key) ?? [])
    if (own.length < runs.length) return []
    const problems = own[0]!.right.length
    const asked = problems * own.length
    const { count, documents, runs: drawnRuns } = resampler({ documents: problems, runs: runs.length, of: task })
    /** A sum over all problems and runs, and over those of each resample. */
    const summed = (of: (tally: Tally<Point>) => ReadonlyArray<number>): Drawn => {
      const byRun = own.map(tally => {
        const values = of(tally)
        const found = new Float64Array(count)
        for (let b = 0; b < count; b++) {
          let sum = 0
          for (let d = 0; d < problems; d++) sum += values[documents[b * problems + d]!]!
          found[b] = sum
        }
        return found
      })
      return {
        value: own.reduce((sum, tally) => of(tally).reduce((found, each) => found + each, sum), 0),
        draws: Float64Array.from({ length: count }, (_, b) => {
          let sum = 0
          for (let r = 0; r < own.length; r++) sum += byRun[drawnRuns[b * own.length + r]!]![b]!
          return sum
        })
      }
    }
    const [correct, tokens, forwards] = [
      summed(({ right }) => right),
      summed(tally => tally.tokens),
      summed(tally => tally.forwards)
    ]
    const right: Drawn = { value: correct.value / asked, draws: correct.draws.map(sum => sum / asked) }
    const rate: Drawn = {
      value: tokens.value / forwards.value,
      draws: tokens.draws.map((sum, b) => sum / forwards.draws[b]!)
    }
    return [{ point, asked, right, rate }]
  })

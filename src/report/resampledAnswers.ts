/** The answers to a task at their operating points: accuracy, tokens per forward pass and AUP of all rows, as measured and in each resample of the problems and runs. */
import { type Answers, type OperatingPoint, rightOf, tokensPerForward } from "../evaluation/results.ts"
import { aup } from "./aup.ts"
import { keyOf } from "./operatingPoints.ts"
import type { Resampler } from "./statistics.ts"

/** A number as it was measured, and in each resample. */
export interface Drawn {
  readonly value: number
  readonly draws: Float64Array
}

/** What was answered at a point. */
export interface AnsweredPoint {
  readonly point: OperatingPoint
  /** Answers of all runs together. */
  readonly asked: number
  /** Share of them that is right, and tokens per forward pass. */
  readonly right: Drawn
  readonly rate: Drawn
}

/** Of each row its points and its AUP on a task, by the answers of its runs; undefined where it was not asked, or other problems than the first. */
export const onTask = (
  task: string,
  all: ReadonlyArray<ReadonlyArray<ReadonlyArray<Answers>>>,
  resampler: Resampler
) => {
  const asked = all.flat(2)[0]!
  const points = all.map(runs => {
    const complete = runs.every(answers => answers.length > 0 && answers.every(each => sameProblems(each, asked)))
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

/** As far as results tell: as many of them, beginning with the same one. */
const sameProblems = (a: Answers, b: Answers): boolean =>
  a.responses.length === b.responses.length && a.sample.prompt === b.sample.prompt

/** The points that all runs answered at. */
const pointsOf = (
  runs: ReadonlyArray<ReadonlyArray<Answers>>,
  { resampler, task }: { readonly resampler: Resampler; readonly task: string }
): ReadonlyArray<AnsweredPoint> =>
  runs[0]!.flatMap(({ point }) => {
    const key = keyOf(point)
    const own = runs.flatMap(answers => answers.find(each => keyOf(each.point) === key) ?? [])
    if (own.length < runs.length) return []
    const problems = own[0]!.responses.length
    const asked = problems * own.length
    const { count, documents, runs: drawnRuns } = resampler({ documents: problems, runs: runs.length, of: task })
    /** Sums over each resample's problems, by run. */
    const sums = (of: (response: Answers["responses"][number]) => number) =>
      own.map(({ responses }) => {
        const values = Float64Array.from(responses, of)
        const found = new Float64Array(count)
        for (let b = 0; b < count; b++) {
          let sum = 0
          for (let d = 0; d < problems; d++) sum += values[documents[b * problems + d]!]!
          found[b] = sum
        }
        return found
      })
    const drawn = (each: ReadonlyArray<Float64Array>, b: number): number => {
      let sum = 0
      for (let r = 0; r < own.length; r++) sum += each[drawnRuns[b * own.length + r]!]![b]!
      return sum
    }
    const [correct, tokens, forwards] = [
      sums(({ outcome }) => Number(outcome === "right")),
      sums(response => response.tokens),
      sums(response => response.forwards)
    ]
    const right: Drawn = {
      value: own.reduce((sum, each) => sum + rightOf(each), 0) / asked,
      draws: Float64Array.from({ length: count }, (_, b) => drawn(correct, b) / asked)
    }
    const rate: Drawn = {
      value: tokensPerForward(...own),
      draws: Float64Array.from({ length: count }, (_, b) => drawn(tokens, b) / drawn(forwards, b))
    }
    return [{ point, asked, right, rate }]
  })

/**
 * Right answers beside tokens per forward pass: of every row and the teacher, on every task and over all of them, as measured and in each of the bootstrap's resamples. Problems of a task are drawn once
 * for all rows, so that differences are paired; the best accuracy, by which AUP weighs, is that of each resample.
 */
import type { OperatingPoint } from "../evaluation/results.ts"
import { type Share, shareOf, sharesOf } from "./operatingPoints.ts"
import { type AnsweredPoint, type Drawn, onTask, tallyOf } from "./resampledAnswers.ts"
import { answersOf, type GridRow, type Run, taskNames, type TeacherScores } from "./rows.ts"
import { short } from "../pipeline/Digest.ts"
import { type Estimate, estimate, holm, type Interval, type Resampler, wilson } from "./statistics.ts"

/** A number with its interval. */
export interface Measured extends Interval {
  readonly value: number
}

export interface PointFigures {
  readonly point: OperatingPoint
  /** Right answers of all, with Wilson's interval. */
  readonly share: Measured
  /** Tokens per forward pass. */
  readonly rate: Measured
}

/** A row, or the teacher, on a task. */
export interface TaskFigures {
  readonly aup: Measured
  readonly points: ReadonlyArray<PointFigures>
}

/** A row, or the teacher. What some answers are missing for is undefined. */
export interface RowFigures {
  readonly label: string
  /** Left out of the teacher's. */
  readonly row?: GridRow
  /** In the order of the tasks. */
  readonly tasks: ReadonlyArray<TaskFigures | undefined>
  /** Mean over the tasks. */
  readonly aup: Measured | undefined
  /** At each of the shares, means over its tasks of what is right, and of tokens per forward pass. */
  readonly shares: ReadonlyArray<{ readonly right: Measured; readonly rate: Measured } | undefined>
}

/** A difference, with its p-value after Holm's correction over those that it stands beside. */
export interface Corrected extends Estimate {
  readonly adjusted: number
}

/** AUP of a row minus that of the row beside it: above 0 is better. */
export interface AupDifference {
  readonly row: GridRow
  readonly beside: GridRow
  /** Of the means over the tasks, and on each; corrected over rows, and over rows and tasks. */
  readonly aup: Corrected | undefined
  readonly tasks: ReadonlyArray<Corrected | undefined>
}

export interface Parallelism {
  readonly tasks: ReadonlyArray<string>
  readonly shares: ReadonlyArray<Share>
  /** Rows in their order, and the teacher last, if it was asked, token by token and with drafts. */
  readonly rows: ReadonlyArray<RowFigures>
  readonly differences: ReadonlyArray<AupDifference>
}

/** Who answers. */
interface Answering {
  readonly label: string
  readonly row?: GridRow
  readonly runs: ReadonlyArray<Pick<Run, "tasks">>
}

export const teacherAlone = "the teacher, token by token"

/** What a teacher's score is called. */
const teacherLabel = (
  { content: { drafts, weights } }: TeacherScores[number],
  rows: ReadonlyArray<GridRow>
): string => {
  if (drafts === undefined) return teacherAlone
  const row = rows.find(({ runs }) => runs.some(({ model }) => model?.digest === drafts.weights))
  const drafter = drafts.weights === weights ? "itself" : (row?.label ?? `the model ${short(drafts.weights)}`)
  return `the teacher, ${drafts.tokens} tokens at a time drafted by ${drafter}`
}

/** `besideOf`: the row that a row is compared with; undefined for the baseline. */
export const parallelismOf = (
  rows: ReadonlyArray<GridRow>,
  teacher: TeacherScores,
  besideOf: (row: GridRow) => GridRow | undefined,
  resampler: Resampler
): Parallelism => {
  const all: ReadonlyArray<Answering> = [
    ...rows.map(row => ({ row, label: row.label, runs: row.runs })),
    ...[...Map.groupBy(teacher, score => teacherLabel(score, rows))].map(([label, tasks]) => ({
      label,
      runs: [{ tasks }]
    }))
  ]
  const tasks = taskNames(rows)
  const shares = sharesOf(rows)
  const sums = all.map(() => shares.map(() => ({ right: new Sum(), rate: new Sum() })))
  // Draws of points are many: they are added up task by task.
  const found = tasks.map(task => {
    const runs = all.map(each => each.runs.map(run => answersOf(run, task).map(tallyOf)))
    return onTask(task, runs, resampler).map((own, i) => {
      if (own === undefined) return undefined
      for (const [s, share] of shares.entries()) {
        const at = shareOf(share, task, own.points)
        if (at === undefined) continue
        sums[i]![s]!.right.add(at.right)
        sums[i]![s]!.rate.add(at.rate)
      }
      return { aup: own.aup, points: own.points.map(pointFigures) }
    })
  })
  const aups = all.map((_, i) => found.map(task => task[i]?.aup))
  return {
    tasks,
    shares,
    rows: all.map(({ label, row }, i) => ({
      label,
      ...(row === undefined ? {} : { row }),
      tasks: found.map(task => {
        const own = task[i]
        return own === undefined ? undefined : { points: own.points, aup: measured(own.aup) }
      }),
      aup: mapped(meanOf(aups[i]!), measured),
      shares: shares.map(({ points }, s) => {
        const { rate, right } = sums[i]![s]!
        const [ofRight, ofRate] = [right.mean(points.size), rate.mean(points.size)]
        return ofRight === undefined || ofRate === undefined
          ? undefined
          : { right: measured(ofRight), rate: measured(ofRate) }
      })
    })),
    differences: differencesOf(rows, aups, besideOf)
  }
}

const pointFigures = ({ asked, point, rate, right }: AnsweredPoint<OperatingPoint>): PointFigures => ({
  point,
  share: { value: right.value, ...wilson(Math.round(right.value * asked), asked) },
  rate: measured(rate)
})

/** `aups`: of each row, by task. */
const differencesOf = (
  rows: ReadonlyArray<GridRow>,
  aups: ReadonlyArray<ReadonlyArray<Drawn | undefined>>,
  besideOf: (row: GridRow) => GridRow | undefined
): ReadonlyArray<AupDifference> => {
  const pairs = rows.flatMap((row, i) => {
    const beside = besideOf(row)
    // Runs are paired seed by seed.
    if (beside === undefined || beside.runs.length !== row.runs.length) return []
    const [own, other] = [aups[i]!, aups[rows.indexOf(beside)]!]
    return [{ row, beside, aup: minus(meanOf(own), meanOf(other)), tasks: own.map((each, t) => minus(each, other[t])) }]
  })
  const overall = corrected(pairs.map(({ aup }) => aup))
  const byTask = corrected(pairs.flatMap(({ tasks }) => tasks))
  return pairs.map(({ beside, row, tasks }, p) => ({
    row,
    beside,
    aup: overall[p],
    tasks: byTask.slice(p * tasks.length, (p + 1) * tasks.length)
  }))
}

/** With Holm's correction over those that are there. */
const corrected = (all: ReadonlyArray<Estimate | undefined>): ReadonlyArray<Corrected | undefined> => {
  const adjusted = holm(all.flatMap(each => (each === undefined ? [] : [each.p])))[Symbol.iterator]()
  return all.map(each => mapped(each, there => ({ ...there, adjusted: adjusted.next().value! })))
}

const mapped = <A, B>(value: A | undefined, f: (value: A) => B): B | undefined =>
  value === undefined ? undefined : f(value)

export const measured = ({ draws, value }: Drawn): Measured => {
  const { high, low } = estimate(value, draws)
  return { value, low, high }
}

const minus = (a: Drawn | undefined, b: Drawn | undefined): Estimate | undefined =>
  a === undefined || b === undefined
    ? undefined
    : estimate(
        a.value - b.value,
        a.draws.map((value, i) => value - b.draws[i]!)
      )

/** A sum of numbers that were drawn. */
class Sum {
  #count = 0
  #value = 0
  #draws = new Float64Array()

  add({ draws, value }: Drawn): void {
    this.#draws = this.#count++ === 0 ? draws.slice() : this.#draws.map((sum, b) => sum + draws[b]!)
    this.#value += value
  }

  /** Undefined unless there are so many. */
  mean(count: number): Drawn | undefined {
    if (this.#count === 0 || this.#count !== count) return undefined
    return { value: this.#value / count, draws: this.#draws.map(sum => sum / count) }
  }
}

/** Undefined where one is missing. */
const meanOf = (all: ReadonlyArray<Drawn | undefined>): Drawn | undefined => {
  const sum = new Sum()
  for (const each of all) if (each !== undefined) sum.add(each)
  return sum.mean(all.length)
}

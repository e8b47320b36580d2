/** The rows of the grid: what was given for each, as values. */
import type {
  Answers,
  BenchmarkResult,
  Generation,
  LikelihoodResult,
  TaskResult,
  TextsResult,
  Timing
} from "../evaluation/results.ts"
import type { Line } from "../training/log.ts"
import type { PanelLine } from "../training/panelFile.ts"
import type { TrainingRecord } from "../training/record.ts"

/** One training of a row's method with one seed, and what was measured of its model. */
export interface Run {
  readonly name: string
  readonly model?: Given<{
    readonly training: TrainingRecord
    /** Models with equal texts have the same architecture. */
    readonly architecture: string
  }>
  readonly likelihood?: Given<LikelihoodResult>
  readonly texts?: Given<TextsResult>
  /** In the order of their names. */
  readonly tasks: ReadonlyArray<Given<TaskResult>>
  readonly benchmark?: Given<BenchmarkResult>
  readonly log?: Given<{ readonly lines: ReadonlyArray<Line>; readonly panels: ReadonlyArray<PanelLine> }>
}

/** The content of an artifact, and its digest, by which it can be traced. */
export interface Given<A> {
  readonly digest: string
  readonly content: A
}

export interface GridRow {
  readonly name: string
  readonly label: string
  readonly note?: string
  /** Name of the row that it is compared with; by default the baseline's. */
  readonly against?: string
  /** Why a column does not exist for this row, by the column's id. */
  readonly notApplicable: { readonly [column: string]: string }
  /** In the order of seeds, the same in every row; at least one. */
  readonly runs: ReadonlyArray<Run>
}

/** The row that a row is compared with; the baseline is with none. */
export const besideOf = (row: GridRow, rows: ReadonlyArray<GridRow>, baseline: GridRow): GridRow | undefined =>
  row === baseline ? undefined : (rows.find(({ name }) => name === row.against) ?? baseline)

/** What was cached for the rows: a chunk set. */
export interface Cached {
  readonly name: string
  readonly kind: string
  readonly digest: string
  readonly items: number
  readonly bytes: number
  /** Counts of its metadata. */
  readonly counts: { readonly [name: string]: number }
}

export const generationAt = (run: Run, steps: number): Generation | undefined =>
  run.texts?.content.generations.find(generation => generation.steps === steps)

export const timingAt = (run: Run, steps: number): Timing | undefined =>
  run.benchmark?.content.results.find(timing => timing.steps === steps)

/** All different values of the rows' runs, ascending. */
export const everyNumber = (
  rows: ReadonlyArray<GridRow>,
  of: (run: Run) => ReadonlyArray<number>
): ReadonlyArray<number> => [...new Set(rows.flatMap(({ runs }) => runs.flatMap(run => of(run))))].sort((a, b) => a - b)

/** What an autoregressive teacher answers, token by token. */
export type TeacherScores = ReadonlyArray<Given<TaskResult>>

export const answersOf = (run: Pick<Run, "tasks">, task: string): ReadonlyArray<Answers> =>
  run.tasks.find(({ content }) => content.task === task)?.content.answers ?? []

/** The tasks that any row was asked. */
export const taskNames = (rows: ReadonlyArray<GridRow>): ReadonlyArray<string> =>
  [...new Set(rows.flatMap(({ runs }) => runs.flatMap(({ tasks }) => tasks.map(({ content }) => content.task))))].sort()

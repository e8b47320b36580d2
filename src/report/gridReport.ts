/** The report on a grid of methods: everything that it says, before it is written as Markdown, as a page or as JSON. */
import type { BenchmarkResult, Reference, TextQuality } from "../evaluation/results.ts"
import { count } from "../pipeline/units.ts"
import type { TeacherScores } from "./answers.ts"
import { type Budget, budgetOf, budgetTexts } from "./budgets.ts"
import { gridColumns } from "./columns.ts"
import { compare, type Comparison } from "./comparison.ts"
import { type Grid, makeGrid } from "./grid.ts"
import { type Cached, everyNumber, type GridRow } from "./rows.ts"
import { level, makeResampler, resampleCount } from "./statistics.ts"
import { type Tie, ties, tieText } from "./ties.ts"
import { greatest, least } from "../pipeline/lists.ts"
import { fixed } from "./format.ts"

export interface ReportSettings {
  readonly title: string
  /** As a user types it. */
  readonly command: string
  /** Whether differences are tested: not where nothing can follow from them. */
  readonly compare: boolean
  /** Paragraphs below the title: what the reader must know. */
  readonly remarks: ReadonlyArray<string>
  readonly textSteps: number
  readonly speedSteps: number
  /** Of the bootstrap. */
  readonly seed: number
}

export interface GridReport {
  readonly settings: ReportSettings
  readonly rows: ReadonlyArray<GridRow>
  readonly baseline: GridRow
  readonly reference?: TextQuality
  readonly grid: Grid
  /** Left out where rows cannot be compared at equal compute. */
  readonly budget?: Budget
  readonly comparisons: ReadonlyArray<Comparison>
  readonly ties: ReadonlyArray<Tie>
  readonly cached: ReadonlyArray<Cached>
  readonly teacher: TeacherScores
  /** The held-out text under other models. */
  readonly references: ReadonlyArray<Reference>
}

export const makeGridReport = (
  rows: ReadonlyArray<GridRow>,
  baseline: GridRow,
  cached: ReadonlyArray<Cached>,
  settings: ReportSettings,
  teacher: TeacherScores = [],
  references: ReadonlyArray<Reference> = []
): GridReport => {
  const resampler = makeResampler(settings.seed)
  const reference = baseline.runs[0]!.texts?.content.reference
  const budget = budgetOf(rows)
  const known = budget === undefined ? {} : { budget }
  const shown = {
    ...settings,
    textSteps: nearest(
      settings.textSteps,
      everyNumber(rows, run => stepsOf(run.texts?.content.generations))
    ),
    speedSteps: nearest(
      settings.speedSteps,
      everyNumber(rows, run => stepsOf(run.benchmark?.content.results))
    )
  }
  const columns = gridColumns(rows, { ...shown, ...known, resampler, baseline, teacher })
  return {
    settings: shown,
    rows,
    baseline,
    ...(reference === undefined ? {} : { reference }),
    grid: makeGrid(rows, columns, reference, references),
    ...known,
    comparisons: settings.compare ? compare(rows, baseline, resampler) : [],
    ties: ties(rows),
    cached,
    teacher,
    references
  }
}

const stepsOf = (all: ReadonlyArray<{ readonly steps: number }> = []): ReadonlyArray<number> =>
  all.map(({ steps }) => steps)

/** Of the numbers that were measured the largest one that is not above the one that is asked for, or else the smallest. */
const nearest = (asked: number, measured: ReadonlyArray<number>): number =>
  measured.findLast(steps => steps <= asked) ?? measured[0] ?? asked

/** How the numbers were made, in sentences. */
export const method = ({ baseline, comparisons, settings }: GridReport): ReadonlyArray<string> => {
  const { benchmark, likelihood } = baseline.runs[0]!
  const bound = likelihood?.content.bound
  const runs = greatest(
    comparisons.map(({ row }) => row.runs.length),
    baseline.runs.length
  )
  return [
    ...(bound === undefined
      ? []
      : [
          `Estimate of the bound: ${bound.estimator}. ${comparisons.length === 0 ? "" : "Differences are paired: the bound of each held-out document under a row minus that under the row beside it. "}Intervals of held-out text${comparisons.length === 0 ? "" : " and differences"}: 95 %, percentile bootstrap over documents${runs > 1 ? " and runs" : ""}, ${count(resampleCount)} resamples, seed ${settings.seed}${comparisons.length === 0 ? "" : `; p-values by inversion, corrected over the rows by Holm's method; a difference is called one below ${level}`}. Exact match has Wilson's 95 % interval.`,
          ...powerText(comparisons)
        ]),
    ...(benchmark === undefined ? [] : [timingText(benchmark.content)]),
    runs > 1
      ? `Each row was trained ${runs} times, with seeds that the rows share. Numbers of other tables are means over these runs, with the least and the largest.`
      : "Each row was trained once: an interval says what other documents might have shown, not what another seed of the training might."
  ]
}

/** What differences would be found. */
const powerText = (comparisons: ReadonlyArray<Comparison>): ReadonlyArray<string> => {
  const found = comparisons.flatMap(({ difference }) =>
    difference === undefined || difference.standardError === 0 ? [] : [difference.detectable]
  )
  if (found.length === 0) return []
  const [from, to] = [least(found), greatest(found)].map(fixed(4))
  return [
    `This design finds a true difference of ${from === to ? from : `${from} to ${to}, depending on the row,`} nats per token with 90 %, in a two-sided test at the 5 % level before correction: 1.96 + 1.28 standard errors of the paired difference.`
  ]
}

/** What can be said of tokens and compute. */
export const budgets = ({ baseline, budget, rows }: GridReport): ReadonlyArray<string> =>
  budgetTexts(rows, baseline, budget)

const timingText = ({ batch, engine, repeats, results, threads, warmUp }: BenchmarkResult): string => {
  const newTokens = [...new Set(results.map(timing => timing.newTokens))].map(count).join(" or ")
  return `Decoding was timed on each row's own weights: ${newTokens} new tokens in batches of ${count(batch)}, ${engine}, ${count(threads)} threads; ${count(warmUp)} before, then ${count(repeats)} of each number of steps or more; brackets are the 10th and the 90th percentile of these few. Steps are what a text may take: by masks it needs no more passes than it has tokens.`
}

/** What every column is, in the unit of report.json; the text of the tables is rounded. */
export const gridJson = (report: GridReport): string => {
  const { baseline, cached, comparisons, grid, settings } = report
  const cellsOf = (line: Grid["lines"][number]) =>
    Object.fromEntries(
      line.cells.flatMap(({ figure }, i) => (figure === undefined ? [] : [[grid.columns[i]!.id, figure]]))
    )
  const digest = (given: { readonly digest: string } | undefined) => given?.digest
  const json = {
    ...settings,
    baseline: baseline.name,
    method: method(report),
    budgets: budgets(report),
    equalCompute: report.budget && { row: report.budget.row.name, teraflops: report.budget.teraflops },
    resamples: resampleCount,
    rows: grid.lines.flatMap(line =>
      line.row === undefined
        ? []
        : [
            {
              name: line.row.name,
              label: line.label,
              note: line.row.note,
              cells: cellsOf(line),
              runs: line.row.runs.map(({ benchmark, likelihood, log, model, name, tasks, texts }) => ({
                name,
                weights: digest(model),
                likelihood: digest(likelihood),
                texts: digest(texts),
                tasks: tasks.map(task => ({ digest: task.digest, ...task.content })),
                benchmark: digest(benchmark),
                log: digest(log),
                bound: likelihood?.content.bound,
                reconstruction: likelihood?.content.reconstruction,
                generations: texts?.content.generations,
                timings: benchmark?.content.results
              }))
            }
          ]
    ),
    columns: Object.fromEntries(grid.columns.flatMap(({ id, note }) => (note === undefined ? [] : [[id, note]]))),
    reference: report.reference,
    references: report.references,
    teacher: report.teacher.map(task => ({ digest: task.digest, ...task.content })),
    comparisons: comparisons.map(({ beside, difference, row, verdict }) => ({
      row: row.name,
      beside: beside.name,
      difference,
      verdict
    })),
    ties: report.ties.map(tie => ({ ...tie, row: tie.row.name, like: tie.like.name, text: tieText(tie) })),
    cached
  }
  return `${JSON.stringify(json, null, 2)}\n`
}

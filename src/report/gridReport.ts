/** The report on a grid of methods: everything that it says, before it is written as Markdown, as a page or as JSON. */
import type { BenchmarkResult, Reference, ReferenceTexts } from "../evaluation/results.ts"
import { textQuality } from "../evaluation/textQuality.ts"
import { count } from "../pipeline/units.ts"
import { haveATable } from "./answers.ts"
import { type Budget, budgetOf, budgetTexts } from "./budgets.ts"
import type { ReferenceLine } from "./column.ts"
import { gridColumns } from "./columns.ts"
import { compare, type Comparison } from "./comparison.ts"
import { type Grid, makeGrid } from "./grid.ts"
import { type Parallelism, parallelismOf } from "./parallelism.ts"
import { besideOf, type Cached, everyNumber, type GridRow, type TeacherScores } from "./rows.ts"
import { level, makeResampler, resampleCount } from "./statistics.ts"
import { type TextDifference, textDifferences } from "./textDifferences.ts"
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
  /** Denoising steps of the texts, and of the speed, in the tables. */
  readonly steps: number
  /** Of the bootstrap. */
  readonly seed: number
}

export interface GridReport {
  readonly settings: ReportSettings
  readonly rows: ReadonlyArray<GridRow>
  readonly baseline: GridRow
  /** The held-out text under other models, and texts that no row wrote. */
  readonly references: ReadonlyArray<Reference>
  readonly referenceTexts?: ReferenceTexts
  readonly grid: Grid
  /** Left out where rows cannot be compared at equal compute. */
  readonly budget?: Budget
  readonly comparisons: ReadonlyArray<Comparison>
  readonly textDifferences: ReadonlyArray<TextDifference>
  readonly ties: ReadonlyArray<Tie>
  readonly cached: ReadonlyArray<Cached>
  readonly teacher: TeacherScores
  /** Left out where no task was answered at several operating points. */
  readonly parallelism?: Parallelism
}

/** What the rows are read beside: likelihoods of the held-out text, texts, and right answers. */
interface References {
  readonly references?: ReadonlyArray<Reference>
  readonly referenceTexts?: ReferenceTexts
  readonly teacher?: TeacherScores
}

export const makeGridReport = (
  rows: ReadonlyArray<GridRow>,
  baseline: GridRow,
  cached: ReadonlyArray<Cached>,
  settings: ReportSettings,
  { referenceTexts: texts, references = [], teacher = [] }: References = {}
): GridReport => {
  const resampler = makeResampler(settings.seed)
  const budget = budgetOf(rows)
  const known = budget === undefined ? {} : { budget }
  const shown = {
    ...settings,
    steps: nearest(settings.steps, stepsOfTables(rows))
  }
  const columns = gridColumns(rows, { ...shown, ...known, resampler, baseline, teacher })
  return {
    settings: shown,
    rows,
    baseline,
    references,
    ...(texts === undefined ? {} : { referenceTexts: texts }),
    grid: makeGrid(rows, columns, referenceLines(references, texts)),
    ...known,
    textDifferences: settings.compare ? textDifferences(rows, baseline, { steps: shown.steps, resampler }) : [],
    comparisons: settings.compare ? compare(rows, baseline, resampler) : [],
    ties: ties(rows),
    cached,
    teacher,
    ...(haveATable(rows, teacher)
      ? {
          parallelism: parallelismOf(
            rows,
            teacher,
            row => (settings.compare ? besideOf(row, rows, baseline) : undefined),
            resampler
          )
        }
      : {})
  }
}

/** Numbers of steps of which both texts and speed are known, or else one of them. */
const stepsOfTables = (rows: ReadonlyArray<GridRow>): ReadonlyArray<number> => {
  const judged = everyNumber(rows, run => stepsOf(run.texts?.content.generations))
  const timed = everyNumber(rows, run => stepsOf(run.benchmark?.content.results))
  const both = judged.filter(steps => timed.includes(steps))
  return both.length > 0 ? both : [...judged, ...timed].toSorted((a, b) => a - b)
}

const referenceLines = (
  references: ReadonlyArray<Reference>,
  texts: ReferenceTexts | undefined
): ReadonlyArray<ReferenceLine> => {
  const under = (model: Reference["model"]) => {
    const likelihood = references.find(reference => reference.model === model)
    return likelihood === undefined ? {} : { likelihood }
  }
  return [
    {
      label: "the teacher, token by token",
      ...under("teacher"),
      ...(texts === undefined ? {} : { texts: texts.teacher })
    },
    ...(texts === undefined ? [] : [{ label: "the held-out text itself", texts: texts.heldOut }]),
    {
      label: "unigram model of the corpus",
      ...under("unigram"),
      ...(texts === undefined ? {} : { texts: texts.unigram })
    }
  ].filter(line => "likelihood" in line || "texts" in line)
}

const stepsOf = (all: ReadonlyArray<{ readonly steps: number }> = []): ReadonlyArray<number> =>
  all.map(({ steps }) => steps)

/** Of the numbers that were measured the largest one that is not above the one that is asked for, or else the smallest. */
const nearest = (asked: number, measured: ReadonlyArray<number>): number =>
  measured.findLast(steps => steps <= asked) ?? measured[0] ?? asked

/** How the numbers were made, in sentences. */
export const method = ({ baseline, comparisons, parallelism, settings }: GridReport): ReadonlyArray<string> => {
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
    ...(parallelism === undefined
      ? []
      : [
          `AUP is the area under right answers, per cent, by tokens per forward pass, weighted by how far they are below the best of all rows and the teacher, without points more than 5 below the slowest (d3LLM; alpha 3); one token a pass alone gives it the per cent that are right. Tokens count until the end of an answer, passes until all of them are there. Intervals of AUP, of means over tasks and of tokens per forward: 95 %, percentile bootstrap over the problems of each task${runs > 1 ? " and runs" : ""}, the same in all rows, ${count(resampleCount)} resamples${comparisons.length === 0 ? "" : "; differences are paired, p-values corrected as above"}. Right answers on one task have Wilson's 95 % interval.`
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
                generations: texts?.content.generations.map(generation => {
                  const { forwards, newTokens, sample, steps } = generation
                  return { steps, forwards, newTokens, ...textQuality(generation), sample }
                }),
                timings: benchmark?.content.results
              }))
            }
          ]
    ),
    columns: Object.fromEntries(grid.columns.flatMap(({ id, note }) => (note === undefined ? [] : [[id, note]]))),
    references: report.references,
    referenceTexts: report.referenceTexts && {
      heldOut: textQuality(report.referenceTexts.heldOut),
      teacher: textQuality(report.referenceTexts.teacher),
      unigram: textQuality(report.referenceTexts.unigram)
    },
    teacher: report.teacher.map(task => ({ digest: task.digest, ...task.content })),
    ...(report.parallelism === undefined ? {} : { parallelism: parallelismJson(report.parallelism) }),
    comparisons: comparisons.map(({ beside, difference, row, verdict }) => ({
      row: row.name,
      beside: beside.name,
      difference,
      verdict
    })),
    textDifferences: report.textDifferences.map(({ beside, of, row }) => ({
      row: row.name,
      beside: beside.name,
      of
    })),
    ties: report.ties.map(tie => ({ ...tie, row: tie.row.name, like: tie.like.name, text: tieText(tie) })),
    cached
  }
  return `${JSON.stringify(json, null, 2)}\n`
}

/** Figures by the names of tasks and rows. */
const parallelismJson = ({ differences, rows, shares, tasks }: Parallelism) => {
  const byTask = <A>(all: ReadonlyArray<A | undefined>) => Object.fromEntries(tasks.map((task, t) => [task, all[t]]))
  return {
    shares: shares.map(({ of, points }) => ({ ...of, points: Object.fromEntries(points) })),
    rows: rows.map(({ label, row, tasks: own, ...figures }) => ({
      row: row?.name ?? label,
      ...figures,
      tasks: byTask(own)
    })),
    differences: differences.map(({ aup, beside, row, tasks: own }) => ({
      row: row.name,
      beside: beside.name,
      aup,
      tasks: byTask(own)
    }))
  }
}

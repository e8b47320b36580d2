/** The columns of the grid. */
import { count } from "../pipeline/units.ts"
import { type Answers, rightOf, slowest, type TextQuality, type Timing } from "../evaluation/results.ts"
import { haveATable, type TeacherScores } from "./answers.ts"
import { type Budget, computeColumn, equalComputeColumns, readsOtherTokens } from "./budgets.ts"
import { absent, type Column, type Figure, type Group, ofRuns } from "./column.ts"
import { fixed, percent, significant } from "./format.ts"
import { heldOutColumns } from "./heldOutColumns.ts"
import { generationAt, type GridRow, type Run, taskNames, timingAt } from "./rows.ts"
import { type Resampler, wilson } from "./statistics.ts"

export interface ColumnSettings {
  /** Numbers of denoising steps at which texts and speed are shown. */
  readonly textSteps: number
  readonly speedSteps: number
  readonly resampler: Resampler
  readonly baseline: GridRow
  readonly teacher: TeacherScores
  /** Left out where rows cannot be compared at equal compute. */
  readonly budget?: Budget
}

export const gridColumns = (rows: ReadonlyArray<GridRow>, settings: ColumnSettings): ReadonlyArray<Column> => [
  ...training(settings.baseline),
  computeColumn,
  ...heldOutColumns(rows, settings),
  ...equalComputeColumns(settings.budget),
  ...generated(rows, settings),
  ...decoding(settings.speedSteps)
]

/** Columns of a group, each a figure of every run. */
const columnsOf =
  (group: Group) =>
  (id: string, label: string, format: Column["format"], figure: (run: Run) => Figure): Column => ({
    id,
    group,
    label,
    format,
    figure: ofRuns(figure)
  })

const trained =
  (id: "tokens" | "trainedParameters" | "parameters" | "step") =>
  (run: Run): Figure =>
    run.model === undefined ? absent("nothing was trained for this row") : { value: run.model.content.training[id] }

const training = (baseline: GridRow): ReadonlyArray<Column> => {
  const column = columnsOf("training")
  const tokens = column("tokens", "tokens", count, trained("tokens"))
  return [
    column("trainedParameters", "trained parameters", count, trained("trainedParameters")),
    column("parameters", "of all", count, trained("parameters")),
    column("steps", "steps", count, trained("step")),
    {
      ...tokens,
      figure: row => {
        const figure = tokens.figure(row)
        return "absent" in figure || !readsOtherTokens(row, baseline)
          ? figure
          : { ...figure, note: `not at equal tokens: ${baseline.label} read another number` }
      }
    }
  ]
}

/** The share of answers that are right, with Wilson's interval. */
const shareFigure = (answers: Answers): Figure => {
  const right = rightOf(answers)
  const { length } = answers.outcomes
  return { value: right / length, ...wilson(right, length) }
}

const generated = (
  rows: ReadonlyArray<GridRow>,
  { teacher, textSteps: steps }: Pick<ColumnSettings, "teacher" | "textSteps">
): ReadonlyArray<Column> => {
  const column = columnsOf("generated text")
  const quality = (id: keyof TextQuality, label: string, format: (value: number) => string): Column => ({
    ...column(id, label, format, run => {
      const generation = generationAt(run, steps)
      return generation === undefined ? absent(`no texts were made in ${steps} steps`) : { value: generation[id] }
    }),
    reference: reference => reference[id]
  })
  return [
    quality("teacherPerplexity", "perplexity: teacher", significant),
    quality("ngramPerplexity", "n-gram", significant),
    quality("distinct2", "distinct-2", fixed(3)),
    quality("repetition", "repetition", fixed(3)),
    quality("entropy", "entropy, nats", fixed(2)),
    ...(haveATable(rows, teacher) ? [] : taskNames(rows)).map(name =>
      column(`exactMatch.${name}`, `exact match, ${name}`, percent, ({ tasks }) => {
        const found = tasks.find(({ content }) => content.task === name)?.content
        return found === undefined ? absent("the task was not asked") : shareFigure(slowest(found))
      })
    )
  ]
}

const decoding = (steps: number): ReadonlyArray<Column> => {
  const column = columnsOf("decoding")
  const timed =
    (figure: (timing: Timing) => Figure) =>
    (run: Run): Figure => {
      const timing = timingAt(run, steps)
      return timing === undefined ? absent(`decoding in ${steps} steps was not timed`) : figure(timing)
    }
  const speed = (id: "tokensPerSecond" | "usefulTokensPerSecond" | "tokensPerForward" | "shareOfPeak") =>
    timed(timing => ({ value: timing[id] }))
  const perForward = timed(({ forwards, msPerForward, p10, p90 }) => ({
    value: msPerForward,
    low: p10 / forwards,
    high: p90 / forwards
  }))
  return [
    column("tokensPerSecond", "tok/s", significant, speed("tokensPerSecond")),
    column("usefulTokensPerSecond", "useful tok/s", significant, speed("usefulTokensPerSecond")),
    column("msPerForward", "ms/forward", significant, perForward),
    column("tokensPerForward", "tokens/forward", significant, speed("tokensPerForward")),
    column(
      "peakMiB",
      "peak memory, MiB",
      value => count(Math.round(value)),
      ({ benchmark }) =>
        benchmark === undefined ? absent("the row was not timed") : { value: benchmark.content.peakMiB }
    ),
    column("shareOfPeak", "of matmul peak", percent, speed("shareOfPeak"))
  ]
}

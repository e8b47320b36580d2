/** The columns of the grid. */
import { count } from "../pipeline/units.ts"
import { type Answers, rightOf, slowest, type Timing } from "../evaluation/results.ts"
import { haveATable } from "./answers.ts"
import { type Budget, computeColumn, equalComputeColumns, hasOtherLabels } from "./budgets.ts"
import { absent, type Column, type Figure, type Group, ofRuns } from "./column.ts"
import { percent, significant } from "./format.ts"
import { heldOutColumns } from "./heldOutColumns.ts"
import { generationAt, type GridRow, type Run, taskNames, type TeacherScores, timingAt } from "./rows.ts"
import { type Resampler, wilson } from "./statistics.ts"
import { qualities, qualityFigure } from "./textColumns.ts"

export interface ColumnSettings {
  /** Number of denoising steps at which texts and their speed are shown. */
  readonly steps: number
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
  ...equalComputeColumns(settings.budget, settings.baseline),
  ...generated(rows, settings),
  ...decoding(settings.steps)
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
  (id: "tokens" | "labelled" | "trainedParameters" | "parameters" | "step") =>
  (run: Run): Figure =>
    run.model === undefined ? absent("nothing was trained for this row") : { value: run.model.content.training[id] }

const training = (baseline: GridRow): ReadonlyArray<Column> => {
  const column = columnsOf("training")
  const labelled = column("labelledTokens", "labelled tokens", count, trained("labelled"))
  return [
    column("trainedParameters", "trained parameters", count, trained("trainedParameters")),
    column("parameters", "of all", count, trained("parameters")),
    column("steps", "steps", count, trained("step")),
    column("tokens", "tokens", count, trained("tokens")),
    {
      ...labelled,
      figure: row => {
        const figure = labelled.figure(row)
        return "absent" in figure || !hasOtherLabels(row, baseline)
          ? figure
          : {
              ...figure,
              note: `not at equal labels: ${baseline.label} was trained on another number of labelled tokens`
            }
      }
    }
  ]
}

/** The share of answers that are right, with Wilson's interval. */
const shareFigure = (answers: Answers): Figure => {
  const right = rightOf(answers)
  const { length } = answers.responses
  return { value: right / length, ...wilson(right, length) }
}

const generated = (
  rows: ReadonlyArray<GridRow>,
  { resampler, steps, teacher }: Pick<ColumnSettings, "resampler" | "steps" | "teacher">
): ReadonlyArray<Column> => {
  const column = columnsOf("generated text")
  const tokens = rows.flatMap(({ runs }) => runs.flatMap(run => generationAt(run, steps)?.newTokens ?? []))[0]
  return [
    ...qualities.map((quality): Column => ({
      id: quality.id,
      group: "generated text",
      label: quality.label,
      format: quality.format,
      figure: ({ runs }) => {
        const all = runs.map(run => generationAt(run, steps))
        return all.some(each => each === undefined)
          ? absent(`no texts were made in ${steps} steps`)
          : qualityFigure(
              quality,
              all.map(each => each!),
              resampler
            )
      },
      reference: ({ texts }) => (texts === undefined ? undefined : qualityFigure(quality, [texts], resampler))
    })),
    ...speed(column, steps, tokens),
    ...(haveATable(rows, teacher) ? [] : taskNames(rows)).map(name =>
      column(`exactMatch.${name}`, `exact match, ${name}`, percent, ({ tasks }) => {
        const found = tasks.find(({ content }) => content.task === name)?.content
        return found === undefined ? absent("the task was not asked") : shareFigure(slowest(found))
      })
    )
  ]
}

const timed =
  (steps: number, figure: (timing: Timing) => Figure) =>
  (run: Run): Figure => {
    const timing = timingAt(run, steps)
    return timing === undefined ? absent(`decoding in ${steps} steps was not timed`) : figure(timing)
  }

/** The speed of texts, of so many tokens where some were judged. Brackets are the 10th and the 90th percentile of the calls. */
const speed = (
  column: ReturnType<typeof columnsOf>,
  steps: number,
  tokens: number | undefined
): ReadonlyArray<Column> => {
  const of = (figure: (timing: Timing) => Figure) =>
    timed(steps, timing => {
      const found = figure(timing)
      return "absent" in found || tokens === undefined || timing.newTokens === tokens
        ? found
        : { ...found, note: `timed on texts of ${count(timing.newTokens)} tokens, judged on ${count(tokens)}` }
    })
  return [
    column(
      "tokensPerForward",
      "tokens/forward",
      significant,
      of(({ tokensPerForward }) => ({ value: tokensPerForward }))
    ),
    column(
      "tokensPerSecond",
      "tok/s",
      significant,
      of(({ median, p10, p90, tokensPerSecond: value }) => ({
        value,
        low: (value * median) / p90,
        high: (value * median) / p10
      }))
    )
  ]
}

const decoding = (steps: number): ReadonlyArray<Column> => {
  const column = columnsOf("decoding")
  const speed = (id: "usefulTokensPerSecond" | "shareOfPeak") => timed(steps, timing => ({ value: timing[id] }))
  const perForward = timed(steps, ({ forwards, msPerForward, p10, p90 }) => ({
    value: msPerForward,
    low: p10 / forwards,
    high: p90 / forwards
  }))
  return [
    column("msPerForward", "ms/forward", significant, perForward),
    column("usefulTokensPerSecond", "useful tok/s", significant, speed("usefulTokensPerSecond")),
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

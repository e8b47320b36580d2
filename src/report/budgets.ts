/** Rows at equal labels and at equal compute: what their trainings measured of themselves on the way. */
import { quantile } from "../evaluation/timing.ts"
import { count } from "../pipeline/units.ts"
import { computeMeasure } from "../training/measures.ts"
import type { Line } from "../training/log.ts"
import { absent, type Column, type Figure, ofRuns, whyNoBound } from "./column.ts"
import { fixed, significant } from "./format.ts"
import { mean } from "./lines.ts"
import type { GridRow, Run } from "./rows.ts"
import { greatest, least as lowest } from "../pipeline/lists.ts"

/** A step of a training: what was spent until it ended, and the held-out bound where it was measured then, nats per token. */
export interface Spent {
  readonly step: number
  readonly tokens: number
  readonly teraflops: number
  readonly bound?: number
}

/** The steps of a run whose log says what they took. */
export const spent = (run: Run): ReadonlyArray<Spent> =>
  (run.log?.content.lines ?? []).flatMap(line => {
    const [tokens, teraflops, bound] = [line["consume_tokens(B)"], line[computeMeasure], line["eval/nll_bound"]]
    if (typeof tokens !== "number" || typeof teraflops !== "number") return []
    return [
      {
        step: line.step,
        tokens: Math.round(tokens * 1e9),
        teraflops,
        ...(typeof bound === "number" ? { bound } : {})
      }
    ]
  })

/** The least compute of a training among those that measured the bound: what rows are compared at. */
export interface Budget {
  readonly teraflops: number
  readonly row: GridRow
  /** Whether the others computed as much. */
  readonly shared: boolean
}

/** Undefined where fewer than two rows can be compared. */
export const budgetOf = (rows: ReadonlyArray<GridRow>): Budget | undefined => {
  const totals = rows.flatMap(row => {
    const runs = row.runs.map(spent)
    if (whyNoBound(row) !== undefined || runs.some(steps => steps.every(({ bound }) => bound === undefined))) return []
    const ends = runs.map(steps => steps.at(-1)!.teraflops)
    return [{ row, teraflops: lowest(ends), most: greatest(ends) }]
  })
  if (totals.length < 2) return undefined
  const least = totals.reduce((known, each) => (each.teraflops < known.teraflops ? each : known))
  return { ...least, shared: totals.every(({ most }) => most === least.teraflops) }
}

/** The value at x on straight lines between points of ascending x; undefined outside of them. */
export const interpolate = (points: ReadonlyArray<readonly [x: number, y: number]>, x: number): number | undefined => {
  const after = points.findIndex(([at]) => at >= x)
  const above = points[after]
  if (above === undefined) return undefined
  if (above[0] === x) return above[1]
  const below = points[after - 1]
  if (below === undefined) return undefined
  return below[1] + ((x - below[0]) / (above[0] - below[0])) * (above[1] - below[1])
}

/** Median time from one step to the next: evaluations, panels, checkpoints and interruptions do not count. */
const secondsPerStep = (lines: ReadonlyArray<Line>): number =>
  quantile(
    lines
      .slice(1)
      .map(({ time }, i) => time - lines[i]!.time)
      .sort((a, b) => a - b),
    0.5
  )

/** What trainings computed. */
export const computeColumn: Column = {
  id: "compute",
  group: "training",
  label: "compute, TFLOP",
  format: significant,
  figure: ofRuns(run => {
    const last = spent(run).at(-1)
    return last === undefined ? absent("the training's log does not say what was computed") : { value: last.teraflops }
  })
}

/** The first x at which straight lines between points of ascending x come down to y; undefined where they never do. */
export const reaches = (points: ReadonlyArray<readonly [x: number, y: number]>, y: number): number | undefined => {
  const at = points.findIndex(([, value]) => value <= y)
  const there = points[at]
  const before = points[at - 1]
  if (there === undefined || before === undefined) return there?.[0]
  return before[0] + ((before[1] - y) / (before[1] - there[1])) * (there[0] - before[0])
}

/** The held-out bound of a run on its way, by tokens that were read. */
const boundByTokens = (run: Run): ReadonlyArray<readonly [tokens: number, bound: number]> =>
  spent(run).flatMap(({ bound, tokens }) => (bound === undefined ? [] : [[tokens, bound] as const]))

/** How many times fewer tokens a run reads until its bound is as low as the baseline's in the end, run by run. */
const speedupColumn = (baseline: GridRow): Column => ({
  id: "speedup",
  group: "equal compute",
  label: `× fewer tokens to the end of ${baseline.label}`,
  format: fixed(2),
  figure: row => {
    const why = whyNoBound(row)
    if (why !== undefined) return absent(why)
    return ofRuns(run => {
      const other = boundByTokens(baseline.runs[row.runs.indexOf(run)] ?? baseline.runs[0]!).at(-1)
      const tokens = other === undefined ? undefined : reaches(boundByTokens(run), other[1])
      return other === undefined || tokens === undefined
        ? absent(`its bound never came down to that of ${baseline.label}`)
        : { value: other[0] / tokens }
    })(row)
  }
})

/** Where trainings stood at the budget. */
export const equalComputeColumns = (budget: Budget | undefined, baseline: GridRow): ReadonlyArray<Column> => {
  if (budget === undefined) return []
  const at = budget.teraflops
  const boundOf =
    (value: (measured: ReadonlyArray<readonly [teraflops: number, bound: number]>) => Figure) =>
    (row: GridRow): Figure => {
      const why = whyNoBound(row)
      if (why !== undefined) return absent(why)
      return ofRuns(run => {
        const measured = spent(run).flatMap(({ bound, teraflops }) =>
          bound === undefined ? [] : [[teraflops, bound] as const]
        )
        return measured.length === 0 ? absent("the training did not measure the bound") : value(measured)
      })(row)
    }
  const spentThere = (of: (there: { readonly step: number; readonly tokens: number }, run: Run) => Figure) =>
    ofRuns(run => {
      const steps = [{ step: 0, tokens: 0, teraflops: 0 }, ...spent(run)]
      const there = (field: "step" | "tokens") =>
        interpolate(
          steps.map(each => [each.teraflops, each[field]] as const),
          at
        )
      const [step, tokens] = [there("step"), there("tokens")]
      if (steps.length === 1) return absent("the training's log does not say what was computed")
      return step === undefined || tokens === undefined
        ? absent("the whole training computed less")
        : of({ step, tokens }, run)
    })
  const column = (id: string, label: string, format: Column["format"], figure: Column["figure"]): Column => ({
    id: `equalCompute.${id}`,
    group: "equal compute",
    label,
    format,
    figure
  })
  return [
    column(
      "bound",
      "bound, nats/token",
      fixed(3),
      boundOf(measured => {
        const value = interpolate(measured, at)
        return value === undefined ? absent("the training first measured the bound behind this compute") : { value }
      })
    ),
    column(
      "tokens",
      "tokens",
      value => count(Math.round(value)),
      spentThere(({ tokens }) => ({ value: tokens }))
    ),
    column(
      "seconds",
      "seconds",
      significant,
      spentThere(({ step }, run) => {
        const lines = run.log!.content.lines
        return lines.length < 2 ? absent("one step does not tell its time") : { value: step * secondsPerStep(lines) }
      })
    ),
    column(
      "end",
      "bound at the end",
      fixed(3),
      boundOf(measured => ({ value: measured.at(-1)![1] }))
    ),
    speedupColumn(baseline)
  ]
}

const labelsOf = ({ runs }: GridRow): ReadonlyArray<number | undefined> =>
  runs.map(({ model }) => model?.content.training.labelled)

/** Numbers of labelled tokens count as equal up to this share: a training ends with a whole step. */
const equalShare = 0.02

/** Whether a row's trainings predicted other numbers of labelled tokens than the baseline's. False of what was not trained. */
export const hasOtherLabels = (row: GridRow, baseline: GridRow): boolean => {
  const [own, others] = [labelsOf(row), labelsOf(baseline)]
  return own.some((labels, r) => {
    const other = others[r]
    return labels !== undefined && other !== undefined && Math.abs(labels - other) > equalShare * other
  })
}

/** What can be said of tokens and compute, in sentences. */
export const budgetTexts = (
  rows: ReadonlyArray<GridRow>,
  baseline: GridRow,
  budget: Budget | undefined
): ReadonlyArray<string> => {
  const numbers = (row: GridRow) =>
    [...new Set(labelsOf(row).filter(labels => labels !== undefined))].map(count).join(", ")
  const others = rows.filter(row => hasOtherLabels(row, baseline)).map(row => `${row.label} ${numbers(row)}`)
  return [
    ...(numbers(baseline) === "" || rows.length === 1
      ? []
      : others.length === 0
        ? [
            `All rows were trained on the same number of labelled tokens (${numbers(baseline)}, those whose prediction counts in the loss): the tables compare them at equal labels.`
          ]
        : [
            `Labelled tokens, those whose prediction counts in the loss, differ: ${baseline.label} was trained on ${numbers(baseline)}, but ${others.join("; ")}. The tables do not compare these rows at equal labels.`
          ]),
    ...(budget === undefined
      ? []
      : [
          `Equal compute: ${budget.shared ? `all rows with a bound computed the same, ${significant(budget.teraflops)} TFLOP, so that this is the end of their trainings` : `${budget.row.label} computed least, ${significant(budget.teraflops)} TFLOP; each row is shown where its training had computed as much`}. Counted are the matrix products of the programs that ran, padding and recomputation among them, forwards and backwards. Bounds are interpolated on straight lines between the evaluations of a training; seconds are its steps so far times the median time of one, and rows that train side by side slow each other down.`,
          `Bounds during training are other estimates than those in the table of held-out text: fewer draws of masks, and perhaps other held-out sequences (eval_sequences)${noiseText(rows)}. What was spent before the trainings (on the teacher, its cached states and trajectories) is not counted. Where learning rates fall until the end, a training that was planned for this compute would do a little better than one that is looked at on its way.`
        ])
  ]
}

/** How far both estimates of the same weights are apart: what is measured when a training ends, and in the evaluation. */
const noiseText = (rows: ReadonlyArray<GridRow>): string => {
  const gaps = rows.flatMap(({ runs }) => {
    const each = runs.flatMap(run => {
      const [last, bound] = [spent(run).at(-1)?.bound, run.likelihood?.content.bound?.nats]
      return last === undefined || bound === undefined ? [] : [last - bound]
    })
    return each.length === 0 ? [] : [mean(each)]
  })
  if (gaps.length === 0) return ""
  const [least, most] = [lowest(gaps), greatest(gaps)].map(fixed(3))
  return `: of the same final weights they are off by ${least === most ? least : `${least} to ${most}`} nats per token`
}

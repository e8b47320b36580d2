/** The charts of the grid: training, texts and speed, a line for each row. */
import type { ReferenceTexts } from "../evaluation/results.ts"
import { textQuality } from "../evaluation/textQuality.ts"
import { lineChart, type Series } from "./charts.ts"
import { spent } from "./budgets.ts"
import { linesOf, thinned } from "./lines.ts"
import { type Measured, type Parallelism, teacherAlone } from "./parallelism.ts"
import { everyNumber, type GridRow, type Run } from "./rows.ts"
import { greatest, least } from "../pipeline/lists.ts"

export interface Chart {
  readonly caption: string
  readonly svg: string
  /** Numbers of the rows that have a line in it. */
  readonly rows: ReadonlyArray<number>
}

const chart = (name: string, caption: string, drawn: Parameters<typeof lineChart>[2], title = caption): Chart => ({
  caption,
  svg: lineChart(name, title, drawn),
  rows: [...new Set(drawn.series.flatMap(({ row }) => (row === "reference" ? [] : [row])))]
})

/** Points of a curve; more are averaged. */
const mostPoints = 60

const curves: { readonly [metric: string]: string } = {
  "losses/mdm": "Masked-diffusion loss, nats per masked token",
  "losses/repr_align": "Alignment distance, 1 − cosine",
  "losses/path": "Path loss, nats per masked token",
  "losses/trajectory_entropy": "Entropy of predictions that are right, nats"
}

/** Losses by step: the parts that rows share, not their sums, which weigh different things. */
export const trainingFigures = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Chart> => {
  const metrics = new Set(
    rows.flatMap(({ runs }) => runs.flatMap(run => (run.log?.content.lines ?? []).flatMap(line => Object.keys(line))))
  )
  const end = greatest(
    everyNumber(rows, run => (run.log?.content.lines ?? []).slice(-1).map(({ step }) => step)),
    0
  )
  const shown = [...metrics].filter(name => name.startsWith("losses/"))
  const known = Object.keys(curves)
  const place = (name: string) => (known.includes(name) ? known.indexOf(name) : known.length)
  return shown
    .sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1))
    .flatMap((metric, i) => {
      const whole = (run: Run) =>
        (run.log?.content.lines ?? []).flatMap(line => {
          const value = line[metric]
          return typeof value === "number" ? [[line.step, value] as const] : []
        })
      const longest = greatest(
        rows.flatMap(({ runs }) => runs.map(run => whole(run).length)),
        0
      )
      // One point is no curve.
      if (longest < 2) return []
      const size = Math.ceil(longest / mostPoints)
      const series = linesOf(rows, run => thinned(whole(run), size))
      const caption = `${curves[metric] ?? metric}${size === 1 ? "" : `; each point the mean of ${size}`}`
      return [chart(`training-${i}`, caption, { x: { label: "step", end }, series })]
    })
}

/** The held-out bound on the way, against tokens and against compute. */
export const budgetFigures = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Chart> =>
  (
    [
      ["tokens", "tokens", "Held-out bound during training by tokens read, nats per token"],
      ["teraflops", "TFLOP", "Held-out bound during training by compute, nats per token"]
    ] as const
  ).flatMap(([field, label, caption]) => {
    const series = linesOf(
      rows,
      run =>
        spent(run).flatMap(each => (each.bound === undefined ? [] : [[each.step, each.bound, each[field]] as const])),
      () => ({ marks: true })
    )
    const end = greatest(
      rows.flatMap(({ runs }) => runs.map(run => spent(run).at(-1)?.[field] ?? 0)),
      0
    )
    return series.some(({ points }) => points.length > 1)
      ? [chart(`budget-${field}`, caption, { x: { label, end }, series })]
      : []
  })

const qualities = [
  ["teacherPerplexity", "Perplexity under the teacher", true],
  ["ngramPerplexity", "Perplexity under the n-gram model", true],
  ["distinct2", "distinct-2: different pairs of tokens, as a share", false],
  ["repetition", "Repetition: share of runs of four tokens seen before", false],
  ["entropy", "Entropy of a text's tokens, nats", false]
] as const

/** Judges and diversity by denoising steps; dashed: the held-out text's true continuations. */
export const textFigures = (rows: ReadonlyArray<GridRow>, references?: ReferenceTexts): ReadonlyArray<Chart> =>
  qualities.flatMap(([quality, caption, doublings]) => {
    const series = linesOf(
      rows,
      run => (run.texts?.content.generations ?? []).map(each => [each.steps, textQuality(each)[quality]] as const),
      () => ({ marks: true })
    )
    if (series.length === 0) return []
    const xs = series.flatMap(({ points }) => points.map(([x]) => x))
    const truth: ReadonlyArray<Series> =
      references === undefined
        ? []
        : [
            {
              row: "reference",
              points: [least(xs), greatest(xs)].map(x => [x, textQuality(references.heldOut)[quality]] as const)
            }
          ]
    return [
      chart(
        `text-${quality}`,
        caption,
        { x: { label: "denoising steps", doublings: true }, y: { doublings }, series: [...truth, ...series] },
        `${caption}, by denoising steps`
      )
    ]
  })

/** What was answered at a point. */
interface Answered {
  readonly share: Measured
  readonly rate: Measured
}

/** A row's line through what it answered at some points. */
export const answersLine = (row: number, answered: ReadonlyArray<Answered>, dotted = false): Series => {
  const points = answered.toSorted((a, b) => a.rate.value - b.rate.value)
  return {
    row,
    points: points.map(({ rate, share }) => [rate.value, 100 * share.value] as const),
    spread: points.map(({ rate, share }) => [rate.value, 100 * share.low, 100 * share.high] as const),
    marks: true,
    dotted
  }
}

/** Right answers, per cent, by tokens per forward pass. Dashed lines are what rows stand beside: `levels` give one token a pass; `marked` are answers at another rate. */
export const answersChart = (
  name: string,
  caption: string,
  lines: ReadonlyArray<Series>,
  {
    levels,
    marked
  }: {
    readonly levels: ReadonlyArray<Answered>
    readonly marked: ReadonlyArray<Answered>
  }
): Chart => {
  const end = greatest(
    [...lines.flatMap(({ points }) => points.map(([x]) => x)), ...marked.map(({ rate }) => rate.value)],
    1
  )
  const beside = [
    ...levels.map(({ share }): Series["points"] => [1, end].map(x => [x, 100 * share.value] as const)),
    ...marked.map(({ rate, share }): Series["points"] => [[rate.value, 100 * share.value]])
  ]
  return chart(name, caption, {
    x: { label: "tokens per forward pass", doublings: true },
    series: [...beside.map((points): Series => ({ row: "reference", points, marks: points.length === 1 })), ...lines]
  })
}

/** A chart for each task that was answered at several operating points, by what was measured at each; dashed: the teacher, which gives one token a pass. */
export const answersFigures = ({ rows, tasks }: Parallelism): ReadonlyArray<Chart> =>
  tasks.flatMap((task, t) => {
    const lines = rows.flatMap(({ row, tasks: own }, i): ReadonlyArray<Series> => {
      if (row === undefined) return []
      return (["steps", "threshold"] as const).flatMap(kind => {
        const shown = (own[t]?.points ?? []).filter(({ point }) => kind in point)
        return shown.length === 0 ? [] : [answersLine(i, shown, kind === "threshold")]
      })
    })
    if (lines.flatMap(({ points }) => points).length <= new Set(lines.map(({ row }) => row)).size) return []
    const answered = (alone: boolean) =>
      rows.flatMap(({ label, row, tasks: own }) =>
        row === undefined && (label === teacherAlone) === alone ? (own[t]?.points.slice(0, 1) ?? []) : []
      )
    // With drafts the same answers take fewer passes: a mark on the line.
    const beside = { levels: answered(true), marked: answered(false) }
    return [answersChart(`answers-${t}`, `${task}: right answers, per cent`, lines, beside)]
  })

/** Speed by denoising steps. */
export const speedFigures = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Chart> => {
  const timings = (run: Run) => run.benchmark?.content.results ?? []
  const x = { label: "denoising steps", doublings: true }
  const perSecond = linesOf(
    rows,
    run => timings(run).map(({ steps, tokensPerSecond }) => [steps, tokensPerSecond] as const),
    () => ({ marks: true })
  )
  const perForward = linesOf(
    rows,
    run => timings(run).map(({ msPerForward, steps }) => [steps, msPerForward] as const),
    ({ runs }) => ({
      marks: true,
      spread: runs.flatMap(run =>
        timings(run).map(({ forwards, p10, p90, steps }) => [steps, p10 / forwards, p90 / forwards] as const)
      )
    })
  )
  if (perSecond.length === 0) return []
  return [
    chart("speed-tokens", "New tokens per second", { x, y: { doublings: true }, series: perSecond }),
    chart("speed-forward", "Milliseconds per forward pass: median, and 10th to 90th percentile", {
      x,
      series: perForward
    })
  ]
}

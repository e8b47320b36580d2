/** The charts of the grid: training, texts and speed, a line for each row. */
import type { TextQuality } from "../evaluation/results.ts"
import { lineChart, type Series } from "./charts.ts"
import type { GridRow, Run } from "./rows.ts"

export interface Figure {
  readonly caption: string
  readonly svg: string
}

type Point = readonly [x: number, y: number]

/** Points of a curve; more are averaged in pieces of equally many. */
const mostPoints = 60

/** Means of consecutive points, so that at most `mostPoints` are left. */
export const thinned = (points: ReadonlyArray<Point>): ReadonlyArray<Point> => {
  const size = Math.ceil(points.length / mostPoints)
  return Array.from({ length: Math.ceil(points.length / Math.max(1, size)) }, (_, i) => {
    const piece = points.slice(i * size, (i + 1) * size)
    const mean = (axis: 0 | 1) => piece.reduce((sum, point) => sum + point[axis], 0) / piece.length
    return [mean(0), mean(1)] as const
  })
}

/** Points of all runs of a row: the mean of those that share an x. */
const meanOfRuns = ({ runs }: GridRow, points: (run: Run) => ReadonlyArray<Point>): ReadonlyArray<Point> => {
  const at = new Map<number, Array<number>>()
  for (const [x, y] of runs.flatMap(points)) at.set(x, [...(at.get(x) ?? []), y])
  return [...at].sort(([a], [b]) => a - b).map(([x, ys]) => [x, ys.reduce((sum, y) => sum + y, 0) / ys.length] as const)
}

/** A line for each row that has points. */
const linesOf = (
  rows: ReadonlyArray<GridRow>,
  points: (run: Run) => ReadonlyArray<Point>,
  more: (row: GridRow) => Partial<Series> = () => ({})
): ReadonlyArray<Series> =>
  rows.flatMap((row, i) => {
    const line = meanOfRuns(row, points)
    return line.length === 0 ? [] : [{ row: i, points: line, ...more(row) }]
  })

const curves: { readonly [metric: string]: string } = {
  "losses/mdm": "Masked-diffusion loss, nats per masked token",
  "losses/repr_align": "Alignment distance, 1 − cosine",
  "eval/nll_bound": "Held-out bound during training, nats per token"
}

/** Losses by step: the parts that rows share, not their sums, which weigh different things. */
export const trainingFigures = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Figure> => {
  const metrics = new Set(
    rows.flatMap(({ runs }) => runs.flatMap(run => (run.log?.content.lines ?? []).flatMap(line => Object.keys(line))))
  )
  const shown = [...metrics].filter(name => name.startsWith("losses/") || name === "eval/nll_bound")
  const known = Object.keys(curves)
  const place = (name: string) => (known.includes(name) ? known.indexOf(name) : known.length)
  return shown
    .sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1))
    .flatMap((metric, i) => {
      const series = linesOf(rows, run =>
        (run.log?.content.lines ?? []).flatMap(line => {
          const value = line[metric]
          return typeof value === "number" ? [[line.step, value] as const] : []
        })
      ).map(line => ({ ...line, points: thinned(line.points) }))
      // One point is no curve.
      if (series.every(({ points }) => points.length < 2)) return []
      const caption = curves[metric] ?? metric
      return [{ caption, svg: lineChart(`training-${i}`, caption, { x: { label: "step" }, y: { label: "" }, series }) }]
    })
}

const qualities = [
  ["teacherPerplexity", "Perplexity under the teacher", true],
  ["ngramPerplexity", "Perplexity under the n-gram model", true],
  ["distinct2", "distinct-2: different pairs of tokens, as a share", false],
  ["repetition", "Repetition: share of runs of four tokens seen before", false],
  ["entropy", "Entropy of a text's tokens, nats", false]
] as const

/** Judges and diversity by denoising steps; dashed: the held-out text's true continuations. */
export const textFigures = (rows: ReadonlyArray<GridRow>, reference?: TextQuality): ReadonlyArray<Figure> =>
  qualities.flatMap(([quality, caption, doublings]) => {
    const series = linesOf(
      rows,
      run => (run.evaluation?.content.generations ?? []).map(each => [each.steps, each[quality]] as const),
      () => ({ marks: true })
    )
    if (series.length === 0) return []
    const xs = series.flatMap(({ points }) => points.map(([x]) => x))
    const truth: ReadonlyArray<Series> =
      reference === undefined
        ? []
        : [
            {
              row: "reference",
              points: [Math.min(...xs), Math.max(...xs)].map(x => [x, reference[quality]] as const)
            }
          ]
    return [
      {
        caption,
        svg: lineChart(`text-${quality}`, `${caption}, by denoising steps`, {
          x: { label: "denoising steps", doublings: true },
          y: { label: "", doublings },
          series: [...truth, ...series]
        })
      }
    ]
  })

/** Speed by denoising steps. */
export const speedFigures = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Figure> => {
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
  const captions = [
    "New tokens per second",
    "Milliseconds per forward pass: median, and 10th to 90th percentile"
  ] as const
  return [
    {
      caption: captions[0],
      svg: lineChart("speed-tokens", captions[0], { x, y: { label: "", doublings: true }, series: perSecond })
    },
    { caption: captions[1], svg: lineChart("speed-forward", captions[1], { x, y: { label: "" }, series: perForward }) }
  ]
}

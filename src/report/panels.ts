/** Pictures of a training at one step, as SVG that need nothing else: a trajectory, a prediction, and the history of losses. */
import type { EChartsCoreOption } from "echarts/core"
import type { Predicted } from "../training/panelFile.ts"
import { type Coordinates, draw } from "./draw.ts"

const colours = {
  masked: "#4c566a",
  kept: "#d8dee9",
  right: "#3a923a",
  wrong: "#c03d3e",
  line: "#3274a1",
  ink: "#2e3440"
}

/** Pixels. */
const width = 960

/** A picture under its title. */
const titled = (title: string, height: number, option: EChartsCoreOption): string =>
  draw(
    { name: "panel", title, width, height },
    {
      textStyle: { color: colours.ink },
      title: {
        text: title,
        left: "center",
        top: 4,
        textStyle: { fontSize: 14, fontWeight: "normal", color: colours.ink }
      },
      ...option
    }
  )

/** A run of cells of one colour in a row of a grid of cells. */
interface Run {
  readonly from: number
  /** Exclusive. */
  readonly to: number
  readonly row: number
  readonly colour: string
}

/** Neighbouring cells of one colour become one rectangle. */
const runsOf = (cells: ReadonlyArray<string>, row: number): ReadonlyArray<Run> => {
  const starts = cells.flatMap((colour, i) => (i === 0 || colour !== cells[i - 1] ? [i] : []))
  return starts.map((from, i) => ({ from, to: starts[i + 1] ?? cells.length, row, colour: cells[from]! }))
}

/** Cells from 0 on along a value axis, rows on a category axis. */
const cellSeries = (runs: ReadonlyArray<Run>, axis: number) => ({
  type: "custom" as const,
  xAxisIndex: axis,
  yAxisIndex: axis,
  data: runs.map(({ from, row }) => [from, row]),
  renderItem: ({ dataIndex }: { readonly dataIndex: number }, { coord, size }: Coordinates) => {
    const { colour, from, row, to } = runs[dataIndex]!
    const [x, y] = coord([from, row]) as [number, number]
    const [unit, height] = size([1, 1]) as [number, number]
    return {
      type: "rect",
      shape: { x, y: y - height / 2, width: unit * (to - from), height },
      style: { fill: colour }
    }
  }
})

export interface TrajectoryPanel {
  readonly step: number
  /** 1 where a token is masked, for each state and position. */
  readonly masked: ReadonlyArray<ArrayLike<number>>
  /** Of each state: mean entropy of the predictions of its masked tokens, nats. */
  readonly entropies: ReadonlyArray<number>
}

/** States from above to below, positions from left to right; beside them each state's mean entropy and share of masks. */
export const trajectoryPanel = ({ entropies, masked, step }: TrajectoryPanel): string => {
  const states = masked.map((_, state) => String(state))
  const tokens = masked[0]!.length
  const count = (mask: ArrayLike<number>): number => Array.from(mask).reduce((sum, bit) => sum + bit, 0)
  const runs = masked.flatMap((mask, row) =>
    runsOf(
      Array.from(mask, bit => (bit === 1 ? colours.masked : colours.kept)),
      row
    )
  )
  const grid = { top: 52, bottom: 44, outerBoundsMode: "none" }
  const rows = (gridIndex: number) => ({
    type: "category" as const,
    gridIndex,
    data: states,
    inverse: true,
    axisTick: { show: false },
    ...(gridIndex === 0 ? { name: "state", nameLocation: "start" as const } : { axisLabel: { show: false } })
  })
  const named = (name: string) => ({ name, nameLocation: "middle" as const, nameGap: 26 })
  const bars = (axis: number, data: ReadonlyArray<number>) => ({
    type: "bar" as const,
    xAxisIndex: axis,
    yAxisIndex: axis,
    data: [...data],
    barWidth: "80%",
    itemStyle: { color: colours.line }
  })
  return titled(`trajectory of one sequence, step ${step} (dark: masked)`, Math.max(240, 110 + 12 * states.length), {
    grid: [
      { ...grid, left: 50, width: 600 },
      { ...grid, left: 670, width: 125 },
      { ...grid, left: 815, width: 125 }
    ],
    xAxis: [
      {
        type: "value",
        gridIndex: 0,
        min: 0,
        max: tokens,
        splitLine: { show: false },
        axisLabel: { showMaxLabel: false },
        ...named("position")
      },
      { type: "value", gridIndex: 1, min: 0, splitNumber: 2, ...named("mean entropy, nats") },
      { type: "value", gridIndex: 2, min: 0, max: 1, splitNumber: 2, ...named("share of masks") }
    ],
    yAxis: [0, 1, 2].map(rows),
    series: [
      cellSeries(runs, 0),
      bars(1, entropies),
      bars(
        2,
        masked.map(mask => count(mask) / count(masked[0]!))
      )
    ]
  })
}

export interface PredictionPanel {
  readonly step: number
  readonly positions: ReadonlyArray<Predicted>
  /** Probability of the likeliest token at each position; undefined for the first, which nothing predicts. */
  readonly confidences: ReadonlyArray<number | undefined>
}

/** A strip with a cell for each position, and the model's confidence there. */
export const predictionPanel = ({ confidences, positions, step }: PredictionPanel): string => {
  const colour = { right: colours.right, wrong: colours.wrong, "not masked": colours.kept }
  const x = {
    type: "value" as const,
    min: 0,
    max: positions.length,
    splitLine: { show: false },
    axisLabel: { showMaxLabel: false }
  }
  // Both grids begin and end at the same pixels, whatever their labels need.
  const grid = { left: 56, right: 20, outerBoundsMode: "none" }
  const count = (of: Predicted): number => positions.filter(position => position === of).length
  const title = `masked tokens of one sequence, step ${step}: ${count("right")} right (green), ${count("wrong")} wrong (red), ${count("not masked")} not masked`
  return titled(title, 260, {
    grid: [
      { ...grid, top: 36, height: 30 },
      { ...grid, top: 90, height: 120 }
    ],
    xAxis: [
      { ...x, gridIndex: 0, axisLabel: { show: false }, axisTick: { show: false } },
      { ...x, gridIndex: 1, name: "position", nameLocation: "middle", nameGap: 26 }
    ],
    yAxis: [
      { type: "category", gridIndex: 0, data: [""], axisTick: { show: false } },
      {
        type: "value",
        gridIndex: 1,
        min: 0,
        max: 1,
        splitNumber: 2,
        name: "confidence",
        nameLocation: "middle",
        nameGap: 30
      }
    ],
    series: [
      cellSeries(
        runsOf(
          positions.map(position => colour[position]),
          0
        ),
        0
      ),
      {
        type: "line",
        xAxisIndex: 1,
        yAxisIndex: 1,
        showSymbol: false,
        lineStyle: { width: 1 },
        color: colours.line,
        data: confidences.flatMap((confidence, i) => (confidence === undefined ? [] : [[i + 0.5, confidence]]))
      }
    ]
  })
}

export interface HistoryPanel {
  readonly step: number
  /** Share of masks and mean cross-entropy, nats, of steps. */
  readonly points: ReadonlyArray<readonly [maskRatio: number, loss: number]>
  /** Loss of each step so far. */
  readonly losses: ReadonlyArray<readonly [step: number, loss: number]>
}

/** How the cross-entropy depends on the share of masks, beside the curve of the loss. */
export const historyPanel = ({ losses, points, step }: HistoryPanel): string => {
  const axis = (gridIndex: number, name: string) => ({
    type: "value" as const,
    gridIndex,
    name,
    nameLocation: "middle" as const,
    nameGap: 28
  })
  return titled(`the last ${points.length} steps up to step ${step}, and the loss of all`, 320, {
    grid: [
      { left: 60, width: 380, top: 40, bottom: 50 },
      { left: 540, width: 390, top: 40, bottom: 50 }
    ],
    xAxis: [
      { ...axis(0, "share of masks"), min: 0, max: 1 },
      { ...axis(1, "step"), min: 0, max: step }
    ],
    yAxis: [
      { ...axis(0, "cross-entropy, nats"), nameGap: 36, scale: true },
      { ...axis(1, "loss"), nameGap: 36, scale: true }
    ],
    series: [
      {
        type: "scatter",
        xAxisIndex: 0,
        yAxisIndex: 0,
        symbolSize: 4,
        color: colours.line,
        data: points.map(point => [...point])
      },
      {
        type: "line",
        xAxisIndex: 1,
        yAxisIndex: 1,
        showSymbol: losses.length < 2,
        lineStyle: { width: 1 },
        color: colours.line,
        data: losses.map(point => [...point])
      }
    ]
  })
}

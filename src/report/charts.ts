/** Charts as SVG text by ECharts, in colours that the page sets: `--row-1` and so on, `--text`, `--line`. */
import { LineChart } from "echarts/charts"
import { GridComponent } from "echarts/components"
import { type EChartsCoreOption, init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"
import { escape } from "./html.ts"

use([LineChart, GridComponent, SVGRenderer])

export interface Axis {
  readonly label: string
  /** Doublings instead of equal steps. */
  readonly doublings?: boolean
}

export interface Series {
  /** Number of the row, from 0; `reference` for a dashed line that belongs to none. */
  readonly row: number | "reference"
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
  /** Vertical strokes from low to high. */
  readonly spread?: ReadonlyArray<readonly [x: number, low: number, high: number]>
  /** Marks on the points; for few of them. */
  readonly marks?: boolean
}

/** How many different colours the page has. */
export const rowColours = 10

/** The page's name of a row's colour. */
export const rowColour = (row: number): string => `var(--row-${(row % rowColours) + 1})`

/** Rows differ in the shape of their marks, too: as ECharts names it, and as a character. */
const symbols = [
  ["circle", "●"],
  ["rect", "■"],
  ["triangle", "▲"],
  ["diamond", "◆"]
] as const

const symbolOf = (row: number): string => symbols[row % symbols.length]![0]

/** A row's mark in a text. */
export const rowMark = (row: number): string => symbols[row % symbols.length]![1]

const size = { width: 460, height: 270 } as const
const font = 13

/** Lines over numbers. `name` makes ids unique within a page; `title` is what a screen reader says. */
export const lineChart = (
  name: string,
  title: string,
  { series, x, y }: { readonly x: Axis; readonly y: Axis; readonly series: ReadonlyArray<Series> }
): string =>
  draw(name, title, size, {
    grid: { left: 8, right: 16, top: 34, bottom: 24, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    xAxis: { ...axis(x), nameLocation: "middle", nameGap: 26 },
    yAxis: { ...axis(y), nameLocation: "end", nameTextStyle: { ...text, align: "left", padding: [0, 0, 0, -30] } },
    series: series.flatMap(({ marks, points, row, spread }) => {
      const colour = row === "reference" ? "var(--text)" : rowColour(row)
      return [
        ...(spread ?? []).map(([at, low, high]) => stroke(colour, [at, low], [at, high])),
        {
          ...stroke(colour, ...points),
          lineStyle: {
            color: colour,
            width: 1.8,
            type: row === "reference" ? ("dashed" as const) : ("solid" as const)
          },
          showSymbol: marks === true,
          symbol: row === "reference" ? "none" : symbolOf(row),
          symbolSize: 7
        }
      ]
    })
  })

/** Intervals around values, one below the other, and a line at 0. */
export const intervalChart = (
  name: string,
  title: string,
  {
    entries,
    label
  }: {
    readonly label: string
    readonly entries: ReadonlyArray<{
      readonly name: string
      readonly row: number
      readonly value: number
      readonly low: number
      readonly high: number
    }>
  }
): string =>
  draw(
    name,
    title,
    { width: 640, height: 60 + 34 * entries.length },
    {
      grid: { left: 8, right: 16, top: 8, bottom: 24, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      xAxis: { ...axis({ label }), scale: false, nameLocation: "middle", nameGap: 26 },
      yAxis: {
        ...axis({ label: "" }),
        type: "category",
        inverse: true,
        data: entries.map(each => each.name),
        splitLine: { show: false },
        axisLine: { show: false },
        axisTick: { show: false }
      },
      series: [
        { ...stroke("var(--text)", ...entries.map((_, i) => [0, i] as const)), z: 1 },
        ...entries.flatMap(({ high, low, row, value }, i) => [
          stroke(rowColour(row), [low, i], [high, i]),
          { ...stroke(rowColour(row), [value, i]), showSymbol: true, symbol: symbolOf(row), symbolSize: 10 }
        ])
      ]
    }
  )

const text = { color: "var(--text)", fontSize: font } as const

const axis = ({ doublings, label }: Axis) => ({
  type: doublings === true ? ("log" as const) : ("value" as const),
  logBase: 2,
  scale: true,
  name: label,
  nameTextStyle: text,
  axisLabel: { ...text, hideOverlap: true },
  axisLine: { show: true, lineStyle: { color: "var(--line)" } },
  axisTick: { lineStyle: { color: "var(--line)" } },
  splitLine: { lineStyle: { color: "var(--line)" } }
})

const stroke = (colour: string, ...points: ReadonlyArray<readonly [number, number]>) => ({
  type: "line" as const,
  data: points.map(point => [...point]),
  // Nothing reacts to the pointer: there is no script.
  silent: true,
  showSymbol: false,
  lineStyle: { color: colour, width: 1.8 },
  itemStyle: { color: colour }
})

const draw = (
  name: string,
  title: string,
  { height, width }: { readonly width: number; readonly height: number },
  option: EChartsCoreOption
): string => {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height })
  try {
    chart.setOption({ animation: false, ...option })
    const svg = chart.renderToSVGString()
    return (
      svg
        // Styles are those of pointers; ids count up with every chart of the process, and must be unique in the page and the same in every run.
        .replace(/<style[^>]*>[^]*?<\/style>/, "")
        .replaceAll(/ class="zr\d+-cls-\d+"| ecmeta_\w+="[^"]*"/g, "")
        .replaceAll(/\bzr\d+-/g, `${name}-`)
        .replace("<svg ", `<svg role="img" aria-label="${escape(title)}" `)
    )
  } finally {
    chart.dispose()
  }
}

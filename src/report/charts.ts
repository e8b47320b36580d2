/** Charts as SVG text by ECharts, in colours that the page sets: `--row-1` and so on, `--text`, `--line`. */
import { type Coordinates, draw } from "./draw.ts"

/** Doublings instead of equal steps. */
export interface Scale {
  readonly doublings?: boolean
}

export interface Series {
  /** Number of the row, from 0; `reference` for a dashed line that belongs to none. */
  readonly row: number | "reference"
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
  /** A shaded area from low to high, along ascending x. */
  readonly band?: ReadonlyArray<readonly [x: number, low: number, high: number]>
  /** Vertical strokes from low to high. */
  readonly spread?: ReadonlyArray<readonly [x: number, low: number, high: number]>
  /** Marks on the points; for few of them. */
  readonly marks?: boolean
  /** A line of dots, where a row has two. */
  readonly dotted?: boolean
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

const labelWidth = 130
const size = { width: 460, height: 270 } as const
const font = 13

/** Lines over numbers; the y axis has no name, that is the caption's. `name` makes ids unique within a page; `title` is what a screen reader says. */
export const lineChart = (
  name: string,
  title: string,
  {
    series,
    x,
    y = {}
  }: {
    /** From 0 to `end`; without an end, as far as the points go. */
    readonly x: Scale & { readonly label: string; readonly end?: number }
    readonly y?: Scale
    readonly series: ReadonlyArray<Series>
  }
): string =>
  draw(
    { name, title, ...size },
    {
      grid,
      xAxis: { ...axis(x), ...named(x.label), ...(x.end === undefined ? {} : { min: 0, max: x.end }) },
      yAxis: axis(y),
      series: series.flatMap(({ band, dotted, marks, points, row, spread }) => {
        const colour = row === "reference" ? "var(--text)" : rowColour(row)
        return [
          ...(band === undefined ? [] : [area(colour, band)]),
          ...(spread ?? []).map(([at, low, high]) => ({
            ...stroke(colour, [at, low], [at, high]),
            lineStyle: { color: colour, width: 1 }
          })),
          {
            ...stroke(colour, ...points),
            lineStyle: {
              color: colour,
              width: 1.8,
              type:
                row === "reference" ? ("dashed" as const) : dotted === true ? ("dotted" as const) : ("solid" as const)
            },
            showSymbol: marks === true,
            symbol: row === "reference" ? "emptyCircle" : symbolOf(row),
            symbolSize: 7
          }
        ]
      })
    }
  )

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
    { name, title, width: size.width, height: 60 + 38 * entries.length },
    {
      // Labels may be a third wider than they are thought to be.
      grid: { ...grid, left: 14 + labelWidth / 3 },
      xAxis: { ...axis({}), ...named(label), scale: false },
      yAxis: {
        ...axis({}),
        type: "category",
        inverse: true,
        data: entries.map(each => each.name),
        axisLabel: { ...text, width: labelWidth, overflow: "break" },
        splitLine: { show: false },
        axisLine: { show: false },
        axisTick: { show: false }
      },
      series: [
        { ...stroke("var(--text)", [0, 0], [0, entries.length - 1]), z: 1 },
        ...entries.flatMap(({ high, low, row, value }, i) => [
          stroke(rowColour(row), [low, i], [high, i]),
          { ...stroke(rowColour(row), [value, i]), showSymbol: true, symbol: symbolOf(row), symbolSize: 10 }
        ])
      ]
    }
  )

const text = { color: "var(--text)", fontSize: font } as const

/** Room for the labels of the axes, which are measured without a font, and for the x axis's name. */
const grid = { left: 14, right: 18, top: 10, bottom: 26, outerBoundsMode: "same", outerBoundsContain: "axisLabel" }

const named = (label: string) => ({ name: label, nameLocation: "middle" as const, nameGap: 28, nameTextStyle: text })

const axis = ({ doublings }: Scale) => ({
  type: doublings === true ? ("log" as const) : ("value" as const),
  logBase: 2,
  scale: true,
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

/** Drawn at once, by its first point: up along the low ends, back along the high ones. */
const area = (colour: string, band: NonNullable<Series["band"]>) => ({
  type: "custom" as const,
  // All points, so that the axes leave room for them.
  data: band.flatMap(([x, low, high]) => [
    [x, low],
    [x, high]
  ]),
  silent: true,
  z: 1,
  renderItem: ({ dataIndex }: { readonly dataIndex: number }, { coord }: Coordinates) =>
    dataIndex > 0
      ? undefined
      : {
          type: "polygon",
          shape: {
            points: [
              ...band.map(([x, low]) => coord([x, low])),
              ...band.toReversed().map(([x, , high]) => coord([x, high]))
            ]
          },
          style: { fill: colour, opacity: 0.18 }
        }
})

/** A line chart as a self-contained SVG: one panel for each metric, one line for each action. Loads the library of charts: imported where there is something to draw. */
import type { Metric, Point } from "../../ledger/Series.ts"
import { greatest } from "../../pipeline/lists.ts"
import { draw } from "../../report/draw.ts"

const width = 720
const panelHeight = 240
const legendLine = 18
/** Okabe and Ito's colours, which people with any colour vision can tell apart. */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]

/** Steps and values as a chart shows them; gaps where a value is no number. */
export const chart = (metrics: ReadonlyArray<Metric>): string => {
  const names = [...new Set(metrics.map(({ name }) => name))]
  const labels = [...new Set(metrics.map(({ label }) => label))]
  const height = names.length * panelHeight + (labels.length > 1 ? labels.length * legendLine + 12 : 0)
  const caption = (name: string): string => {
    const lines = metrics.filter(metric => metric.name === name)
    return lines.length === 1 ? `${name} · ${lines[0]!.label}` : name
  }
  const units = names.map(name => unitOf(metrics.filter(metric => metric.name === name)))
  return draw(
    { name: "metrics", title: names.join(", "), width, height },
    {
      backgroundColor: "#fff",
      title: names.map((name, i) => ({
        text: caption(name),
        left: 64,
        top: i * panelHeight + 6,
        textStyle: { fontSize: 13 }
      })),
      legend: {
        show: labels.length > 1,
        type: "plain",
        data: labels,
        orient: "vertical",
        left: 59,
        bottom: 6,
        icon: "rect",
        itemHeight: 3,
        itemGap: legendLine - 14
      },
      grid: names.map((_, i) => ({ left: 64, right: 16, top: i * panelHeight + 34, height: panelHeight - 64 })),
      xAxis: names.map((_, gridIndex) => ({ type: "value", gridIndex, scale: true, splitLine: { show: false } })),
      yAxis: units.map((unit, gridIndex) => ({
        type: "value",
        gridIndex,
        scale: true,
        axisLabel: { formatter: (tick: number) => String(Number((tick * unit).toPrecision(6))) }
      })),
      series: metrics.flatMap(({ label, name, points }) => {
        const axis = names.indexOf(name)
        const place = ({ step, value }: Point) => [step, value === null ? null : value / units[axis]!]
        const drawn = {
          name: label,
          xAxisIndex: axis,
          yAxisIndex: axis,
          color: colours[labels.indexOf(label) % colours.length],
          silent: true
        }
        return [
          { ...drawn, type: "line", showSymbol: false, lineStyle: { width: 1.5 }, data: points.map(place) },
          { ...drawn, type: "scatter", symbolSize: 4, data: points.filter(isAlone).map(place) }
        ]
      })
    }
  )
}

/** What values are divided by: the library fails at axes that end at 1e-50. */
const unitOf = (lines: ReadonlyArray<Metric>): number => {
  const largest = greatest(
    lines.flatMap(({ points }) => points.map(({ value }) => Math.abs(value ?? 0))),
    0
  )
  // 1e-323 is the smallest power of ten.
  return largest === 0 || largest > 1e-9 ? 1 : 10 ** Math.max(-323, Math.floor(Math.log10(largest)))
}

/** No line leads to it or from it. */
const isAlone = ({ value }: Point, at: number, points: ReadonlyArray<Point>): boolean =>
  value !== null && (points[at - 1]?.value ?? null) === null && (points[at + 1]?.value ?? null) === null

/** A line chart as a self-contained SVG: one panel for each metric, one line for each action. */
import type { Metric } from "../../ledger/Series.ts"

const width = 720
const panelHeight = 240
const margin = { top: 34, right: 16, bottom: 30, left: 64 }
/** Okabe and Ito's colours, which people with any colour vision can tell apart. */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
const legendLine = 14

/** Steps and values as a chart shows them; gaps where a value is no number. */
export const chart = (metrics: ReadonlyArray<Metric>): string => {
  const names = [...new Set(metrics.map(({ name }) => name))]
  let top = 0
  const panels = names.map(name => {
    const lines = metrics.filter(metric => metric.name === name)
    const panel = `<g transform="translate(0 ${top})">${panelOf(name, lines)}</g>`
    top += panelHeight + (lines.length > 1 ? lines.length * legendLine : 0)
    return panel
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top}" width="${width}" height="${top}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${top}" fill="#fff"/>`,
    ...panels,
    "</svg>",
    ""
  ].join("\n")
}

const panelOf = (name: string, lines: ReadonlyArray<Metric>): string => {
  const points = lines.flatMap(line => line.points)
  const xs = extent(points.map(({ step }) => step))
  const ys = extent(points.flatMap(({ value }) => (value === null ? [] : [value])))
  const [xTicks, yTicks] = [ticks(...xs, 6), ticks(...ys, 5)]
  const right = width - margin.right
  const bottom = panelHeight - margin.bottom
  const x = (step: number) => scale(step, xs, margin.left, right)
  const y = (value: number) => scale(value, ys, bottom, margin.top)
  const caption = lines.length === 1 ? `${name} · ${lines[0]!.label}` : name
  return [
    `<text x="${margin.left}" y="18" font-size="13" font-weight="bold">${escape(caption)}</text>`,
    ...yTicks.map(
      tick =>
        `<line x1="${margin.left}" x2="${right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#ddd"/><text x="${margin.left - 6}" y="${y(tick)}" dy="4" text-anchor="end">${tickText(tick)}</text>`
    ),
    ...xTicks.map(tick => `<text x="${x(tick)}" y="${bottom + 16}" text-anchor="middle">${tickText(tick)}</text>`),
    `<line x1="${margin.left}" x2="${right}" y1="${bottom}" y2="${bottom}" stroke="#333"/>`,
    ...lines.map(
      ({ points: of }, i) =>
        `<path d="${path(of.map(({ step, value }) => (value === null ? undefined : [x(step), y(value)])))}" fill="none" stroke="${colours[i % colours.length]}" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"/>`
    ),
    ...(lines.length === 1
      ? []
      : lines.map(
          ({ label }, i) =>
            `<g transform="translate(${margin.left} ${panelHeight + i * legendLine})"><line x2="18" y1="-4" y2="-4" stroke="${colours[i % colours.length]}" stroke-width="3"/><text x="24">${escape(label)}</text></g>`
        ))
  ].join("\n")
}

/** A lone point is drawn as a line of no length, whose round caps make it a dot. */
const path = (points: ReadonlyArray<readonly [number, number] | undefined>): string =>
  points
    .map((point, i) => {
      if (point === undefined) return ""
      const from = points[i - 1] === undefined
      const alone = from && points[i + 1] === undefined
      return `${from ? "M" : "L"}${point[0]} ${point[1]}${alone ? "h0" : ""}`
    })
    .join("")

const scale = (value: number, [low, high]: readonly [number, number], from: number, to: number): number =>
  Math.round((from + ((value - low) / (high - low)) * (to - from)) * 100) / 100

/** The range of some numbers, never empty. */
const extent = (values: ReadonlyArray<number>): readonly [number, number] => {
  if (values.length === 0) return [0, 1]
  const low = values.reduce((a, b) => Math.min(a, b))
  const high = values.reduce((a, b) => Math.max(a, b))
  // A constant lies in the middle of a range of its own size.
  const half = Math.abs(low) / 2 || 0.5
  return low === high ? [low - half, high + half] : [low, high]
}

/** Round numbers between two others, about `wanted` of them. */
const ticks = (low: number, high: number, wanted: number): ReadonlyArray<number> => {
  const rough = (high - low) / wanted
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].find(factor => factor * power >= rough)! * power
  const first = Math.ceil(low / step)
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step)
}

const tickText = (value: number): string => String(Number(value.toPrecision(6)))

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

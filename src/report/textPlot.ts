/** Points over numbers as text: what a terminal shows of a chart. */
import { greatest, least } from "../pipeline/lists.ts"
import { fixed, significant } from "./format.ts"

export interface Marked {
  readonly mark: string
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

const [width, height] = [48, 11]

/** Where points of different marks meet. */
const several = "+"

/** x in doublings, above 0; y in per cent, on an axis from one ten to another. Of points that meet in a cell the mark is `+`. */
export const textPlot = (series: ReadonlyArray<Marked>, x: string): string => {
  const points = series.flatMap(own => own.points)
  const [from, to] = [least(points.map(([at]) => at)), greatest(points.map(([at]) => at))]
  const low = 10 * Math.floor(least(points.map(([, y]) => y)) / 10)
  const high = Math.max(low + 10, 10 * Math.ceil(greatest(points.map(([, y]) => y)) / 10))
  const cells = Array.from({ length: height }, () => Array<string>(width).fill(" "))
  const place = (share: number, size: number): number => Math.round(share * (size - 1))
  for (const { mark, points: own } of series)
    for (const [at, y] of own) {
      const column = place(to > from ? Math.log2(at / from) / Math.log2(to / from) : 0, width)
      const row = place((high - y) / (high - low), height)
      const there = cells[row]![column]!
      cells[row]![column] = there === " " || there === mark ? mark : several
    }
  const label = (row: number): string =>
    row === 0 || row === height - 1 || row === (height - 1) / 2
      ? `${fixed(0)(high - ((high - low) * row) / (height - 1))} %`
      : ""
  const [first, last] = [significant(from), significant(to)]
  return [
    ...cells.map((line, row) => `${label(row).padStart(6)} │${line.join("")}`.trimEnd()),
    `${" ".repeat(7)}└${"─".repeat(width)}`,
    `${" ".repeat(8)}${first}${last.padStart(width - first.length)}`,
    `${" ".repeat(8)}${x}`
  ].join("\n")
}

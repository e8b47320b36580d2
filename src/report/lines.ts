/** Lines of charts: one for each row, over all of its runs. */
import type { Series } from "./charts.ts"
import type { GridRow, Run } from "./rows.ts"
import { greatest, least } from "../pipeline/lists.ts"

/** `at` is what runs share: a step, say. `x` is where it is drawn, if elsewhere. */
export type Point = readonly [at: number, y: number, x?: number]

export const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Means of `size` consecutive points each. */
export const thinned = (
  points: ReadonlyArray<readonly [at: number, y: number]>,
  size: number
): ReadonlyArray<readonly [at: number, y: number]> =>
  Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const piece = points.slice(i * size, (i + 1) * size)
    return [mean(piece.map(([at]) => at)), mean(piece.map(([, y]) => y))] as const
  })

/** A line for each row that has points: of several runs the means of what all have, and the range from the least to the largest. */
export const linesOf = (
  rows: ReadonlyArray<GridRow>,
  points: (run: Run) => ReadonlyArray<Point>,
  more: (row: GridRow) => Partial<Series> = () => ({})
): ReadonlyArray<Series> =>
  rows.flatMap((row, i) => {
    const runs = row.runs
      .map(points)
      .filter(({ length }) => length > 0)
      .map(all => new Map(all.map(point => [point[0], point])))
    const places = [...(runs[0]?.keys() ?? [])].filter(at => runs.every(run => run.has(at))).sort((a, b) => a - b)
    if (places.length === 0) return []
    const found = places.map(at => {
      const all = runs.map(run => run.get(at)!)
      return { x: mean(all.map(([, , x]) => x ?? at)), ys: all.map(([, y]) => y) }
    })
    return [
      {
        row: i,
        points: found.map(({ x, ys }) => [x, mean(ys)] as const),
        ...(runs.length === 1 ? {} : { band: found.map(({ x, ys }) => [x, least(ys), greatest(ys)] as const) }),
        ...more(row)
      }
    ]
  })

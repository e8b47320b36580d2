/** Panels of a training as SVG: the cells that they draw. */
import { describe, expect, it } from "vitest"
import { historyPanel, predictionPanel, trajectoryPanel } from "../../src/report/panels.ts"

/** Left edge and width of each rectangle of a colour, in pixels, in drawing order. */
const cells = (svg: string, colour: string): ReadonlyArray<readonly [left: number, width: number]> =>
  [...svg.matchAll(/<path d="M([\d.]+) [\d.]+l([\d.]+) 0l0 [\d.]+l-[\d.]+ 0Z"[^>]*fill="(#[0-9a-f]+)"/g)].flatMap(
    ([, left, width, fill]) => (fill === colour ? [[Number(left), Number(width)] as const] : [])
  )
const [right, wrong, kept, masked] = ["#3a923a", "#c03d3e", "#d8dee9", "#4c566a"]

describe("the panel of a prediction", () => {
  it("has a cell for each position, and the counts in its title", () => {
    const positions = ["not masked", "right", "right", "wrong", "not masked", "right", "wrong", "wrong"] as const
    const svg = predictionPanel({
      step: 7,
      positions,
      confidences: positions.map((_, i) => (i === 0 ? undefined : i / 8))
    })
    expect(svg).toContain("step 7: 3 right (green), 3 wrong (red), 2 not masked")
    const unit = (960 - 56 - 20) / positions.length
    const expected = (colour: string, runs: ReadonlyArray<readonly [number, number]>) => {
      const found = cells(svg, colour)
      expect(found).toHaveLength(runs.length)
      for (const [i, [from, to]] of runs.entries()) {
        expect(found[i]![0]).toBeCloseTo(56 + unit * from, 1)
        expect(found[i]![1]).toBeCloseTo(unit * (to - from), 1)
      }
    }
    expected(right!, [
      [1, 3],
      [5, 6]
    ])
    expected(wrong!, [
      [3, 4],
      [6, 8]
    ])
    expected(kept!, [
      [0, 1],
      [4, 5]
    ])
  })
})

describe("the panel of a trajectory", () => {
  it("has a row for each state, dark where tokens are masked", () => {
    const states = [
      [0, 1, 1, 1, 1, 1],
      [0, 1, 0, 0, 1, 1],
      [0, 0, 0, 0, 1, 0],
      [0, 0, 0, 0, 0, 0]
    ]
    const svg = trajectoryPanel({ step: 3, masked: states, entropies: [4, 2, 1, 0] })
    const widths = (colour: string) => cells(svg, colour).map(([, width]) => Math.round(width / 100))
    expect(widths(masked!)).toEqual([5, 1, 2, 1])
    expect(widths(kept!)).toEqual([1, 1, 2, 4, 1, 6])
    expect(svg).toContain("mean entropy, nats")
  })
})

describe("the panel of the history", () => {
  it("has a point for each step", () => {
    const points = Array.from({ length: 23 }, (_, i) => [i / 23, 3 + i / 10] as const)
    const svg = historyPanel({ step: 23, points, losses: points.map(([, loss], i) => [i + 1, loss] as const) })
    expect(svg).toContain("the last 23 steps up to step 23")
    const symbols = svg.match(/<path d="M1 0A1 1 0 1 1 1 -0\.1A1 1 0 0 1 1 0"/g) ?? []
    expect(symbols).toHaveLength(23)
  })
})

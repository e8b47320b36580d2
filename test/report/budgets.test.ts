/** Rows at equal labels and at equal compute, against values that are known in closed form. */
import { assert, describe, it } from "vitest"
import {
  budgetOf,
  budgetTexts,
  computeColumn,
  equalComputeColumns,
  interpolate,
  reaches,
  spent
} from "../../src/report/budgets.ts"
import { budgetFigures } from "../../src/report/figures.ts"
import { gridMarkdown } from "../../src/report/gridMarkdown.ts"
import { gridHtml } from "../../src/report/gridPage.ts"
import { makeGridReport } from "../../src/report/gridReport.ts"
import type { GridRow } from "../../src/report/rows.ts"
import { fixtureRow, type LogOptions } from "../support/gridFixtures.ts"

const rowOf = (name: string, log: LogOptions = {}) => fixtureRow({ name, log })
const base = rowOf("base")
/** Computes a quarter more in each step. */
const dear = rowOf("dear", { floor: 2.5, teraflops: 0.0125 })

const changed = (row: ReturnType<typeof rowOf>, changes: object): GridRow => ({
  ...row,
  runs: [{ ...row.runs[0], ...changes }]
})

const columns = (rows: ReadonlyArray<GridRow>) =>
  Object.fromEntries(
    [computeColumn, ...equalComputeColumns(budgetOf(rows), base)].map(({ figure, id }) => [id, figure])
  )
const figure = (rows: ReadonlyArray<GridRow>, column: string, row: GridRow) => columns(rows)[column]!(row)
const valueOf = (...given: Parameters<typeof figure>) => {
  const found = figure(...given)
  assert.property(found, "value")
  return (found as { readonly value: number }).value
}

describe("a straight line between points", () => {
  it("goes through them, and nowhere beyond", () => {
    const points = [
      [1, 10],
      [3, 20],
      [4, 0]
    ] as const
    assert.deepStrictEqual(
      [1, 1.5, 2, 3, 3.75, 4].map(x => interpolate(points, x)),
      [10, 12.5, 15, 20, 5, 0]
    )
    assert.strictEqual(interpolate(points, 0.9), undefined)
    assert.strictEqual(interpolate(points, 4.1), undefined)
    assert.strictEqual(interpolate([], 1), undefined)
  })
})

describe("the way down to a value", () => {
  it("ends where straight lines first reach it, and nowhere where they never do", () => {
    const points = [
      [10, 5],
      [20, 3],
      [30, 4],
      [40, 1]
    ] as const
    assert.deepStrictEqual(
      [6, 5, 4, 3, 2, 0.5].map(y => reaches(points, y)),
      [10, 10, 15, 20, 30 + (2 / 3) * 10, undefined]
    )
  })

  it("is shorter by what a row learns faster: tokens of the baseline, over its own", () => {
    const fast = rowOf("fast", { floor: 1.5 })
    const rows = [base, fast, dear]
    // The baseline ends at 2 + 3 exp(-199 / 40), which lies between the evaluations of the other after 50 and 100 steps.
    const [end, at50, at100] = [2 + 3 * Math.exp(-199 / 40), 1.5 + 3 * Math.exp(-49 / 40), 1.5 + 3 * Math.exp(-99 / 40)]
    const tokens = 2000 * (50 + (50 * (at50 - end)) / (at50 - at100))
    assert.isTrue(at50 > end && end > at100)
    assert.closeTo(valueOf(rows, "speedup", fast), 400_000 / tokens, 1e-9)
    assert.strictEqual(valueOf(rows, "speedup", base), 1)
    assert.deepStrictEqual(figure(rows, "speedup", dear), {
      absent: "its bound never came down to that of row base"
    })
  })
})

describe("equal compute", () => {
  it("is that of the row which computed least: there rows stand as their logs say", () => {
    const rows = [dear, base]
    const budget = budgetOf(rows)!
    assert.strictEqual(budget.row, base)
    assert.closeTo(budget.teraflops, 2, 1e-12)
    assert.include(budgetTexts(rows, base, budget).join("\n"), "row base computed least, 2.00 TFLOP; each row is shown")
    const same = budgetTexts([base, base], base, budgetOf([base, base])).join("\n")
    assert.include(same, "all rows with a bound computed the same, 2.00 TFLOP")
    const curve = (floor: number, step: number) => floor + 3 * Math.exp(-(step - 1) / 40)
    assert.closeTo(valueOf(rows, "equalCompute.bound", base), curve(2, 200), 1e-12)
    // 2 TFLOP are 160 steps of 0.0125: a fifth of the way from the evaluation at 150 to that at 200.
    assert.closeTo(
      valueOf(rows, "equalCompute.bound", dear),
      curve(2.5, 150) + 0.2 * (curve(2.5, 200) - curve(2.5, 150)),
      1e-9
    )
    assert.closeTo(valueOf(rows, "equalCompute.end", dear), curve(2.5, 200), 1e-12)
    assert.closeTo(valueOf(rows, "equalCompute.tokens", dear), 160 * 2000, 1e-6)
    // Half a second each; the pauses of evaluations do not count.
    assert.closeTo(valueOf(rows, "equalCompute.seconds", dear), 80, 1e-5)
    assert.closeTo(valueOf(rows, "compute", dear), 2.5, 1e-12)
  })

  it("is of rows with a bound: another one that computed less does not set it, and has no bound there", () => {
    const latent = changed(rowOf("latent", { bounded: false, teraflops: 0.005 }), { likelihood: undefined })
    const rows = [base, dear, latent]
    assert.strictEqual(budgetOf(rows)!.row, base)
    assert.deepStrictEqual(figure(rows, "equalCompute.bound", latent), {
      absent: "the training did not measure the bound"
    })
    assert.deepStrictEqual(figure(rows, "equalCompute.tokens", latent), { absent: "the whole training computed less" })
    const content = { ...base.runs[0].likelihood.content, bound: undefined }
    const unbounded = changed(base, { likelihood: { digest: "", content } })
    assert.deepStrictEqual(figure([base, dear], "equalCompute.bound", unbounded), {
      absent: "the method has no bound of the likelihood of tokens"
    })
    const excused = { ...base, notApplicable: { bound: "it has no likelihood" } }
    assert.deepStrictEqual(figure([base, dear], "equalCompute.bound", excused), { absent: "it has no likelihood" })
    assert.strictEqual(budgetOf([excused, dear]), undefined)
  })

  it("invents no bound before the first evaluation", () => {
    const late = rowOf("late", { teraflops: 0.05 })
    assert.deepStrictEqual(figure([base, late], "equalCompute.bound", late), {
      absent: "the training first measured the bound behind this compute"
    })
  })

  it("of several runs is the mean, with the least and the largest", () => {
    const runs = [2, 3, 7].map(floor => rowOf("base", { floor }).runs[0])
    const row: GridRow = { ...base, runs }
    const end = 3 * Math.exp(-199 / 40)
    const found = figure([row, dear], "equalCompute.end", row)
    if ("absent" in found) return assert.fail(found.absent)
    for (const [value, floor] of [
      [found.value, 4],
      [found.low, 2],
      [found.high, 7]
    ])
      assert.closeTo(value!, floor! + end, 1e-12)
  })

  it("is not shown where logs say nothing of it", () => {
    const mute = changed(base, { log: undefined })
    assert.strictEqual(budgetOf([mute, dear]), undefined)
    assert.deepStrictEqual(equalComputeColumns(undefined, base), [])
    assert.deepStrictEqual(computeColumn.figure(mute), { absent: "the training's log does not say what was computed" })
    assert.deepStrictEqual(spent(mute.runs[0]!), [])
    assert.deepStrictEqual(budgetFigures([mute]), [])
    assert.deepStrictEqual(
      budgetFigures([base, mute, dear]).map(({ rows }) => rows),
      [
        [0, 2],
        [0, 2]
      ]
    )
  })
})

describe("equal labels", () => {
  const other = changed(dear, {
    model: {
      ...dear.runs[0].model,
      content: {
        ...dear.runs[0].model.content,
        training: { ...dear.runs[0].model.content.training, labelled: 150_000 }
      }
    }
  })
  const texts = (rows: ReadonlyArray<GridRow>) => budgetTexts(rows, base, budgetOf(rows)).join("\n")

  it("are said to be equal where they are, and rows that were trained on others are named and marked", () => {
    assert.include(texts([base, dear]), "All rows were trained on the same number of labelled tokens (200,000, ")
    assert.include(texts([base, dear, other]), "differ: row base was trained on 200,000, but row dear 150,000. ")
    const report = makeGridReport([base, other], base, [], {
      compare: true,
      title: "compare",
      command: "",
      remarks: ["A first look."],
      steps: 8,
      seed: 0
    })
    const markdown = gridMarkdown(report)
    assert.match(markdown, /\| row dear +\|.* 150,000¹ /)
    assert.include(markdown, "¹ not at equal labels: row base was trained on another number of labelled tokens")
    assert.match(gridHtml(report), /<td>150,000<sup><a href="#training-1">1<\/a><\/sup><\/td>/)
  })

  it("comes with how far bounds of trainings are from those of the evaluation, of the same weights", () => {
    const gaps = [base, dear].map(({ runs: [{ likelihood }] }, i) => {
      return [2, 2.5][i]! + 3 * Math.exp(-199 / 40) - likelihood.content.bound!.nats
    })
    const [least, most] = [Math.min(...gaps), Math.max(...gaps)].map(gap => gap.toFixed(3).replace("-", "−"))
    assert.include(texts([base, dear]), `they are off by ${least} to ${most} nats per token`)
    assert.include(texts([base, dear]), "other estimates than those in the table")
    assert.include(texts([base, dear]), "is not counted")
  })
})

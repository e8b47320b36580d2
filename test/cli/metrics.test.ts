import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { chart } from "../../src/cli/text/chart.ts"
import { mostTelling, renderMetrics, sparkline } from "../../src/cli/verbs/metrics.ts"
import { styleOf } from "../../src/cli/terminal/style.ts"
import { type Metric, metricsOfAction, metricsOfRun } from "../../src/ledger/Series.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

process.env["NO_COLOR"] = "1"
const style = styleOf(process.stdout)

const series = (values: ReadonlyArray<number | null>, label = "train", name = "loss"): Metric => ({
  label,
  name,
  value: values.at(-1) ?? null,
  points: values.map((value, step) => ({ step, value }))
})

describe("metrics", () => {
  const script = new LedgerScript()
  const first = script.run({
    executes: [
      {
        label: "a",
        metrics: [
          { name: "loss", step: 2, value: 1 },
          { name: "loss", step: 1, value: 4 },
          { name: "best", value: Number.NaN }
        ]
      },
      {
        label: "b",
        parameters: { n: 1 },
        metrics: [
          { name: "loss", value: 3 },
          { name: "loss", step: 0, value: 9 }
        ]
      }
    ]
  })
  const second = script.run({ reuses: [first.done[1]!, first.done[0]!] })

  it("of a run are those of its actions, reused ones included, in the order of the plan", () => {
    const found = metricsOfRun(script.database, second.run)
    assert.deepStrictEqual(
      found.map(({ label, name, value }) => [label, name, value]),
      [
        ["b", "loss", 3],
        ["a", "loss", 1],
        ["a", "best", null]
      ]
    )
  })

  it("are ordered by step; the last point stands in for a final value", () => {
    const [loss] = metricsOfAction(script.database, first.done[0]!.action, "a", "lo*")
    assert.deepStrictEqual(loss, {
      label: "a",
      name: "loss",
      value: 1,
      points: [
        { step: 1, value: 4 },
        { step: 2, value: 1 }
      ]
    })
  })

  it("are chosen by a pattern", () => {
    const names = (glob: string) => metricsOfRun(script.database, first.run, glob).map(({ name }) => name)
    assert.deepStrictEqual(names("b*"), ["best"])
    assert.deepStrictEqual(names("?oss"), ["loss", "loss"])
    assert.deepStrictEqual(names("nothing"), [])
  })

  it("of a run that has not ended are those of what it executed", () => {
    const own = new LedgerScript()
    const { run } = own.run({ executes: [{ label: "a", metrics: [{ name: "loss", value: 1 }] }], status: "running" })
    assert.strictEqual(metricsOfRun(own.database, run).length, 1)
  })

  it("come with what a result is worth first, measured before followed, and what it cost last", () => {
    const final = (name: string): Metric => ({ label: "a", name, value: 1, points: [] })
    const given = [
      final("cpu_used_memory(GB)"),
      series([1, 2], "a", "eval/nll_bound"),
      final("losses/mdm"),
      final("eval/exact_match"),
      final("cola/aup")
    ]
    assert.deepStrictEqual(
      mostTelling(given).map(({ name }) => name),
      ["eval/exact_match", "cola/aup", "eval/nll_bound", "losses/mdm", "cpu_used_memory(GB)"]
    )
  })

  it("are printed with what is no number said so", () => {
    const text = renderMetrics(metricsOfRun(script.database, first.run), style)
    assert.match(text, /best +not a number/)
    assert.match(text, /2 points, steps 1 to 2, 1 to 4/)
  })
})

describe("sparklines", () => {
  it("fall from the highest to the lowest sign", () => {
    assert.strictEqual(sparkline([7, 6, 5, 4, 3, 2, 1, 0].map((value, step) => ({ step, value }))), "█▇▆▅▄▃▂▁")
  })

  it("leave a gap where there is no number, and draw a constant in the middle", () => {
    assert.strictEqual(
      sparkline([
        { step: 0, value: 1 },
        { step: 1, value: null },
        { step: 2, value: 1 }
      ]),
      "▄ ▄"
    )
    assert.strictEqual(sparkline([{ step: 0, value: null }]), " ")
  })

  it("have at most 40 letters, each a sign or a gap, and show the extremes of what they are given", () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e12, max: 1e12 })), {
          minLength: 1,
          maxLength: 300
        }),
        values => {
          const text = sparkline(values.map((value, step) => ({ step, value })))
          assert.strictEqual([...text].length, Math.min(40, values.length))
          assert.match(text, /^[▁▂▃▄▅▆▇█ ]+$/)
          const known = new Set(values.filter(value => value !== null))
          if (values.length <= 40 && known.size > 1) assert.isTrue(text.includes("▁") && text.includes("█"))
        }
      )
    )
  })
})

describe("charts", () => {
  /** The lines of series, which alone are so wide. */
  const linesIn = (svg: string) => [...svg.matchAll(/ d="([^"]*)"[^>]* stroke-width="1.5"/g)].map(([, d]) => d!)
  /** Dots that stand alone. */
  const dotsIn = (svg: string) =>
    [...svg.matchAll(/ transform="matrix\(2,0,0,2,([^,]*),([^)]*)\)"/g)].flatMap(([, x, y]) => [Number(x), Number(y)])
  const numbersIn = (svg: string) => [
    ...linesIn(svg).flatMap(d => d.match(/-?\d+(?:\.\d+)?/g)?.map(Number) ?? []),
    ...dotsIn(svg)
  ]

  it("are well formed, and every point lies inside the picture", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.array(fc.option(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 })), {
            minLength: 1,
            maxLength: 30
          }),
          { minLength: 1, maxLength: 4 }
        ),
        lists => {
          const svg = chart(lists.map((values, i) => series(values, `label <${i}> & "more"`)))
          assert.notMatch(svg, /NaN|Infinity|undefined/)
          assert.strictEqual(svg.match(/<g/g)!.length, svg.match(/<\/g>/g)!.length)
          assert.notMatch(svg, /<\d+>|& /)
          assert.strictEqual(linesIn(svg).length, lists.length)
          for (const value of numbersIn(svg)) assert.isTrue(value >= 0 && value <= 720)
        }
      ),
      { numRuns: 60 }
    )
  })

  it("have a panel for each metric and a line for each action", () => {
    const svg = chart([series([1, 2], "a"), series([2, 3], "b"), series([5], "a", "accuracy")])
    assert.strictEqual(linesIn(svg).length, 3)
    assert.include(svg, ">loss</text>")
    assert.include(svg, ">b</text>")
    assert.include(svg, "accuracy · a")
    assert.strictEqual(dotsIn(svg).length, 2)
  })

  it("interrupt the line where there is no number", () => {
    const svg = chart([series([1, 2, null, 3, 4, null, 5])])
    assert.strictEqual(linesIn(svg)[0]!.match(/M/g)!.length, 3)
    assert.strictEqual(dotsIn(svg).length, 2)
  })
})

/** The report on benchmarks: its areas beside the formula written plainly, its tables, and what of a model's text it lets through. */
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import type { Judged, SampleSettings, SuiteResult } from "../../src/evaluation/suiteFiles.ts"
import type { Table } from "../../src/report/answers.ts"
import { answersChart } from "../../src/report/figures.ts"
import { suiteMarkdown } from "../../src/report/suiteMarkdown.ts"
import { suiteHtml } from "../../src/report/suitePage.ts"
import { type Decoded, makeSuiteReport, type SuiteEntry, suiteJson } from "../../src/report/suiteReport.ts"
import { curvesTable, decodingText, scoresTables, settingsTable } from "../../src/report/suiteTables.ts"
import { textPlot } from "../../src/report/textPlot.ts"

const problems = 40
const samples = 4

interface Made {
  readonly name: string
  /** How many samples of the first problems are all right; of the others none. */
  readonly solved: number
  readonly forwards: number
  readonly settings?: Partial<SampleSettings>
}

/** Every problem takes 12 tokens a sample. */
const decoded = ({ forwards, name, settings = {}, solved }: Made): Decoded => {
  const result: SuiteResult = {
    task: "humaneval",
    protocol: "open-dllm",
    about: "ten samples & <more>",
    weights: "w".repeat(64),
    settings: {
      method: "masked",
      newTokens: 12,
      steps: forwards,
      seed: 0,
      decoding: { temperature: 0.8, alg: "p2" },
      ...settings
    },
    python: "3.11.7",
    problems,
    of: 164,
    partial: true,
    passAtK: [{ k: 1, value: solved / problems, low: solved / problems - 0.1, high: solved / problems + 0.1 }],
    tokensPerForward: 12 / forwards,
    tokensPerSecond: 345.6,
    byProblem: Array.from({ length: problems }, (_, i) => ({
      task_id: `H/${i}`,
      samples,
      right: i < solved ? samples : 0,
      tokens: 12 * samples,
      forwards: forwards * samples
    })),
    results: {}
  }
  const judged = result.byProblem.flatMap(({ right, task_id }) =>
    Array.from({ length: samples }, (_, s): Judged => {
      const passed = s < right
      return {
        task_id,
        completion: `</pre><script>alert("${name} ${passed ? "right" : "wrong"} ${task_id}")</script>`,
        result: passed ? "passed" : "failed: NameError",
        passed
      }
    })
  )
  return { name, digest: `${name.charCodeAt(0)}`.padEnd(64, "0"), result, judged }
}

const autoregressive = { method: "autoregressive", decoding: { temperature: 0 } } as const
const entry: SuiteEntry = {
  name: "code",
  prompts: new Map([["H/0", "def f(x):\n    <b>bold</b>"]]),
  decodings: [
    decoded({ name: "slow", solved: 32, forwards: 12 }),
    decoded({ name: "fast", solved: 31, forwards: 4 }),
    decoded({ name: "cached", solved: 30, forwards: 6, settings: { decoding: { cache: "dual", threshold: 0.9 } } }),
    decoded({ name: "left", solved: 36, forwards: 12, settings: autoregressive }),
    decoded({
      name: "drafts",
      solved: 36,
      forwards: 5,
      settings: { ...autoregressive, draftTokens: 4, drafter: "d".repeat(64) }
    })
  ],
  notRun: ["nothing & <nobody>"]
}
const settings = { title: "evaluate", command: "pipeline run evaluate --config <x>", seed: 0 }
const report = makeSuiteReport([entry], settings)
const curves = () => {
  const [only] = report.entries
  return "curves" in only! ? only.curves : []
}

describe("the report on benchmarks", () => {
  it("has the area under each kind of decoding, weighted by the best of all of them, with an interval around it", () => {
    // d3LLM's formula, per cent: the best of all is 90.
    const weighted = (y: number) => y * Math.exp(-3 * (1 - y / 90))
    const expected = {
      diffusion: 1 * 80 + ((3 - 1) * (weighted(77.5) + weighted(80))) / 2,
      "diffusion, cache dual": 2 * 75,
      "token by token": 1 * 90,
      "token by token, 4 drafted at a time": 2.4 * 90
    }
    assert.sameMembers(
      curves().map(({ label }) => label),
      Object.keys(expected)
    )
    for (const { aup, label } of curves()) {
      assert.closeTo(aup.value, expected[label as keyof typeof expected], 1e-9, label)
      assert.isTrue(aup.low < aup.value && aup.value < aup.high, label)
    }
    const [, areas] = [curvesTable(report)!.columns, curvesTable(report)!.lines]
    assert.deepStrictEqual(
      areas.map(([label]) => label),
      Object.keys(expected)
    )
  })

  it("counts a problem by its share of right samples, whatever the samples took", () => {
    const problem = fc.record({
      right: fc.integer({ min: 0, max: samples }),
      tokens: fc.integer({ min: 1, max: 50 }),
      forwards: fc.integer({ min: 1, max: 50 })
    })
    const point = fc.array(problem, { minLength: 5, maxLength: 5 })
    fc.assert(
      fc.property(fc.array(point, { minLength: 1, maxLength: 3 }), points => {
        const decodings = points.map((own, p): Decoded => {
          const base = decoded({ name: `p${p}`, solved: 0, forwards: 4 })
          const byProblem = own.map((each, i) => ({ task_id: `H/${i}`, samples, ...each }))
          return { ...base, result: { ...base.result, passAtK: [], byProblem } }
        })
        const [only] = makeSuiteReport([{ ...entry, decodings }], settings).entries
        const [curve] = "curves" in only! ? only.curves : []
        const sum = (own: (typeof points)[number], of: (each: (typeof own)[number]) => number) =>
          own.reduce((total, each) => total + of(each), 0)
        const plain = points
          .map(own => ({
            y: (100 * sum(own, ({ right }) => right)) / (samples * own.length),
            x: sum(own, ({ tokens }) => tokens) / sum(own, ({ forwards }) => forwards)
          }))
          .sort((a, b) => a.x - b.x || b.y - a.y)
        const best = Math.max(...plain.map(({ y }) => y))
        const weighted = (y: number) => (best > 0 ? y * Math.exp(-3 * (1 - y / best)) : 0)
        const kept = plain.filter(({ y }) => y >= plain[0]!.y - 5 - 1e-9)
        const area = kept
          .slice(1)
          .reduce((total, { x, y }, i) => total + ((x - kept[i]!.x) * (weighted(y) + weighted(kept[i]!.y))) / 2, 0)
        assert.closeTo(curve!.aup.value, plain[0]!.x * plain[0]!.y + area, 1e-6)
        assert.isTrue(curve!.aup.low <= curve!.aup.high)
      }),
      { numRuns: 15 }
    )
  })

  it("has tokens per forward pass and per second beside every score, and says how each was decoded", () => {
    const [{ columns, lines }] = scoresTables(report) as readonly [Table]
    assert.deepStrictEqual(columns, [
      "code, protocol open-dllm, 40 of 164 problems, partial",
      "pass@1",
      "tokens/forward",
      "tok/s"
    ])
    assert.deepStrictEqual(
      lines.map(([decoding]) => decoding),
      [
        "slow: 12 steps, temperature 0.8, p2",
        "fast: 4 steps, temperature 0.8, p2",
        "cached: 6 steps, cache dual, threshold 0.9",
        "left: token by token",
        "drafts: token by token, 4 drafted"
      ]
    )
    for (const line of lines) {
      assert.match(line[2]!, /^\d\.\d\d \[/)
      assert.strictEqual(line[3], "346")
    }
    assert.strictEqual(decodingText({ method: "ldlm", newTokens: 8, steps: 1, seed: 0, decoding: {} }), "1 step")
  })

  it("names every setting, of the decodings that have it", () => {
    const [only] = report.entries
    const { columns, lines } = settingsTable(only as never)
    assert.deepStrictEqual(columns, ["setting", "slow", "fast", "cached", "left", "drafts"])
    const byName = new Map(lines.map(([name, ...values]) => [name, values]))
    assert.deepStrictEqual(byName.get("decoding.cache"), ["", "", "dual", "", ""])
    assert.deepStrictEqual(byName.get("draftTokens"), ["", "", "", "", "4"])
    assert.deepStrictEqual(byName.get("drafter"), ["", "", "", "", "d".repeat(12)])
    assert.deepStrictEqual(byName.get("samples"), ["4", "4", "4", "4", "4"])
    assert.deepStrictEqual([...byName.keys()].slice(-3), ["python", "weights", "score"])
    assert.deepStrictEqual(byName.get("steps"), ["12", "4", "6", "12", "5"])
  })

  it("is a page by itself, on which nothing of what a model wrote is obeyed, with right answers beside wrong ones", () => {
    const page = suiteHtml(report)
    assert.notMatch(page, /<script|<b>bold|<x>|<more>|<nobody>/)
    assert.notMatch(page, /(?:src|href)="(?!#)/)
    const first = page.slice(page.indexOf("H/0:"), page.indexOf("H/1:"))
    assert.include(first, "20 of 20 right")
    assert.include(first, "def f(x):\n    &lt;b&gt;bold&lt;/b&gt;")
    const middle = page.slice(page.indexOf("H/31:"), page.indexOf("H/32:"))
    assert.include(middle, "12 of 20 right")
    const [right, wrong] = middle.split("<h4>wrong</h4>")
    // One of each decoding is shown, on its side.
    for (const [side, names] of [
      [right!, ["slow", "left", "drafts"]],
      [wrong!, ["fast", "cached"]]
    ] as const)
      assert.deepStrictEqual(
        Array.from(side.matchAll(/<p class="small">(\w+): (?:passed|failed)/g), ([, name]) => name),
        [...names]
      )
    // The numbers of the tables, with their intervals below them.
    const [{ lines }] = scoresTables(report) as readonly [Table]
    for (const cell of lines.flatMap(([, ...cells]) => cells)) {
      const [, value, interval] = /^([^[]*[^ [])(?: (\[.*\]))?$/.exec(cell)!
      assert.include(
        page,
        `<td>${value}${interval === undefined ? "" : ` <span class="interval">${interval}</span>`}</td>`
      )
    }
    assert.include(page, "40 of the 164 problems were asked. This is not the benchmark")
    assert.include(page, "code, nothing &amp; &lt;nobody&gt;")
  })

  it("draws the curve for a terminal", () => {
    const markdown = suiteMarkdown(report)
    const plot = /```text\n([^]*?)```/.exec(markdown)![1]!
    assert.match(plot, /● diffusion {3}■ diffusion, cache dual/)
    for (const mark of ["●", "■", "▲", "◆"]) assert.isAbove(plot.split(mark).length, 2, mark)
    for (const line of plot.split("\n")) assert.isAtMost([...line].length, 110)
  })

  it("has every number in report.json", () => {
    const json = JSON.parse(suiteJson(report)) as {
      readonly suites: ReadonlyArray<{ readonly curves: ReadonlyArray<object> }>
    }
    assert.strictEqual(json.suites[0]!.curves.length, 4)
  })

  it("has no curve of problems of which other ones were asked, and none where tokens are not known", () => {
    const [slow, fast] = entry.decodings
    const fewer = { ...fast!, result: { ...fast!.result, byProblem: fast!.result.byProblem.slice(1) } }
    const { settings: _, ...elsewhere } = slow!.result
    const unknown = {
      ...slow!,
      result: {
        ...elsewhere,
        byProblem: slow!.result.byProblem.map(({ right, samples: n, task_id }) => ({ right, samples: n, task_id }))
      }
    }
    const other = makeSuiteReport(
      [
        {
          ...entry,
          decodings: [
            unknown,
            slow!,
            {
              ...fewer,
              result: { ...fewer.result, settings: { ...fewer.result.settings!, decoding: { cache: "dual" } } }
            }
          ]
        }
      ],
      settings
    )
    const [only] = other.entries
    assert.deepStrictEqual("curves" in only! ? only.curves.map(({ label }) => label) : [], ["diffusion"])
    assert.match(scoresTables(other)[0]!.lines[0]!.join(" | "), /made elsewhere .* n\/a/)
  })
})

describe("a chart of right answers", () => {
  it("shows a mark where drafts answered, and a line where tokens came one by one", () => {
    const answered = (rate: number, share: number) => ({
      rate: { value: rate, low: rate, high: rate },
      share: { value: share, low: share, high: share }
    })
    const drawn = (
      levels: ReadonlyArray<ReturnType<typeof answered>>,
      marked: ReadonlyArray<ReturnType<typeof answered>>
    ) => answersChart("a", "caption", [], { levels, marked }).svg
    /** Rings: arcs of a whole turn. */
    const rings = (svg: string) => svg.split(/ d="M1 0A/).length - 1
    assert.strictEqual(rings(drawn([answered(1, 0.5)], [answered(2, 0.5)])), 1)
    assert.strictEqual(rings(drawn([answered(1, 0.5)], [])), 0)
  })
})

describe("a plot in text", () => {
  it("has a mark for every point, inside its frame, whatever the numbers", () => {
    const point = fc.tuple(
      fc.double({ min: 0.01, max: 1000, noNaN: true }),
      fc.double({ min: 0, max: 100, noNaN: true })
    )
    fc.assert(
      fc.property(fc.array(fc.array(point, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 }), series => {
        const plot = textPlot(
          series.map((points, i) => ({ mark: "abcd"[i]!, points })),
          "x"
        )
        const lines = plot.split("\n")
        assert.strictEqual(lines.length, 14)
        const inside = lines.slice(0, 11).map(line => line.slice(8))
        for (const line of inside) assert.isAtMost(line.length, 48)
        const marks = inside.join("").replaceAll(" ", "")
        assert.match(marks, /^[abcd+]+$/)
        assert.isAtMost(marks.length, series.flat().length)
        for (const [i] of series.entries()) assert.isTrue(marks.includes("abcd"[i]!) || marks.includes("+"))
      })
    )
  })

  it("puts more to the right and better above", () => {
    const lines = textPlot(
      [
        { mark: "a", points: [[1, 10]] },
        { mark: "b", points: [[8, 90]] }
      ],
      "x"
    ).split("\n")
    const at = (mark: string) => {
      const row = lines.findIndex(line => line.includes(mark))
      return [row, lines[row]!.indexOf(mark)] as const
    }
    assert.deepStrictEqual(at("b"), [0, 8 + 47])
    assert.deepStrictEqual(at("a"), [10, 8])
  })
})

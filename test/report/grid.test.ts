/** The grid's report: what stands in its tables, what it concludes, and what it does not let through. */
import { Array as Arr } from "effect"
import { assert, describe, it } from "vitest"
import { answersTable, aupDifferencesTable, aupTable, sharesTable } from "../../src/report/answers.ts"
import { answersFigures } from "../../src/report/figures.ts"
import { lineChart } from "../../src/report/charts.ts"
import { compare } from "../../src/report/comparison.ts"
import { linesOf, thinned } from "../../src/report/lines.ts"
import { gridMarkdown } from "../../src/report/gridMarkdown.ts"
import { gridHtml } from "../../src/report/gridPage.ts"
import { gridJson, makeGridReport, type ReportSettings } from "../../src/report/gridReport.ts"
import type { Reference, TaskResult } from "../../src/evaluation/results.ts"
import type { GridRow, Run } from "../../src/report/rows.ts"
import { makeResampler } from "../../src/report/statistics.ts"
import { ties, tieText } from "../../src/report/ties.ts"
import { answersWith, fixtureRow, referenceTexts, taskResult } from "../support/gridFixtures.ts"

const settings: ReportSettings = {
  title: "compare",
  command: "pipeline run compare",
  remarks: ["Fifty documents."],
  compare: true,
  steps: 8,
  seed: 0
}

const beside = { referenceTexts: referenceTexts("teacher") }
const reportOf = (rows: ReadonlyArray<GridRow>) => makeGridReport(rows, rows[0]!, [], settings, beside)

/** A row without some of what was measured. */
const without = (row: GridRow, ...parts: ReadonlyArray<keyof Run>): GridRow => ({
  ...row,
  runs: row.runs.map(
    run =>
      ({
        tasks: [],
        ...Object.fromEntries(Object.entries(run).filter(([part]) => !parts.includes(part as keyof Run)))
      }) as unknown as Run
  )
})

const withLikelihood = (row: ReturnType<typeof fixtureRow>, changes: object): GridRow => ({
  ...row,
  runs: row.runs.map(run => ({
    ...run,
    likelihood: { ...run.likelihood, content: { ...run.likelihood.content, ...changes } }
  }))
})

interface Json {
  readonly rows: ReadonlyArray<{
    readonly label: string
    readonly cells: {
      readonly [column: string]:
        | { readonly value: number; readonly low?: number; readonly high?: number }
        | { readonly absent: string }
    }
  }>
  readonly comparisons: ReadonlyArray<{
    readonly difference?: {
      readonly value: number
      readonly low: number
      readonly high: number
      readonly adjusted: number
      readonly p: number
    }
  }>
}

/** The numbers in a text, with how far each may be off for being rounded. */
const numbersIn = (text: string) =>
  [...text.matchAll(/([−+]?)(\d[\d,]*(?:\.(\d+))?)( %)?/g)].map(([, sign, digits, decimals, percent]) => {
    const scale = percent === undefined ? 1 : 0.01
    return {
      value: (sign === "−" ? -1 : 1) * Number(digits!.replaceAll(",", "")) * scale,
      off: 0.500001 * 10 ** -(decimals ?? "").length * scale
    }
  })

const assertStands = (text: string, values: ReadonlyArray<number | undefined>) => {
  const expected = values.filter(value => value !== undefined)
  const found = numbersIn(text)
  assert.strictEqual(found.length, expected.length, text)
  for (const [i, { off, value }] of found.entries()) assert.closeTo(value, expected[i]!, off, text)
}

/** Cells of all tables of a Markdown text by their lines' labels, in order. */
const cellsOf = (markdown: string, label: string): ReadonlyArray<string> =>
  markdown
    .split("\n")
    .map(line =>
      line
        .slice(1, -1)
        .split("|")
        .map(cell => cell.trim())
    )
    .filter(([first]) => first === label)
    .flatMap(([, ...cells]) => cells)

describe("the grid", () => {
  const rows = [
    fixtureRow({ name: "base" }),
    fixtureRow({ name: "better", shift: -0.1, spread: 0.1 }),
    { ...fixtureRow({ name: "odd", spread: 0.1 }), notApplicable: { msPerForward: "it has no steps" } }
  ]
  const report = reportOf(rows)
  const json = JSON.parse(gridJson(report)) as Json

  it("shows every number of report.json, rounded, in the Markdown and on the page", () => {
    const markdown = gridMarkdown(report)
    const html = gridHtml(report).replaceAll(/<\/?span[^>]*>/g, "")
    for (const [i, { cells, label }] of json.rows.entries()) {
      const figures = Object.values(cells)
      const texts = cellsOf(markdown, label)
      assert.isAtLeast(texts.length, figures.length)
      for (const [c, figure] of figures.entries()) {
        if ("absent" in figure) assert.match(texts[c]!, /^n\/a[¹²³]$/)
        else {
          assertStands(texts[c]!, [figure.value, figure.low, figure.high])
          assert.include(html, `<td>${texts[c]!}</td>`)
        }
      }
      const difference = json.comparisons[i - 1]?.difference
      if (difference !== undefined) {
        const [beside, value, interval] = texts.slice(figures.length)
        assert.strictEqual(beside, "row base")
        assertStands(value!, [difference.value])
        assertStands(interval!, [difference.low, difference.high])
      }
    }
  })

  it("puts remarks first, where nobody can miss them", () => {
    const [markdown, html] = [gridMarkdown(report), gridHtml(report)]
    assert.isTrue(markdown.startsWith("# compare\n\n> **Fifty documents.**\n\n"))
    assert.include(html, '<h1>compare</h1>\n<p class="remark">Fifty documents.</p>')
  })

  it("says what it is about, what was measured where and when, and what the figures are, before any verdict", () => {
    const html = gridHtml(report)
    const verdicts = html.indexOf("<h2>What the data support</h2>")
    for (const text of [
      "ways to make a diffusion language model of one autoregressive model",
      "All rows were measured on the same 50 held-out documents",
      "A processor &lt;of one kind&gt;, 2 processors, 2026-01-02, engine ort/cpu/f32",
      "<dt>bound</dt>",
      "the same problems (50 of equations)"
    ])
      assert.isTrue(html.includes(text) && html.indexOf(text) < verdicts, text)
    // Of results that do not say it, nothing is said.
    const older = rows.map(row => ({
      ...row,
      runs: row.runs.map(({ benchmark, ...run }) => {
        const { machine: _, ...content } = benchmark!.content
        return { ...run, benchmark: { ...benchmark!, content } }
      })
    }))
    assert.notInclude(gridHtml(reportOf(older)), "Speed was measured on")
  })

  it("says n/a where a quantity does not exist or was not measured, and why in a footnote; it invents nothing", () => {
    const partial = reportOf([rows[0]!, rows[2]!, without(fixtureRow({ name: "untimed" }), "benchmark", "model")])
    const markdown = gridMarkdown(partial)
    const html = gridHtml(partial)
    for (const text of [markdown, html]) {
      assert.include(text, "it has no steps")
      assert.include(text, "decoding in 8 steps was not timed")
      assert.include(text, "nothing was trained for this row")
    }
    assert.strictEqual(cellsOf(markdown, "row untimed").filter(text => text.startsWith("n/a")).length, 5 + 6)
    assert.notMatch(markdown + html, /NaN|undefined|Infinity/)
  })

  it("of rows without anything is n/a from end to end", () => {
    const empty = reportOf([
      without(rows[0]!, "benchmark", "model", "likelihood", "texts", "tasks", "log"),
      without(rows[1]!, "benchmark", "model", "likelihood", "texts", "tasks", "log")
    ])
    const texts = cellsOf(gridMarkdown(empty), "row better")
    assert.isAbove(texts.length, 10)
    for (const text of texts.filter(text => text !== "row base")) assert.match(text, /^n\/a/)
    assert.notMatch(gridHtml(empty), /NaN|undefined|Infinity/)
  })

  it("keeps what models and data say from the terminal and from the page's structure", () => {
    const evil = `</table><img src=x onerror=alert(1)> | \u001b[31mred`
    const row = { ...rows[1]!, label: evil, note: evil, notApplicable: { entropy: evil } }
    const sample = { prompt: evil, text: evil }
    const base = fixtureRow({ name: "base" })
    const [run] = base.runs
    const task = `equations ${evil}`
    const first: GridRow = {
      ...base,
      runs: [
        {
          ...run,
          texts: {
            ...run.texts,
            content: {
              ...run.texts.content,
              generations: run.texts.content.generations.map(each => ({ ...each, sample }))
            }
          },
          tasks: [
            {
              digest: "",
              content: {
                ...run.tasks[0]!.content,
                task,
                answers: Arr.map(run.tasks[0]!.content.answers, each => ({
                  ...each,
                  sample: { ...sample, answer: evil }
                }))
              }
            }
          ]
        }
      ]
    }
    const found = makeGridReport([first, row], first, [], { ...settings, title: evil, command: evil, remarks: [evil] })
    const html = gridHtml(found)
    assert.notInclude(html, "<img")
    assert.strictEqual(html.split("</table>").length, html.split("<table>").length)
    const markdown = gridMarkdown(found)
    assert.notInclude(markdown, "\u001b")
    // Every table keeps its number of columns, line by line.
    for (const table of markdown.split("\n\n").filter(block => block.startsWith("|"))) {
      const columns = table.split("\n").map(line => line.replaceAll("\\|", "").split("|").length)
      assert.strictEqual(new Set(columns).size, 1, table)
    }
  })
})

describe("answers", () => {
  const answering = (name: string, answers: TaskResult["answers"]): GridRow => {
    const row = fixtureRow({ name })
    const content = { ...taskResult(name), answers }
    return { ...row, runs: [{ ...row.runs[0], tasks: [{ digest: name, content }] }] }
  }
  const rows = [
    answering("a", [answersWith(8, 10), answersWith(32, 40)]),
    answering("b", [answersWith(8, 20), answersWith(16, 30), answersWith(32, 41), answersWith(4, 37, 0.9)])
  ]
  const teacher = [{ digest: "", content: { ...taskResult("t"), answers: [answersWith(10, 41)] as const } }]
  const report = makeGridReport(rows, rows[0]!, [], settings, { teacher })
  const parallelism = report.parallelism!
  /** Values without their intervals, which are there. */
  const values = ({ lines }: { readonly lines: ReadonlyArray<ReadonlyArray<string>> }) =>
    lines.map(([label, ...cells]) => [
      label,
      ...cells.map(cell => {
        if (/^\d+\.\d/.test(cell)) assert.match(cell, /\[[^\]]+, [^\]]+\]$/)
        return cell.replaceAll(/(?: %)? \[[^\]]*\]/g, "")
      })
    ])

  it("are tables of AUP and of shares by tokens a step and threshold, a line for each row and the teacher", () => {
    const table = aupTable(parallelism)
    assert.deepStrictEqual(table.columns, ["AUP", "equations"])
    // The best is 82 %: of the teacher, and of the second row.
    const weight = (share: number) => share * Math.exp(-3 * (1 - share / 82))
    const second =
      82 * (10 / 32) +
      // 60 % and 40 % are too far below 82 %; with the threshold 74 % as well.
      0
    assert.deepStrictEqual(values(table), [
      ["row a", (80 * (10 / 32)).toFixed(1)],
      ["row b", second.toFixed(1)],
      ["the teacher, token by token", "82.0"]
    ])
    const near = [answering("c", [answersWith(32, 41), answersWith(8, 40)])]
    assert.deepStrictEqual(values(aupTable(makeGridReport(near, near[0]!, [], settings).parallelism!)), [
      ["row c", (82 * (10 / 32) + ((10 / 8 - 10 / 32) * (weight(80) + 82)) / 2).toFixed(1)]
    ])

    const shares = sharesTable(parallelism)
    assert.deepStrictEqual(shares.columns, [
      "right answers",
      "1 token a step",
      "2 tokens a step",
      "4 tokens a step",
      "threshold 0.9",
      "tokens per forward"
    ])
    assert.deepStrictEqual(values(shares), [
      ["row a", "80.0", "n/a", "20.0", "n/a", "n/a"],
      ["row b", "82.0", "60.0", "40.0", "74.0", "2.50"],
      // Ten steps of 32 tokens are not one a step, though the teacher took one for each.
      ["the teacher, token by token", "n/a", "n/a", "n/a", "n/a", "n/a"]
    ])
  })

  it("have a line for what the teacher answers with the drafts of a row", () => {
    const drafted = {
      ...teacher[0]!,
      content: {
        ...taskResult("t"),
        answers: [answersWith(5, 41)] as const,
        drafts: { tokens: 4, weights: rows[1]!.runs[0]!.model!.digest }
      }
    }
    const { parallelism: found } = makeGridReport(rows, rows[0]!, [], settings, { teacher: [...teacher, drafted] })
    const lines = values(aupTable(found!))
    assert.deepStrictEqual(lines.slice(2), [
      ["the teacher, token by token", "82.0"],
      ["the teacher, 4 tokens at a time drafted by row b", "164.0"]
    ])
    const alone = {
      ...drafted,
      content: { ...drafted.content, drafts: { tokens: 4, weights: drafted.content.weights } }
    }
    const { rows: itself } = makeGridReport(rows, rows[0]!, [], settings, { teacher: [alone] }).parallelism!
    assert.strictEqual(itself.at(-1)!.label, "the teacher, 4 tokens at a time drafted by itself")
  })

  it("are told for each task and operating point, with tokens per forward pass, and drawn by these", () => {
    const { columns, lines } = answersTable(parallelism)
    assert.deepStrictEqual(columns, ["task", "operating point", "row a", "row b", "the teacher, token by token"])
    assert.deepStrictEqual(values({ lines }), [
      ["equations", "8 steps", "20.0 at 1.25", "40.0 at 1.25", ""],
      ["equations", "32 steps", "80.0 at 0.313", "82.0 at 0.313", ""],
      ["equations", "16 steps", "", "60.0 at 0.625", ""],
      ["equations", "threshold 0.9", "", "74.0 at 2.50", ""],
      ["equations", "10 steps", "", "", "82.0 at 1.00"]
    ])
    // Wilson's interval of 10 right of 50.
    assert.match(lines[0]![2]!, /^20\.0 % \[11\.2 %, 33\.0 %\] at 1\.25 \[1\.25, 1\.25\]$/)
    const [chart, ...others] = answersFigures(parallelism)
    assert.lengthOf(others, 0)
    assert.deepStrictEqual(chart!.rows, [0, 1])
    // The teacher's share is a dashed line; what a threshold gave is a line of its own.
    assert.include(chart!.svg, "stroke-dasharray")
    const html = gridHtml(report)
    for (const text of ["the teacher, token by token", "by thresholds", "Each task and operating point"])
      assert.include(html, text)
    const markdown = gridMarkdown(report)
    assert.include(markdown, "| AUP ")
    assert.notMatch(markdown + html, /NaN|undefined|Infinity/)
  })

  it("have paired differences of AUP, where rows are compared", () => {
    const difference = 82 * (10 / 32) - 80 * (10 / 32)
    const [line, ...others] = aupDifferencesTable(parallelism, false).lines
    assert.lengthOf(others, 0)
    assert.deepStrictEqual(line!.slice(0, 4), ["row b", "row a", "equations", `+${difference.toFixed(1)}`])
    assert.include(gridMarkdown(report), "Δ AUP")
    const silent = makeGridReport(rows, rows[0]!, [], { ...settings, compare: false }, { teacher })
    assert.lengthOf(silent.parallelism!.differences, 0)
    assert.notInclude(gridMarkdown(silent), "Δ AUP")
    const { parallelism: json } = JSON.parse(gridJson(report)) as {
      readonly parallelism: { readonly differences: ReadonlyArray<{ readonly aup: { readonly value: number } }> }
    }
    assert.closeTo(json.differences[0]!.aup.value, difference, 1e-9)
  })

  it("at one operating point stand in the grid alone", () => {
    const row = answering("a", [answersWith(8, 10)])
    const alone = makeGridReport([row], row, [], settings)
    assert.isUndefined(alone.parallelism)
    assert.include(gridMarkdown(alone), "exact match, equations")
    assert.notInclude(gridMarkdown(alone), "AUP")
  })
})

describe("the comparison", () => {
  const base = fixtureRow({ name: "base" })
  const verdictOf = (...rows: ReadonlyArray<GridRow>) => compare([base, ...rows], base, makeResampler(0))

  it("is of the bounds in the table: their difference", () => {
    const row = fixtureRow({ name: "a", shift: 0.04, spread: 0.2 })
    const [{ difference }] = verdictOf(row) as [ReturnType<typeof verdictOf>[number]]
    const bound = (of: typeof row) => of.runs[0].likelihood.content.bound!.nats
    assert.closeTo(difference!.value, bound(row) - bound(base), 1e-12)
  })

  it("is with the row that a row names, and is left out where nothing could follow from it", () => {
    const near = { ...fixtureRow({ name: "near", shift: 0.2 }), against: "far" }
    const found = verdictOf(fixtureRow({ name: "far", shift: 0.2 }), near)
    assert.strictEqual(found[1]!.beside.name, "far")
    assert.match(found[1]!.verdict, /^Exactly row far/)
    assert.isAbove(found[0]!.difference!.value, 0)
    const silent = makeGridReport([base, near], base, [], { ...settings, compare: false })
    assert.deepStrictEqual(silent.comparisons, [])
    assert.notMatch(gridMarkdown(silent) + gridHtml(silent), /What the data support/)
  })

  it("leaves out a method without a bound, and shows what its auto-encoder keeps", () => {
    const other = fixtureRow({ name: "a" })
    const latent = withLikelihood(other, {
      bound: undefined,
      documents: [],
      lossAtRatio: [],
      teacherDistance: undefined,
      reconstruction: {
        loss: { value: 1.25, documents: [80, 0].map(sum => ({ sum, weight: 32 })) },
        accuracy: { value: 0.625, documents: [20, 20].map(sum => ({ sum, weight: 32 })) },
        tokens: 64
      }
    })
    const found = reportOf([base, latent])
    const why = "the method has no bound of the likelihood of tokens"
    assert.strictEqual(found.comparisons[0]!.difference, undefined)
    assert.include(found.comparisons[0]!.verdict, why)
    const [first, second] = (JSON.parse(gridJson(found)) as Json).rows
    for (const id of ["bound", "bitsPerByte", "lossAtRatio.0.5"])
      assert.deepStrictEqual(second!.cells[id], { absent: why })
    assert.deepStrictEqual(second!.cells["reconstruction.accuracy"], { value: 0.625, low: 0.625, high: 0.625 })
    // Two documents of 2.5 and 0 nats per token: a resample has both, or one of them twice.
    assert.deepStrictEqual(second!.cells["reconstruction.loss"], { value: 1.25, low: 0, high: 2.5 })
    assert.deepStrictEqual(second!.cells["teacherDistance"], {
      absent: "the method does not read masks with the language model"
    })
    assert.property(first!.cells["reconstruction.accuracy"], "absent")
    assert.include(gridMarkdown(found), "62.5 %")
    // Where no row has latents there are no such columns.
    assert.notInclude(gridMarkdown(reportOf([base, other])), "reconstruct")
  })

  it("says better, worse, nothing found, and the same", () => {
    const found = verdictOf(
      fixtureRow({ name: "better", shift: -0.2, spread: 0.05 }),
      fixtureRow({ name: "worse", shift: 0.2, spread: 0.05 }),
      fixtureRow({ name: "noise", shift: 0.02, spread: 0.3 }),
      fixtureRow({ name: "same" })
    )
    assert.match(found[0]!.verdict, /lower by .* in 50 of 50 documents: these weights are better than row base\.$/)
    assert.match(found[1]!.verdict, /higher by .*: these weights are worse than row base\.$/)
    assert.match(found[2]!.verdict, /^No difference found from row base: .* after correction for 4 rows/)
    assert.match(found[3]!.verdict, /^Exactly row base/)
  })

  it("does not call what the correction for many rows takes back", () => {
    const alone = fixtureRow({ name: "a", shift: 0.0, spread: 0.09 })
    const [single] = verdictOf(alone)
    assert.isBelow(single!.difference!.p, 0.05)
    assert.include(single!.verdict, "better than")
    const p = single!.difference!.p
    const many = verdictOf(
      alone,
      ...Array.from({ length: Math.ceil(0.05 / p) }, (_, i) => fixtureRow({ name: `${i}` }))
    )
    assert.strictEqual(many[0]!.difference!.p, p)
    assert.match(many[0]!.verdict, /^No difference found .* alone it would pass/)
  })

  it("refuses rows that cannot be paired", () => {
    const documents = base.runs[0].likelihood.content.documents
    const row = fixtureRow({ name: "a" })
    for (const [other, why] of [
      [withLikelihood(row, { documents: documents.slice(1) }), "same documents"],
      [
        withLikelihood(row, { bound: { ...base.runs[0].likelihood.content.bound, estimator: "another" } }),
        "another estimate (another)"
      ],
      [without(row, "likelihood"), "not evaluated"],
      [{ ...row, notApplicable: { bound: "it has no likelihood" } }, "it has no likelihood"],
      [{ ...row, runs: [row.runs[0], row.runs[0]] }, "2 runs"]
    ] as const) {
      const [found] = verdictOf(other)
      assert.isUndefined(found!.difference)
      assert.include(found!.verdict, why)
    }
  })

  it("of several runs pairs seed with seed, and shows means with their range", () => {
    const runsOf = (name: string, shifts: ReadonlyArray<number>): GridRow => ({
      ...fixtureRow({ name }),
      runs: shifts.map(shift => fixtureRow({ name, shift }).runs[0])
    })
    const computing = [0.01, 0.02, 0.06].map(teraflops => fixtureRow({ name: "base", log: { teraflops } }).runs[0].log)
    // The seeds differ by far more than the rows do.
    const [rowOfThree, second] = [runsOf("base", [0, 1, 2]), runsOf("other", [-0.1, 0.9, 1.9])]
    const first = { ...rowOfThree, runs: rowOfThree.runs.map((run, i) => ({ ...run, log: computing[i]! })) }
    const found = makeGridReport([first, second], first, [], settings)
    const { difference } = found.comparisons[0]!
    for (const value of [difference!.value, difference!.low, difference!.high]) assert.closeTo(value, -0.1, 1e-9)
    for (const text of [gridMarkdown(found), gridHtml(found)])
      assert.match(text, /percentile bootstrap over documents and runs.*corrected over the rows by Holm/)
    const { cells } = (JSON.parse(gridJson(found)) as Json).rows[0]!
    const of = (id: string) => cells[id] as { readonly value: number; readonly low: number; readonly high: number }
    // 200 steps each: the mean, the least and the largest.
    for (const [end, expected] of [
      [of("compute").value, 6],
      [of("compute").low, 2],
      [of("compute").high, 12]
    ] as const)
      assert.closeTo(end, expected, 1e-9)
    // Held-out text has intervals over documents and runs: by three bytes a token, those of the bound.
    const [bits, bound] = [of("bitsPerByte"), of("bound")]
    for (const end of ["value", "low", "high"] as const) assert.closeTo(bits[end], bound[end] / Math.LN2 / 3, 1e-9)
    // That of one run alone cannot hold what runs differ by.
    assert.isAbove(bound.high - bound.low, 1)
    assert.include(gridMarkdown(found), "trained 3 times")
  })
})

describe("held-out text", () => {
  const [base, row] = [fixtureRow({ name: "base" }), fixtureRow({ name: "a", shift: -0.1, spread: 0.1 })]
  const { documents } = base.runs[0].likelihood.content
  const references: ReadonlyArray<Reference> = [
    {
      model: "teacher",
      nats: 3,
      bitsPerByte: 3 / Math.LN2 / 3,
      documents: documents.map(each => ({ ...each, nats: 3 * each.tokens }))
    },
    {
      model: "unigram",
      nats: 7,
      bitsPerByte: 7 / Math.LN2 / 3,
      documents: documents.slice(1).map(each => ({ ...each, nats: 7 * each.tokens }))
    }
  ]
  const report = makeGridReport([base, row], base, [], settings, { references })
  const [markdown, html] = [gridMarkdown(report), gridHtml(report)]
  const json = JSON.parse(gridJson(report)) as Json

  it("has an interval on every number", () => {
    const columns = report.grid.columns.filter(({ group }) => group === "held-out text").map(({ id }) => id)
    assert.includeMembers(columns, ["bound", "bitsPerByte", "lossAtRatio.0.5", "autoregressiveLoss", "teacherDistance"])
    for (const { cells } of json.rows)
      for (const id of columns) {
        const { high, low, value } = cells[id] as {
          readonly value: number
          readonly low: number
          readonly high: number
        }
        assert.isAtMost(low, value, id)
        assert.isAtLeast(high, value, id)
      }
  })

  it("says below the table what a loss at a share of masks is, and the distance from the teacher", () => {
    const footnotes = report.grid.columns.flatMap(({ footnote, id }) =>
      footnote === undefined ? [] : [[id, report.grid.footnotes[footnote - 1]!] as const]
    )
    const of = new Map(footnotes)
    assert.strictEqual(of.size, 4)
    assert.match(of.get("lossAtRatio.0.5")!, /the bound's own draws that mask a share within 0\.1 of t/)
    assert.strictEqual(of.get("lossAtRatio.0.1"), of.get("lossAtRatio.0.9"))
    assert.match(of.get("teacherDistance")!, /^1 − cosine/)
    for (const text of of.values()) for (const shown of [markdown, html]) assert.include(shown, text.slice(0, 20))
    assert.match(markdown, /\| +CE t=0\.5[²³⁴⁵] \|/)
  })

  it("has lines of models that it is compared with, exact, and says where they were measured on other documents", () => {
    for (const text of [markdown, html])
      for (const label of ["the teacher, token by token", "unigram model of the corpus"]) assert.include(text, label)
    const [teacher, unigram] = report.grid.lines.filter(line => line.row === undefined).map(({ cells }) => cells)
    const cell = (cells: typeof teacher, id: string) =>
      cells![report.grid.columns.findIndex(column => column.id === id)]!
    assert.strictEqual(cell(teacher, "bound").text, "3.000")
    assert.strictEqual(cell(teacher, "bound").interval, "[3.000, 3.000]")
    assert.strictEqual(cell(teacher, "autoregressiveLoss").text, "3.000")
    assert.strictEqual(cell(unigram, "autoregressiveLoss").text, "")
    const note = (cells: typeof teacher) => report.grid.footnotes[cell(cells, "bound").footnote! - 1]
    assert.strictEqual(note(teacher), "exact, token by token: no bound")
    assert.strictEqual(note(unigram), "exact, token by token: no bound; measured on other documents than the rows")
  })

  it("has paired differences by the share of masks: those of the table, narrower than its intervals", () => {
    const { byRatio } = report.comparisons[0]!.difference!
    assert.deepStrictEqual(
      byRatio.map(({ ratio }) => ratio),
      [0.1, 0.5, 0.9]
    )
    for (const { high, low, ratio, value } of byRatio) {
      const [first, second] = json.rows.map(
        ({ cells }) =>
          cells[`lossAtRatio.${ratio}`] as { readonly value: number; readonly low: number; readonly high: number }
      )
      assert.closeTo(value, second!.value - first!.value, 1e-9)
      assert.isBelow(high - low, (second!.high - second!.low) / 2)
    }
    assert.include(markdown, "Δ CE t=0.5")
    assert.include(html, "<th>Δ CE t=0.5</th>")
    // Rows that were measured by other draws have none.
    const other = withLikelihood(fixtureRow({ name: "b" }), { lossAtRatio: [] })
    assert.deepStrictEqual(makeGridReport([base, other], base, [], settings).comparisons[0]!.difference!.byRatio, [])
  })

  it("gives no interval where one document alone has a part", () => {
    const { lossAtRatio } = row.runs[0].likelihood.content
    const sparse = withLikelihood(row, {
      lossAtRatio: lossAtRatio.map(band => ({
        ...band,
        documents: band.documents.map((part, d) => (d === 3 ? part : { sum: 0, weight: 0 }))
      }))
    })
    const { cells } = (JSON.parse(gridJson(reportOf([sparse, sparse]))) as Json).rows[0]!
    const { sum, weight } = lossAtRatio[0]!.documents[3]!
    assert.deepStrictEqual(cells["lossAtRatio.0.1"], { value: sum / weight })
  })

  it("says which difference the design finds", () => {
    const { detectable, standardError } = report.comparisons[0]!.difference!
    assert.closeTo(detectable, (1.96 + 1.2816) * standardError, 1e-4 * standardError)
    const text = detectable.toFixed(4)
    for (const shown of [markdown, html])
      assert.include(shown, `This design finds a true difference of ${text} nats per token with 90 %`)
    assert.include(cellsOf(markdown, "row a"), text)
    // Rows that are the same have no spread, and promise nothing.
    const same = makeGridReport([base, fixtureRow({ name: "c" })], base, [], settings)
    assert.notInclude(gridMarkdown(same), "This design finds")
  })
})

describe("ties of rows that share an architecture", () => {
  const base = fixtureRow({ name: "base" })

  /** A row whose calls took so many milliseconds per forward, by numbers of steps. */
  const timed = (name: string, calls: { readonly [steps: string]: ReadonlyArray<number> }): GridRow => {
    const row = fixtureRow({ name })
    const [run] = row.runs
    const content = {
      ...run.benchmark.content,
      results: run.benchmark.content.results.map(timing => ({
        ...timing,
        milliseconds: (calls[timing.steps] ?? []).map(ms => ms * timing.forwards)
      }))
    }
    return { ...row, runs: [{ ...run, benchmark: { ...run.benchmark, content } }] }
  }

  it("are broken by a real difference when calls are quiet, among equals alone", () => {
    const [tie, broken, faster, ...others] = ties([
      base,
      fixtureRow({ name: "tie", msPerForward: 10.4 }),
      fixtureRow({ name: "slow", msPerForward: 11.5 }),
      fixtureRow({ name: "fast", msPerForward: 8.5 }),
      fixtureRow({ name: "other", msPerForward: 40, architecture: "latent" })
    ])
    assert.deepStrictEqual([tie!.broken, broken!.broken, faster!.broken, others.length], [false, true, true, 0])
    assert.closeTo(broken!.ratio, 1.15, 1e-12)
    assert.match(tieText(broken!), /^TIE BROKEN: row slow .* 1\.15 times/)
    assert.match(tieText(tie!), /^row tie ties with row base.* 1\.04 times\.$/)
  })

  it("hold while the machine drifts between processes: medians that were measured of one and the same work", () => {
    const a = timed("a", {
      8: [53.2, 58.8, 72.9],
      16: [54.2, 59.0, 63.9],
      32: [59.5, 60.6, 61.8],
      64: [58.8, 59.7, 60.7],
      128: [59.2, 60.7, 62.1]
    })
    const b = timed("b", {
      8: [53.9, 59.3, 61.6],
      16: [47.6, 50.2, 52.9],
      32: [46.7, 49.5, 52.3],
      64: [57.5, 58.5, 59.5],
      128: [67.5, 69.6, 71.8]
    })
    const [tie] = ties([a, b])
    assert.deepStrictEqual([tie!.own.calls, tie!.other.calls], [15, 15])
    // The pool's quantiles, counted by hand on the sorted calls: places 1.4, 7 and 12.6 from 0.
    assert.closeTo(tie!.own.p10, 47.6 + 0.4 * (49.5 - 47.6), 1e-9)
    assert.strictEqual(tie!.own.median, 57.5)
    assert.closeTo(tie!.own.p90, 67.5 + 0.6 * (69.6 - 67.5), 1e-9)
    assert.isFalse(tie!.broken)
  })

  it("hold where ranges are apart and medians close, or medians differ and ranges overlap", () => {
    const quiet = timed("quiet", { 8: [10, 10, 10] })
    assert.isFalse(ties([quiet, timed("close", { 8: [10.4, 10.4, 10.4] })])[0]!.broken)
    assert.isTrue(ties([quiet, timed("apart", { 8: [10.6, 10.6, 10.6] })])[0]!.broken)
    assert.isFalse(ties([quiet, timed("wide", { 8: [10, 10, 20, 20, 20] })])[0]!.broken)
  })

  it("hold as far as the machine was slower, and no further", () => {
    const quiet = timed("quiet", { 8: [10, 10, 10] })
    const slowed = (name: string, ms: number, speed: number): GridRow => {
      const row = timed(name, { 8: [ms, ms, ms] })
      const slower = ({ benchmark, ...run }: Run): Run => ({
        ...run,
        benchmark: {
          ...benchmark!,
          content: { ...benchmark!.content, matmulPeak: benchmark!.content.matmulPeak * speed }
        }
      })
      return { ...row, runs: row.runs.map(slower) }
    }
    assert.isFalse(ties([quiet, slowed("drift", 12, 0.8)])[0]!.broken)
    assert.isTrue(ties([quiet, slowed("other work", 14, 0.8)])[0]!.broken)
    assert.isTrue(ties([quiet, slowed("same machine", 12, 1)])[0]!.broken)
  })

  it("pool the calls of all runs, and are not judged where one was not timed", () => {
    const [first, second] = [timed("a", { 8: [10, 10] }), timed("a2", { 16: [20, 20] })]
    const both: GridRow = { ...first, runs: [...first.runs, ...second.runs] }
    const [tie] = ties([timed("like", { 8: [10] }), both])
    assert.deepStrictEqual([tie!.own.calls, tie!.own.median], [4, 15])
    assert.strictEqual(ties([base, without(fixtureRow({ name: "untimed" }), "benchmark")]).length, 0)
  })
})

describe("charts", () => {
  it("are the same text in every run, with ids of their own", () => {
    const chart = (name: string) =>
      lineChart(name, 'a "title"', {
        x: { label: "step <b>" },
        series: [
          {
            row: 0,
            points: [
              [0, 1],
              [1, 3]
            ],
            marks: true
          }
        ]
      })
    assert.strictEqual(chart("a"), chart("a"))
    assert.strictEqual(chart("b").replaceAll('"b-', '"a-').replaceAll("#b-", "#a-"), chart("a"))
    assert.include(chart("a"), "step &lt;b&gt;")
    assert.include(chart("a"), 'aria-label="a &quot;title&quot;"')
    assert.notMatch(chart("a"), /<style|\bzr\d/)
  })

  it("of several runs draw the mean of what all measured, in a band from the least to the largest", () => {
    const [run] = fixtureRow({ name: "a" }).runs
    const curves = { a: [1, 2, 4], b: [3, 8], c: [5, 5, 0] }
    const row = { ...fixtureRow({ name: "a" }), runs: Object.keys(curves).map(name => ({ ...run, name })) }
    const points = ({ name }: Run) =>
      curves[name as keyof typeof curves].map((y, step) => [step, y, 10 * step] as const)
    const [line, ...others] = linesOf([row], points)
    assert.deepStrictEqual(line, {
      row: 0,
      points: [
        [0, 3],
        [10, 5]
      ],
      band: [
        [0, 1, 5],
        [10, 2, 8]
      ]
    })
    assert.deepStrictEqual(others, [])
    assert.notProperty(linesOf([{ ...row, runs: row.runs.slice(0, 1) }], points)[0], "band")
    // The area is a polygon, along the low ends and back along the high ones, pale.
    const svg = lineChart("a", "a", { x: { label: "step" }, series: [line!] })
    const [, corners] = /<polygon points="([^"]*)" fill="var\(--row-1\)" fill-opacity="0.18">/.exec(svg)!
    const [left, low, right, , , , , high] = corners!.split(" ").map(Number)
    assert.isBelow(left!, right!)
    // Pixels are counted from above.
    assert.isAbove(low!, high!)
  })

  it("thin a curve to means of equally many points", () => {
    assert.deepStrictEqual(
      thinned(
        [
          [1, 4],
          [2, 6],
          [3, 0],
          [4, 2],
          [5, 9]
        ],
        2
      ),
      [
        [1.5, 5],
        [3.5, 1],
        [5, 9]
      ]
    )
  })
})

import { assert, describe, it } from "vitest"
import { diffJson, diffMarkdown, diffText } from "../../src/cli/text/diffFormats.ts"
import { styleOf } from "../../src/cli/terminal/style.ts"
import { diffRuns } from "../../src/ledger/Diff.ts"
import { LedgerScript, type Work } from "../support/ledgerScript.ts"

process.env["NO_COLOR"] = "1"
const style = styleOf(process.stdout)

const compare = (...runs: ReadonlyArray<ReadonlyArray<Work>>) => {
  const script = new LedgerScript()
  const ids = runs.map(executes => script.run({ executes }).run)
  return diffRuns(script.database, ids)
}

const brief = (diff: ReturnType<typeof diffRuns>) =>
  diff.rows.map(
    ({ labels, name, section, values }) =>
      `${section} ${labels.join("+")} ${name}: ${values.map(value => value ?? "-").join(" | ")}`
  )

const train = (more: Partial<Work> = {}): Work => ({ label: "train/a", outputs: { out: "same" }, ...more })

describe("diff", () => {
  it("of runs that came to the same holds nothing", () => {
    const diff = compare([train()], [train()])
    assert.deepStrictEqual(diff.rows, [])
    assert.include(diffText(diff, style).join("\n"), "came to the same")
    assert.include(diffMarkdown(diff).join("\n"), "came to the same")
  })

  it("names parameters by their path, and nothing that is equal", () => {
    const diff = compare(
      [train({ parameters: { lr: 1, seed: 7, deep: { a: 1 } } })],
      [train({ parameters: { lr: 2, seed: 7, deep: { a: 3 } } })]
    )
    assert.deepStrictEqual(brief(diff), ["parameters train/a deep.a: 1 | 3", "parameters train/a lr: 1 | 2"])
  })

  it("names modules and packages", () => {
    const diff = compare(
      [train({ modules: { "a.ts": "1".repeat(64), "b.ts": "2".repeat(64) }, packages: { effect: "4.1.0" } })],
      [train({ modules: { "a.ts": "1".repeat(64), "b.ts": "3".repeat(64) }, packages: { effect: "4.2.0" } })]
    )
    assert.deepStrictEqual(brief(diff), [
      "code train/a package effect: 4.1.0 | 4.2.0",
      "code train/a b.ts: 22222222 | 33333333"
    ])
  })

  it("names inputs, metrics and artifacts that differ", () => {
    const script = new LedgerScript()
    const [a, b] = ["a", "b"].map(
      text =>
        script.run({ executes: [{ label: "source", parameters: { text }, outputs: { out: text } }] }).done[0]!.outputs[
          "out"
        ]!
    )
    const one = script.run({
      executes: [
        train({
          inputs: { text: a!, "more.x": a! },
          metrics: [
            { name: "loss", value: 2 },
            { name: "steps", value: 9 }
          ]
        })
      ]
    }).run
    const two = script.run({
      executes: [
        train({
          inputs: { text: b!, "more.x": a! },
          outputs: { out: "other" },
          metrics: [
            { name: "loss", value: 1 },
            { name: "steps", value: 9 }
          ]
        })
      ]
    }).run
    const diff = diffRuns(script.database, [one, two])
    assert.deepStrictEqual(
      diff.rows.map(({ name, section }) => `${section} ${name}`),
      ["inputs text", "metrics loss", "artifacts out"]
    )
    assert.match(diffText(diff, style).join("\n"), /train\/a\.loss +2 +1 +-1 \(-50\.0%\)/)
  })

  it("names stages that only some of the runs have, and compares them no further", () => {
    const diff = compare([train()], [train(), { label: "eval", parameters: { n: 1 } }])
    assert.deepStrictEqual(brief(diff), ["stages eval : - | present"])
  })

  it("joins stages of one kind that differ in the same way", () => {
    const rows = (lr: number) =>
      ["a", "b", "c", "d"].map((name, n): Work => ({
        label: `train/${name}`,
        parameters: { lr, n },
        outputs: { out: name }
      }))
    const diff = compare(rows(1), rows(2))
    assert.deepStrictEqual(brief(diff), ["parameters train/a+train/b+train/c+train/d lr: 1 | 2"])
    assert.include(diffText(diff, style).join("\n"), "train/{a, b and 2 more}.lr")
  })

  it("compares any number of runs", () => {
    const diff = compare(
      [train({ parameters: { lr: 1 } })],
      [train({ parameters: { lr: 1 } })],
      [train({ parameters: { lr: 3 } })]
    )
    assert.deepStrictEqual(brief(diff), ["parameters train/a lr: 1 | 1 | 3"])
    assert.strictEqual(diff.durations.length, 3)
  })

  it("compares a run that has not ended by what it executed", () => {
    const script = new LedgerScript()
    const one = script.run({ executes: [train({ parameters: { lr: 1 } })] }).run
    const two = script.run({ executes: [train({ parameters: { lr: 2 } })], status: "running" }).run
    const diff = diffRuns(script.database, [one, two])
    assert.deepStrictEqual(brief(diff), ["parameters train/a lr: 1 | 2"])
    assert.isUndefined(diff.durations[1])
  })

  it("Markdown tables have one width in every line, whatever the values hold", () => {
    const diff = compare([train({ parameters: { text: "a | b\nc" } })], [train({ parameters: { text: "`<b>`" } })])
    const lines = diffMarkdown(diff)
    assert.strictEqual(lines[0], "### run 1 vs run 2 of demo")
    const cells = (line: string) => line.replaceAll("\\|", "").split("|").length
    const rows = lines.filter(line => line.startsWith("|"))
    assert.isAbove(rows.length, 2)
    for (const row of rows) assert.strictEqual(cells(row), 5, row)
    assert.notInclude(lines.join("\n"), "<b>")
  })

  it("JSON has every difference in full", () => {
    const long = "x".repeat(500)
    const json = diffJson(compare([train({ parameters: { long } })], [train({ parameters: {} })]))
    assert.deepStrictEqual(json.differences, [
      { section: "parameters", labels: ["train/a"], name: "long", values: [JSON.stringify(long), null] }
    ])
    assert.strictEqual(json.runs.length, 2)
  })
})

describe("differences of metrics", () => {
  it("put quality first, and end with how many more there are, unless all are asked for", () => {
    const script = new LedgerScript()
    const names = ["cpu_used_memory(GB)", ...Array.from({ length: 20 }, (_, i) => `losses/${i}`), "eval/nll_bound"]
    const runs = [1, 2].map(value =>
      script.run({ executes: [train({ parameters: { value }, metrics: names.map(name => ({ name, value })) })] })
    )
    const diff = diffRuns(
      script.database,
      runs.map(({ run }) => run)
    )
    const short = diffText(diff, style).join("\n")
    assert.match(short, /^metrics\n +train\/a\.eval\/nll_bound/m)
    assert.include(short, "… and 7 more; --all prints them")
    assert.notInclude(short, "cpu_used_memory")
    const all = diffText(diff, style, true).join("\n")
    for (const name of names) assert.include(all, name)
    assert.notInclude(all, "more; --all")
  })
})

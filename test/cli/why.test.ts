import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { styleOf } from "../../src/cli/terminal/style.ts"
import { explainReference, explainRun } from "../../src/cli/verbs/whyPast.ts"
import { annotate, settingsOf, settingsOfCommand } from "../../src/cli/verbs/whySource.ts"
import { renderWhy } from "../../src/cli/text/whyText.ts"
import { parseYaml } from "../../src/config/configFile.ts"
import { Artifact, Pipeline, Schema, Stage } from "../../src/index.ts"
import { evaluate } from "../../src/pipeline/Pipeline.ts"
import { LedgerScript, type Work } from "../support/ledgerScript.ts"

process.env["NO_COLOR"] = "1"
const style = styleOf(process.stdout)

const said = (script: LedgerScript, pattern?: string) =>
  renderWhy(explainRun(script.database, "demo", pattern), script.now, style).join("\n")

const train = (lr: number, more: Partial<Work> = {}): Work => ({ label: "train/a", parameters: { lr }, ...more })

describe("why, in words", () => {
  it("has the layout: what changed since when, the difference, what stayed", () => {
    const script = new LedgerScript()
    const text = script.run({ executes: [{ label: "source" }] }).done[0]!.outputs["out"]!
    script.run({ executes: [train(1, { inputs: { text }, engine: "ort/cpu/f32" })] })
    script.run({ executes: [train(0.5, { inputs: { text }, engine: "ort/cpu/f32" })] })
    const lines = said(script).split("\n")
    assert.match(lines[0]!, /^ran because one part of its key changed since run 2 \(\d+ seconds ago\)$/)
    assert.match(lines[1]!, /^ {2}parameters\.lr {2}1 → 0\.5$/)
    assert.match(lines[2]!, /^unchanged: code [0-9a-f]{4} · text [0-9a-f]{4} · engine ort\/cpu\/f32$/)
    assert.strictEqual(lines.length, 3)
  })

  it("names every action that the last run executed, and none that it reused", () => {
    const script = new LedgerScript()
    const { done } = script.run({ executes: [{ label: "source" }, train(1)] })
    script.run({ executes: [train(2), { label: "report" }], reuses: [done[0]!] })
    const text = said(script)
    assert.match(text, /^train\/a\n {2}ran because one part/)
    assert.match(text, /\nreport\n {2}ran because it was never run before$/)
    assert.notInclude(text, "source")
  })

  it("says of a run that executed nothing that it did", () => {
    const script = new LedgerScript()
    const { done } = script.run({ executes: [train(1)] })
    script.run({ reuses: done })
    assert.strictEqual(said(script), "run 2 of demo executed nothing: all of its 1 actions were reused")
    assert.match(
      said(script, "train/a"),
      /^was reused in run 2: no part of its key changed since run 1 .*\nin run 1 it ran because it was never run before$/
    )
  })

  it("a stage's name stands for all its instances, and not for others that begin alike", () => {
    const script = new LedgerScript()
    script.run({ executes: [train(1), { label: "train/b", parameters: { lr: 2 } }, { label: "trainer" }] })
    assert.deepStrictEqual(
      explainRun(script.database, "demo", "train").map(({ label }) => label),
      ["train/a", "train/b"]
    )
  })

  it("tells of failures, and of nodes that were not reached", () => {
    const script = new LedgerScript()
    script.run({ executes: [train(1, { fails: "no" })], status: "failed" })
    script.database.run("INSERT INTO plan_node (plan, seq, label, action) VALUES (1, 7, 'report', NULL)")
    assert.match(said(script), /it failed; see `pipeline status`$/)
    assert.match(said(script, "report"), /was not reached in run 1/)
  })

  it("finds an action by its key, and what made an artifact", () => {
    const script = new LedgerScript()
    const { done } = script.run({ executes: [train(1)] })
    assert.strictEqual(explainReference(script.database, done[0]!.key.slice(0, 12))[0]!.label, "train/a")
    assert.strictEqual(explainReference(script.database, `artifact:${done[0]!.outputs["out"]!}`)[0]!.label, "train/a")
  })

  it("explains no more nodes than it prints, and counts the others", () => {
    const script = new LedgerScript()
    script.run({ executes: Array.from({ length: 12 }, (_, n): Work => ({ label: `train/${n}`, parameters: { n } })) })
    const nodes = explainRun(script.database, "demo", "train", 10)
    assert.strictEqual(nodes.length, 11)
    assert.match(renderWhy(nodes, script.now, style).at(-1)!, /^… and 2 more/)
    assert.strictEqual(explainRun(script.database, "demo", undefined).length, 12)
  })

  it("cuts long values, and says how many differences it does not show", () => {
    const script = new LedgerScript()
    const many = (n: number) =>
      Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`p${i}`, n === 0 ? "x".repeat(90) : i]))
    script.run({ executes: [{ label: "train", parameters: many(0) }] })
    script.run({ executes: [{ label: "train", parameters: many(1) }] })
    const text = said(script)
    assert.include(text, "because 30 parts of its key changed")
    assert.include(text, "… and 10 more")
    assert.isTrue(text.split("\n").every(line => line.length < 120))
  })
})

describe("why names sources", () => {
  const sourcesOf = async (script: LedgerScript, more: Partial<Parameters<typeof annotate>[1]> = {}) => {
    const nodes = await Effect.runPromise(
      annotate(explainRun(script.database, "demo", undefined), { database: script.database, pipeline: "demo", ...more })
    )
    return nodes.flatMap(node => node.sources ?? [])
  }

  it("a --set of this run, or one of the earlier run that is gone", async () => {
    const script = new LedgerScript()
    script.run({ executes: [train(1)] })
    script.run({ executes: [train(2)], command: "pipeline run demo --set train.lr=2 --keep-going" })
    assert.deepStrictEqual(await sourcesOf(script), ["--set train.lr=2"])
    script.run({ executes: [train(3)], command: "pipeline run demo" })
    assert.deepStrictEqual(await sourcesOf(script), ["run 2 had --set train.lr=2"])
    script.run({ executes: [train(4)], command: "pipeline run demo --set=train/other.lr=4" })
    assert.deepStrictEqual(await sourcesOf(script), [undefined])
  })

  it("the upstream stage whose result changed, and whether it is not reproducible", async () => {
    const script = new LedgerScript()
    const source = (n: number): Work => ({ label: "source", parameters: { n } })
    const one = script.run({ executes: [source(1)] }).done[0]!
    script.run({ executes: [train(1, { inputs: { text: one.outputs["out"]! } })], reuses: [one] })
    const run = script.run({ status: "running" })
    const two = script.execute(run.run, source(2))
    script.execute(run.run, train(1, { inputs: { text: two.outputs["out"]! } }))
    assert.deepStrictEqual(await sourcesOf(script), [undefined, "from source, which ran"])
    const odd = script.run({ status: "running" })
    const changed = script.execute(odd.run, { ...source(2), outputs: { out: "other bytes" } })
    script.execute(odd.run, train(1, { inputs: { text: changed.outputs["out"]! } }))
    assert.include(await sourcesOf(script), "from source, whose result is not reproducible")
  })

  it("the line of the configuration that holds the value, if it still does", async () => {
    const Text = Artifact.kind("text", { description: "a text", metadata: Schema.Struct({}) })
    const stage = Stage.make("train", {
      inputs: {},
      parameters: Schema.Struct({ config: Schema.Struct({ lr: Schema.Number }) }),
      outputs: { text: Text },
      run: () => Effect.void
    })
    const work = (lr: number): Work => ({ label: "train/a", parameters: { config: { lr } } })
    const script = new LedgerScript()
    script.run({ executes: [work(1)] })
    script.run({ executes: [work(0.5)] })
    const profiles = { small: { description: "", needs: "", make: () => ({}) } }
    const build = (lr: number) =>
      evaluate(
        Pipeline.make("demo", { description: "", profiles }, () =>
          stage({ name: "a", config: parseYaml(`# rates\nlr: ${lr}\n`, "configs/a.yaml") as { lr: number } })
        )
      )
    assert.deepStrictEqual(await sourcesOf(script, { plan: build(0.5) }), ["configs/a.yaml:2"])
    assert.deepStrictEqual(await sourcesOf(script, { plan: build(0.7) }), [undefined])
  })

  it("reads overrides from a recorded command line", () => {
    assert.deepStrictEqual(settingsOfCommand("pipeline run x --set a.b=1 --set=c.d=[1,2] --settle e"), [
      "a.b=1",
      "c.d=[1,2]"
    ])
    assert.strictEqual(settingsOf(["a.b=1", "nonsense"]).length, 1)
  })
})

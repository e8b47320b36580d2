/** The report on a grid, as a stage. */
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadTokenizer } from "../../stages/download.ts"
import { reportGrid } from "../../stages/report-grid.ts"
import { tokenize } from "../../stages/tokenize.ts"
import {
  fixtureBenchmark,
  fixtureEvaluation,
  fixtureModel,
  fixtureTrajectories,
  taskResult
} from "../support/gridFixtures.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const transformer = { model_type: "qwen3", hidden_size: 192 }
const settings = {
  title: "compare: <test>",
  command: "pipeline run compare --set a='<b>'",
  baseline: "baseline"
}

interface Options {
  readonly changes?: Partial<Parameters<typeof reportGrid>[0]>
  /** Whether the second row's evaluation is of the first row's weights. */
  readonly swapped?: boolean
}

/** Three rows: one of them 0.1 nats better, one that cannot be timed. */
const run = (cache: string, { changes = {}, swapped = false }: Options = {}) =>
  runPipeline(
    Pipeline.make(
      "grid-test",
      { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
      () => {
        const models = {
          baseline: fixtureModel({ name: "baseline", row: "baseline", config: transformer }),
          aligned: fixtureModel({ name: "aligned", row: "aligned", config: transformer }),
          latent: fixtureModel({ name: "latent", row: "latent", config: { model_type: "latent" } })
        }
        const { aligned, baseline, latent } = models
        const measured = {
          baseline: fixtureEvaluation({ name: "baseline", model: baseline.model, shift: 0, spread: 0 }),
          aligned: fixtureEvaluation({
            name: "aligned",
            model: swapped ? baseline.model : aligned.model,
            shift: -0.1,
            spread: 0.05
          }),
          latent: fixtureEvaluation({ name: "latent", model: latent.model, shift: 0, spread: 0.05 })
        }
        const named = <T>(of: (outputs: typeof measured.baseline) => T) =>
          Object.fromEntries(Object.entries(measured).map(([row, outputs]) => [row, of(outputs)]))
        return reportGrid({
          ...settings,
          teacher: {},
          rows: [
            { name: "baseline", label: "random masking" },
            { name: "aligned", label: "+ alignment <4 layers>", note: "layers 2 | 4 & 6" },
            {
              name: "latent",
              label: "latent",
              notApplicable: { tokensPerSecond: "it has no decoder <yet>", msPerForward: "it has no decoder <yet>" }
            }
          ],
          likelihoods: named(({ likelihood }) => likelihood),
          texts: named(({ texts }) => texts),
          tasks: Object.fromEntries(Object.entries(measured).map(([row, { score }]) => [`${row}/equations`, score])),
          benchmarks: {
            baseline: fixtureBenchmark({ name: "baseline", model: baseline.model, msPerForward: 10 }),
            aligned: fixtureBenchmark({ name: "aligned", model: aligned.model, msPerForward: 10.2 })
          },
          models: { baseline: baseline.model, aligned: aligned.model, latent: latent.model },
          logs: { baseline: baseline.log, aligned: aligned.log },
          anchors: {},
          trajectories: { scheduled: fixtureTrajectories({}) },
          sequences: {
            corpus: tokenize({
              corpus: downloadDocuments({ source: "embedded:web50" }),
              tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
              maxSeqLen: 256
            })
          },
          ...changes
        })
      }
    ),
    { cache: `${directory.path}/${cache}`, layers: [assets] }
  )

interface Json {
  readonly equalCompute: { readonly row: string; readonly teraflops: number }
  readonly comparisons: ReadonlyArray<{ readonly row: string; readonly difference: { readonly value: number } }>
  readonly rows: ReadonlyArray<{
    readonly runs: ReadonlyArray<{ readonly weights: string; readonly tasks: ReadonlyArray<object> }>
  }>
  readonly cached: ReadonlyArray<{
    readonly name: string
    readonly kind: string
    readonly digest: string
    readonly items: number
    readonly bytes: number
    readonly counts: { readonly [name: string]: number }
  }>
}

describe("the stage report-grid", () => {
  it("reports rows, differences, ties, samples, panels and origins; the same again gives the same bytes", async () => {
    const ran = await run("cache")
    assert.deepStrictEqual(ran.failures, [])
    const markdown = ran.text("report-grid", "report.md")
    const html = ran.text("report-grid", "report.html")
    const json = JSON.parse(ran.text("report-grid", "report.json")) as Json
    assert.include(markdown, "better than random masking")
    const short = ran.text("report-grid", "headline.md").trim().split("\n")
    assert.match(short[0]!, /\| +bound, nats\/token +\|/)
    assert.strictEqual(short.length, 2 + json.rows.length, "a line for each row")
    for (const line of short) assert.isAtMost(line.split("|").length, 7, "four figures beside the row's name")
    // What it says stands in the report.
    const bound = short[2]!.split("|")[2]!.trim()
    assert.include(markdown, bound)
    assert.include(markdown, "+ alignment <4 layers> ties with random masking")
    assert.closeTo(ran.metric("report-grid", "aligned/bound_difference")!, -0.1, 0.03)
    assert.strictEqual(ran.metric("report-grid", "broken_ties"), 0)
    assert.match(markdown, /\| +exact match, equations \|/)
    assert.include(markdown, "6.0 % [2.1 %, 16.2 %]")
    assert.deepInclude(json.rows[0]!.runs[0]!.tasks[0], {
      task: "equations",
      problems: 50,
      answers: taskResult("").answers
    })
    assert.strictEqual(json.cached[0]!.counts["documents"], 50)
    assert.deepStrictEqual(json.cached[1], {
      name: "scheduled",
      kind: "trajectories",
      digest: ran.digest("fixture-trajectories"),
      items: 2,
      bytes: 30,
      counts: { trajectories: 2, tokens: 60 }
    })
    assert.include(html, "<td>2 trajectories, 60 tokens</td>")
    for (const row of json.rows) assert.include(html, row.runs[0]!.weights.slice(0, 12))
    // Read from the logs of the trainings: 200 steps of 0.01.
    assert.strictEqual(json.equalCompute.row, "baseline")
    assert.closeTo(json.equalCompute.teraflops, 2, 1e-9)
    assert.include(markdown, "| at equal compute, 2.00 TFLOP ")
    assert.include(html, "Held-out bound during training by compute")
    assert.include(html, "pipeline lineage ")
    assert.include(html, "pipeline run compare --set a=&#39;&lt;b&gt;&#39;")
    // Of the panels the last, as a picture.
    assert.include(html, "trajectory, step 200")
    assert.notInclude(html, "trajectory, step 100")
    const again = await run("again")
    assert.deepStrictEqual(again.manifest("report-grid"), ran.manifest("report-grid"))
  })

  it("is a page that loads nothing and runs nothing, whatever models wrote", async () => {
    const ran = await run("cache")
    const html = ran.text("report-grid", "report.html")
    assert.notMatch(html, /<script|<link|@import|url\((?!#)|\bon\w+=/i)
    for (const [, address] of html.matchAll(/\b(?:src|href)="([^"]*)"/g))
      assert.match(address!, /^(?:#|data:image\/svg\+xml;base64,)/)
    assert.notInclude(html, "<b>United")
    assert.include(html, "&lt;b&gt;United&lt;/b&gt; States &amp; &quot;others&quot;")
    assert.notInclude(html, "<4 layers>")
    assert.include(html, "it has no decoder &lt;yet&gt;")
    // Ids of all charts are different.
    const ids = [...html.matchAll(/\bid="([^"]*)"/g)].map(([, id]) => id)
    assert.strictEqual(new Set(ids).size, ids.length)
  })

  it("refuses a measurement of other weights than the row's, names that no row or column has, and a baseline that is none", async () => {
    const messages = async (cache: string, options: Options) => JSON.stringify((await run(cache, options)).failures)
    assert.include(await messages("swapped", { swapped: true }), "the likelihood of aligned is of the model")
    assert.include(await messages("baseline", { changes: { baseline: "random" } }), "the baseline is random")
    const misspelt = { rows: [{ name: "baseline", label: "only", notApplicable: { tokens_per_second: "" } }] } as const
    const alone = { ...misspelt, likelihoods: {}, texts: {}, tasks: {}, benchmarks: {}, models: {}, logs: {} }
    assert.include(
      await messages("misspelt", { changes: alone }),
      "names the column tokens_per_second; there are trainedParameters"
    )
    const one = { rows: [{ name: "baseline", label: "only" }] } as const
    assert.include(await messages("unnamed", { changes: one }), "likelihoods holds aligned, latent, which no row names")
  })
})

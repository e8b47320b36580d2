/** What is not causal in a hybrid model, as a setting of its training: whatever reads the trained model goes by it. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadModel } from "../../stages/download.ts"
import { evaluateLikelihood } from "../../stages/evaluate-likelihood.ts"
import { train } from "../../stages/train.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { hybridConfig, tinyConfig, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

interface Row {
  /** Of the folder with the model that is trained. */
  readonly base: string
  readonly settings?: object
}

/** Trains each row and evaluates what comes out. */
const run = (rows: { readonly [name: string]: Row }) => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(8, i => 2 + (i % 5))
  )
  const pipeline = Pipeline.make(
    "hybrid-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const sequences = tokenizedTexts(corpus, 32)
      return Object.fromEntries(
        Object.entries(rows).map(([name, { base, settings }]) => {
          const { model } = train({
            name,
            base: downloadModel({ name, source: `file:${join(directory.path, base)}` }),
            sequences,
            heldOut: sequences,
            num_train_epochs: 100,
            max_steps: 2,
            global_batch_size: 2,
            lr: 0.01,
            eval_every: 1000,
            eval_draws: 2,
            seed: 7,
            save_format: "F32",
            ...settings
          } as Parameters<typeof train>[0])
          return [name, evaluateLikelihood({ name, model, heldOut: sequences, draws: 2 })]
        })
      )
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
}

const hybrid = (changes: object = {}) => hybridConfig({ vocab_size: 2048, num_hidden_layers: 2, ...layers, ...changes })
const layers = { layer_types: ["linear_attention", "full_attention"] }

describe("hybrid_bidirectional", () => {
  it("is written into the trained model, which is trained, measured and evaluated by it", async () => {
    await writeTinyModel(join(directory.path, "silent"), hybrid())
    await writeTinyModel(join(directory.path, "scanning"), hybrid({ hybrid_bidirectional: "two_scan" }))
    const ran = await run({
      plain: { base: "silent" },
      attn_only: { base: "silent", settings: { hybrid_bidirectional: "attn_only" } },
      two_scan: { base: "silent", settings: { hybrid_bidirectional: "two_scan" } },
      // As its base's config.json says.
      scanning: { base: "scanning" },
      none: { base: "scanning", settings: { hybrid_bidirectional: "none" } }
    })
    assert.deepStrictEqual(ran.failures, [])
    const written = (row: string) =>
      (JSON.parse(ran.text(`train/${row}`, "config.json")) as { readonly [field: string]: unknown })[
        "hybrid_bidirectional"
      ]
    assert.deepStrictEqual(["plain", "attn_only", "two_scan", "scanning", "none"].map(written), [
      undefined,
      "attn_only",
      "two_scan",
      "two_scan",
      "none"
    ])
    for (const stage of ["train", "evaluate-likelihood"]) {
      const bound = (row: string) => ran.metric(`${stage}/${row}`, "eval/nll_bound")!
      assert.strictEqual(bound("attn_only"), bound("plain"), stage)
      assert.strictEqual(bound("two_scan"), bound("scanning"), stage)
      assert.strictEqual(new Set(["plain", "two_scan", "none"].map(bound)).size, 3, stage)
    }
    // What was learnt is another thing, too.
    const losses = (row: string) => ran.series(`train/${row}`, "training/loss")
    assert.deepStrictEqual(losses("attn_only"), losses("plain"))
    assert.notDeepEqual(losses("two_scan"), losses("plain"))
  })

  it("is refused where every layer attends", async () => {
    await writeTinyModel(join(directory.path, "dense"), tinyConfig)
    const { failures } = await run({ row: { base: "dense", settings: { hybrid_bidirectional: "two_scan" } } })
    assert.match(
      failures[0]!.message,
      /^train\.hybrid_bidirectional is two_scan, but no layer of the model is recurrent/
    )
  })
})

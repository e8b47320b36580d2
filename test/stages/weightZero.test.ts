/** Rows of a grid that differ in nothing that is learnt have the same bits. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadModel } from "../../stages/download.ts"
import { train } from "../../stages/train.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

it("a row aligned with weight 0, with anchors and looked at, is the baseline bit by bit; one with another weight is not", async () => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(8, i => 1 + i)
  )
  const pipeline = Pipeline.make(
    "weight-zero-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const base = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const sequences = tokenizedTexts(corpus, 24)
      const anchors = anchor({ teacher: base, sequences, layers: "all" })
      const common = {
        base,
        sequences,
        heldOut: sequences,
        num_train_epochs: 100,
        max_steps: 6,
        global_batch_size: 2,
        lr: 0.01,
        eval_every: 1000,
        eval_draws: 2
      }
      return {
        baseline: train({ name: "baseline", ...common }).model,
        zero: train({ name: "zero", ...common, anchors, repr_align_wt: 0, panel_every_steps: 3 }).model,
        aligned: train({ name: "aligned", ...common, anchors, repr_align_wt: 1 }).model
      }
    }
  )
  const ran = await runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
  assert.deepStrictEqual(ran.failures, [])
  const weights = (row: string): string =>
    ran.manifest(`train/${row}`).files.find(({ path }) => path === "model.safetensors")!.sha256
  assert.strictEqual(weights("zero"), weights("baseline"))
  assert.notStrictEqual(weights("aligned"), weights("baseline"))
})

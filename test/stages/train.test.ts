/** Training a diffusion model from the shipped teacher, as a stage. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { fillMaskRow } from "../../src/methods/shared/masks/maskRow.ts"
import { numericClass } from "../../src/engines/names.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import type { OpenModel } from "../../src/models/artifact.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadModel } from "../../stages/download.ts"
import { train } from "../../stages/train.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { tinyConfig, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const pipeline = (corpus: string, model: string, steps: number) =>
  Pipeline.make(
    "train-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const sequences = tokenizedTexts(corpus, 32)
      return train({
        base: downloadModel({ source: model }),
        sequences,
        heldOut: sequences,
        num_train_epochs: 40,
        max_steps: steps,
        global_batch_size: 4,
        lr: 0.01,
        eval_every: 1000,
        eval_draws: 4
      }).model
    }
  )

const run = async (cache: string, steps: number, model?: string, edit: (directory: string) => void = () => {}) => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(24, i => 2 + (i % 5))
  )
  const tiny = join(directory.path, "tiny")
  await writeTinyModel(tiny)
  edit(tiny)
  return runPipeline(pipeline(corpus, model ?? `file:${tiny}`, steps), {
    cache: join(directory.path, cache),
    layers: [assets],
    engine: numericClass("ort")
  })
}

describe("the stage train", () => {
  it("writes a diffusion model that learnt its text; the same again gives the same bytes", async () => {
    const ran = await run("cache", 150)
    assert.deepStrictEqual(ran.failures, [])
    const config = JSON.parse(ran.text("train", "config.json")) as { readonly [field: string]: unknown }
    assert.strictEqual(config["token_shift"], true)
    assert.strictEqual(config["mask_token_id"], tinyConfig.vocabSize - 1)
    assert.strictEqual(config["model_type"], "qwen3")
    const bound = ran.metric("train", "eval/nll_bound")!
    const untrained = (await run("few", 1)).metric("train", "eval/nll_bound")!
    // From nearly uniform over 2,048 tokens to a text of few words.
    assert.isAbove(untrained, 6)
    assert.isBelow(bound, 4)
    const again = await run("again", 150)
    assert.deepStrictEqual(again.manifest("train"), ran.manifest("train"))
  })

  it("ends its texts where the base does, though generation_config.json stays with the base", async () => {
    const [eos, other] = [2044, 7]
    for (const [said, written] of [
      [eos, eos],
      [
        [other, 5],
        [eos, other, 5]
      ]
    ]) {
      const ran = await run(`cache ${JSON.stringify(said)}`, 1, undefined, tiny => {
        const config = join(tiny, "config.json")
        const fields = JSON.parse(readFileSync(config, "utf8")) as object
        writeFileSync(config, JSON.stringify({ ...fields, eos_token_id: 9 }))
        writeFileSync(join(tiny, "generation_config.json"), JSON.stringify({ eos_token_id: said }))
      })
      assert.deepStrictEqual(ran.failures, [])
      const config = JSON.parse(ran.text("train", "config.json")) as { readonly [field: string]: unknown }
      assert.deepStrictEqual(config["eos_token_id"], written)
    }
  })

  it("starts from the teacher that ships with the program", async () => {
    const ran = await run("cache", 2, "embedded:teacher")
    assert.deepStrictEqual(ran.failures, [])
    assert.include(ran.manifest("train").metadata as object, { parameters: 3_641_280 })
  })
})

describe("the mask's row", () => {
  it("becomes the mean of the rows before it, and nothing else changes", async () => {
    const engine = makeReference()
    const spec = { name: "model.embed_tokens.weight", shape: [5, 3], initial: { normal: 1 } } as const
    const after = (wasAdded: boolean) =>
      Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const buffers = yield* allocateParameters(engine, [spec])
            yield* initialise(engine, buffers, 1)
            const start = initialValues(spec, 1)
            yield* fillMaskRow(engine, buffers, {
              config: { hiddenSize: 3 } as OpenModel["config"],
              tensors: new Map([
                [spec.name, { floats: (from: number, to: number) => Effect.succeed(start.slice(from, to)) }]
              ]) as unknown as OpenModel["tensors"],
              tokenizer: { maskAdded: wasAdded, maskId: 4 } as OpenModel["tokenizer"]
            })
            return [...((yield* engine.download(buffers.flat)) as Float32Array)]
          })
        )
      )
    const start = [...initialValues(spec, 1)]
    assert.deepStrictEqual(await after(false), start)
    const filled = await after(true)
    assert.deepStrictEqual(filled.slice(0, 12), start.slice(0, 12))
    for (let i = 0; i < 3; i++)
      assert.closeTo(filled[12 + i]!, (start[i]! + start[3 + i]! + start[6 + i]! + start[9 + i]!) / 4, 1e-6)
  })
})

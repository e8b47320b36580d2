/** Block diffusion by the stage train: what it writes says how it is read, is measured as such, and writes texts in its blocks. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"
import { afterEach, assert, beforeEach, describe, expect, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { LikelihoodResult, TaskResult, TextsResult } from "../../src/evaluation/results.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadModel } from "../../stages/download.ts"
import { evaluateEquations } from "../../stages/evaluate-equations.ts"
import { evaluateLikelihood } from "../../stages/evaluate-likelihood.ts"
import { evaluateTexts } from "../../stages/evaluate-texts.ts"
import { train } from "../../stages/train.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { hybridConfig, tinyConfig, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

interface Settings {
  readonly [field: string]: unknown
}

/** Trains each row for some steps, from the model of the row that it says it is `on`, or from the base; `measured`: those that are evaluated, too, with what is said of their texts. */
const run = async (
  rows: { readonly [row: string]: Settings },
  measured: { readonly [row: string]: Settings } = {},
  base = tinyConfig
): Promise<Ran> => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(12, i => 2 + (i % 5), "the people of the States ")
  )
  const tiny = join(directory.path, "tiny")
  await writeTinyModel(tiny, base)
  const pipeline = Pipeline.make(
    "bd3lm-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const sequences = tokenizedTexts(corpus, 32)
      const teacher = downloadModel({ source: `file:${tiny}` })
      const outputs: { [label: string]: ReturnType<typeof evaluateTexts> | ReturnType<typeof train> } = {}
      const models: { [row: string]: ReturnType<typeof train>["model"] } = {}
      for (const [name, { on, ...settings }] of Object.entries(rows)) {
        const trained = train({
          name,
          base: models[String(on)] ?? teacher,
          sequences,
          heldOut: sequences,
          method: "bd3lm",
          num_train_epochs: 40,
          max_steps: 60,
          global_batch_size: 2,
          lr: 0.01,
          eval_every: 1000,
          eval_draws: 2,
          save_format: "F32",
          ...settings
        } as unknown as Parameters<typeof train>[0])
        outputs[`train/${name}`] = trained
        const { model } = trained
        models[name] = model
        const decoding = measured[name]
        if (decoding === undefined) continue
        const given = { name, method: settings["method"] ?? "bd3lm", model, heldOut: sequences, documents: 5 } as const
        // Problems whose answers are no whole number of blocks, by steps and by a threshold.
        const equations = {
          dataset: downloadDocuments({ name, source: "embedded:reason500", dataType: "fields" }),
          problems: 2,
          answerTokens: 6,
          answerSteps: [1, 6],
          thresholds: [0.99],
          decoding: { alg: "maskgit_plus" }
        } as const
        Object.assign(outputs, {
          [`equations/${name}`]: evaluateEquations({ name, method: given.method, model, ...equations } as never),
          [`likelihood/${name}`]: evaluateLikelihood({ ...given, teacher, draws: 4 } as never),
          [`texts/${name}`]: evaluateTexts({
            ...given,
            teacher,
            corpus: sequences,
            prompts: 2,
            promptTokens: 4,
            newTokens: 8,
            steps: [1, 8],
            ...decoding
          } as never)
        })
      }
      return outputs
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
}

const likelihood = (ran: Ran, row: string) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(LikelihoodResult))(
    ran.text(`evaluate-likelihood/${row}`, "likelihood.json")
  )
const json = (ran: Ran, label: string, file: string) => JSON.parse(ran.text(label, file)) as Settings

describe("block diffusion", () => {
  it("learns its text; the model says how it is read, is measured by blocks, and writes them one by one", async () => {
    const ran = await run(
      { row: { attention_block_size: 4, sampling_eps_max: 0.9, panel_every_steps: 30, gen_sample_every_steps: 60 } },
      { row: {} }
    )
    assert.deepStrictEqual(ran.failures, [])
    const config = json(ran, "train/row", "config.json")
    assert.strictEqual(config["attention_block_size"], 4)
    assert.isTrue(config["token_shift"])
    assert.deepStrictEqual(config["bd3lm"], { sampling_eps_min: 0.001, sampling_eps_max: 0.9 })
    const { bound, documents, lossAtRatio, teacherDistance } = likelihood(ran, "row")
    assert.isBelow(bound!.nats, 4)
    assert.match(bound!.estimator, /4 draws per block of 4 tokens behind the clean blocks before it/)
    assert.isBelow(ran.metric("train/row", "eval/nll_bound")!, 4)
    assert.lengthOf(documents, 5)
    assert.isAtLeast(lossAtRatio.length, 4)
    assert.isAbove(teacherDistance!.value, 0)
    assert.isBelow(teacherDistance!.value, 2)
    const { generations } = Schema.decodeUnknownSync(Schema.fromJsonString(TextsResult))(
      ran.text("evaluate-texts/row", "texts.json")
    )
    const answers = Schema.decodeUnknownSync(Schema.fromJsonString(TaskResult))(
      ran.text("evaluate-equations/row", "score.json")
    )
    assert.lengthOf(answers.answers, 3)
    for (const { responses } of answers.answers)
      for (const { forwards } of responses) {
        assert.isAtLeast(forwards, 1)
        assert.isAtMost(forwards, 6)
      }
    // Two blocks of four tokens: a step each at least.
    assert.deepStrictEqual(
      generations.map(({ forwards, steps }) => ({ forwards, steps })),
      [
        { forwards: 2, steps: 1 },
        { forwards: 8, steps: 8 }
      ]
    )
    assert.lengthOf(ran.series("train/row", "inference/diff_tok_per_sec"), 1)
  })

  it("in blocks of one token is measured as the autoregressive model that it then is", async () => {
    const ran = await run({ row: { attention_block_size: 1, max_steps: 10 } }, { row: {} })
    assert.deepStrictEqual(ran.failures, [])
    const { autoregressiveLoss, bound } = likelihood(ran, "row")
    assert.closeTo(bound!.nats, autoregressiveLoss.value, 1e-4)
    assert.isBelow(bound!.standardError, 1e-5)
  })

  it("in one block trains and is measured as masked diffusion does with the same masks", async () => {
    const same = { attention_block_size: 64, mdm_loss: "elbo", path_weight: 0, max_steps: 10, lr: 1e-3 }
    const ran = await run({ blocks: same, plain: { ...same, method: "masked" } }, { blocks: {}, plain: {} })
    assert.deepStrictEqual(ran.failures, [])
    for (const stage of ["train", "evaluate-likelihood"]) {
      const [blocks, plain] = ["blocks", "plain"].map(row => ran.metric(`${stage}/${row}`, "eval/nll_bound")!)
      assert.closeTo(blocks!, plain!, 2e-4)
    }
  })

  it("may be where another method begins, whose model is then one of that method", async () => {
    const ran = await run(
      { row: { attention_block_size: 4, max_steps: 2 }, next: { method: "masked", max_steps: 2, on: "row" } },
      { next: {} }
    )
    assert.deepStrictEqual(ran.failures, [])
    assert.property(json(ran, "train/row", "config.json"), "bd3lm")
    assert.notProperty(json(ran, "train/next", "config.json"), "bd3lm")
    // Who sees whom is the model's, until a training says otherwise.
    assert.strictEqual(json(ran, "train/next", "config.json")["attention_block_size"], 4)
  })

  it("may be aligned with the teacher", async () => {
    const ran = await run({ row: { attention_block_size: 4, repr_align_wt: 1, max_steps: 4 } })
    assert.deepStrictEqual(ran.failures, [])
    const distances = ran.series("train/row", "losses/repr_align")
    assert.lengthOf(distances, 4)
    for (const distance of distances) {
      assert.isAbove(distance, 0)
      assert.isBelow(distance, 2)
    }
  })

  it("is refused a model with recurrent layers", async () => {
    const hybrid = await run({ row: {} }, {}, hybridConfig({ vocab_size: 2048 }))
    assert.match(
      hybrid.failures.map(({ message }) => message).join(),
      /family qwen3_5_text has recurrent layers, which cannot read a noisy and a clean half/
    )
  })

  it.each([
    [{ blockLength: 8 }, /blockLength is 8, but .* blocks of 4 tokens/],
    [{ alg: "p2" }, /alg: p2 does not go block by block/]
  ] as const)("is refused what decodes otherwise than it was trained: %o", async (decoding, message) => {
    const ran = await run({ row: { attention_block_size: 4, max_steps: 2 } }, { row: { decoding } })
    const messages = Object.fromEntries(ran.failures.map(failure => [failure.label, failure.message]))
    assert.match(messages["evaluate-texts/row"]!, message)
  })

  it.each([
    [{ sampling_eps_min: 0.5, sampling_eps_max: 0.4 }, /sampling_eps_min: does not go with sampling_eps_max/],
    [{ sampling_eps_min: 0 }, /sampling_eps_min must be a number greater than 0/],
    [{ trajectory_mode: "scheduled" }, /trajectory_mode: belongs to the methods masked and cola/],
    [{ mdm_max_mask_ratio: 0.5 }, /mdm_max_mask_ratio: belongs to the methods masked, vfm and cola/],
    [{ hybrid_bidirectional: "none" }, /hybrid_bidirectional: belongs to the methods/],
    [{ adapter: { r: 4 } }, /adapter: belongs to the method masked/]
  ] as const)("refuses %o", async (settings, message) => {
    await expect(run({ row: settings })).rejects.toThrow(message)
  })
})

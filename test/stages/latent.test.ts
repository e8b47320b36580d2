/** The latent methods of the stage train: what they write can be opened, says what it is, writes texts, and is measured. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Schema } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { loadWhole, type MethodName } from "../../src/methods/Method.ts"
import type { LatentFormat } from "../../src/methods/shared/latents/latentFormat.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { numericClass } from "../../src/engines/names.ts"
import { LikelihoodResult, TextsResult } from "../../src/evaluation/results.ts"
import { openModel } from "../../src/models/artifact.ts"
import { countParameters, parameterSpecs } from "../../src/models/config.ts"
import { countElements } from "../../src/models/parameters.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadModel } from "../../stages/download.ts"
import { evaluateLikelihood } from "../../stages/evaluate-likelihood.ts"
import { evaluateTexts } from "../../stages/evaluate-texts.ts"
import { train } from "../../stages/train.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { latentFormats, tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

/** What the methods have fields of their own for. */
interface Settings {
  readonly method?: MethodName
  readonly [field: string]: unknown
}

const run = async (settings: Settings, measuredAs = settings.method ?? "masked"): Promise<Ran> => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(12, i => 2 + (i % 5), "the people of the States ")
  )
  const tiny = join(directory.path, "tiny")
  await writeTinyModel(tiny)
  const pipeline = Pipeline.make(
    "latent-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const sequences = tokenizedTexts(corpus, 32)
      const base = downloadModel({ source: `file:${tiny}` })
      const { model } = train({
        base,
        sequences,
        heldOut: sequences,
        num_train_epochs: 4,
        max_steps: 3,
        global_batch_size: 2,
        lr: 0.01,
        eval_every: 1000,
        save_format: "F32",
        eval_sequences: 3,
        ...settings
      } as Parameters<typeof train>[0])
      const measured = { method: measuredAs, model, heldOut: sequences, documents: 5 } as const
      return {
        likelihood: evaluateLikelihood({ ...measured, teacher: base, ...(measuredAs === "ldlm" ? {} : { draws: 2 }) }),
        texts: evaluateTexts({
          ...measured,
          teacher: base,
          corpus: sequences,
          prompts: 2,
          promptTokens: 4,
          newTokens: 6,
          steps: [1, 2]
        })
      }
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
}

const likelihood = (ran: Ran) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(LikelihoodResult))(ran.text("evaluate-likelihood", "likelihood.json"))

/** Opens what was written, and makes 6 tokens behind a prompt in 2 steps. */
const written = (ran: Ran) => {
  const folder = join(directory.path, "model")
  mkdirSync(folder)
  const files = ran.manifest("train").files.map(({ path: name }) => ({ name, path: join(folder, name) }))
  for (const { name, path } of files) writeFileSync(path, ran.bytes("train", name))
  return Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const { method, model } = yield* loadWhole(engine, yield* openModel(files))
        const generator = yield* method.generator(
          engine,
          model,
          { prompts: 1, promptTokens: 4, newTokens: 6 },
          Schema.decodeUnknownSync(DiffusionDecoding)({})
        )
        const prompt = model.tokenizer.encode("the people of the")
        const made = yield* generator.generate({ prompts: [prompt.slice(0, 4)], steps: 2, seed: 1 })
        const weights: { [name: string]: Float32Array } = {}
        for (const { name } of parameterSpecs(model.config))
          weights[name] = (yield* engine.download(model.parameters[name]!)) as Float32Array
        return { model, made, weights }
      })
    )
  )
}

describe("the stage train", () => {
  it.each([
    [
      "ldlm",
      {
        method: "ldlm",
        ldlm: { seq_len: 4, depth: 1, heads: 2, decoder_num_layers: 1, diffusion_head_depth: 1, prompt_length: 4 }
      },
      true
    ],
    ["vfm", { method: "vfm", eval_draws: 2, vfm: { adapter_layers: 1, adapter_heads: 2, max_seq_len: 32 } }, true],
    [
      "cola",
      {
        method: "cola",
        eval_draws: 2,
        cola_wt: 0.5,
        cola_num_global: 2,
        cola_num_local: 4,
        cola_block_size: 2,
        cola_encoder_depth: 1,
        cola_diffusion_depth: 1,
        cola_heads: 2,
        cola_variant: "card"
      },
      false
    ]
  ] as const)("writes a model of the method %s", async (method, settings, frozen) => {
    const ran = await run(settings)
    assert.deepStrictEqual(ran.failures, [])
    const { made, model, weights } = await written(ran)
    assert.strictEqual(model.latent?.method, method)
    assert.isTrue(model.diffusion)
    const format: LatentFormat = latentFormats[method]
    const beside = countElements(format.specs(format.of(model), model.config))
    const record = JSON.parse(ran.text("train", "training.json")) as { readonly [field: string]: number }
    assert.strictEqual(record["parameters"], countParameters(tinyConfig) + beside)
    assert.strictEqual(record["trainedParameters"], beside + (frozen ? 0 : countParameters(tinyConfig)))
    const same = Object.entries(weights).every(([name, values]) => {
      const base = tinyWeight(name)
      return values.every((x, i) => x === base[i])
    })
    assert.strictEqual(same, frozen)
    assert.lengthOf(made.sequences[0]!, 10)
    assert.notInclude([...made.sequences[0]!], model.tokenizer.maskId)
    assert.isAbove(made.flops, 0)

    const { bound, documents, reconstruction, teacherDistance } = likelihood(ran)
    assert.strictEqual(bound === undefined, method === "ldlm")
    // What decodes by masks reads them with the language model, which has a teacher.
    assert.strictEqual(teacherDistance === undefined, method === "ldlm")
    for (const { sum, weight } of teacherDistance?.documents ?? []) {
      assert.isAbove(sum / weight, 0)
      assert.isBelow(sum / weight, 2)
    }
    for (const { documents: parts, value } of reconstruction === undefined
      ? []
      : [reconstruction.loss, reconstruction.accuracy]) {
      const [sum, weight] = (["sum", "weight"] as const).map(of => parts.reduce((total, part) => total + part[of], 0))
      assert.lengthOf(parts, 5)
      assert.closeTo(value, sum! / weight!, 1e-9)
      assert.strictEqual(weight, reconstruction!.tokens)
    }
    assert.lengthOf(documents, method === "ldlm" ? 0 : 5)
    assert.strictEqual(reconstruction === undefined, method === "vfm")
    const { generations } = Schema.decodeUnknownSync(Schema.fromJsonString(TextsResult))(
      ran.text("evaluate-texts", "texts.json")
    )
    assert.deepStrictEqual(
      generations.map(({ steps }) => steps),
      [1, 2]
    )
    for (const stage of ["train", "evaluate-likelihood"]) {
      assert.strictEqual(ran.metric(stage, "eval/nll_bound") === undefined, bound === undefined)
      assert.strictEqual(ran.metric(stage, "eval/reconstruction_loss") === undefined, reconstruction === undefined)
    }
  })

  it("without an auto-encoder decodes and is measured as masked diffusion", async () => {
    const ran = await run({ method: "cola", cola_wt: 0.5, cola_vae: false, cola_heads: 2, cola_num_local: 4 })
    assert.deepStrictEqual(ran.failures, [])
    const { bound, reconstruction } = likelihood(ran)
    assert.isDefined(bound)
    assert.isUndefined(reconstruction)
  })

  it("is measured as what it is, and as nothing else", async () => {
    const [wrong] = (await run({}, "vfm")).failures
    assert.match(JSON.stringify(wrong), /method is vfm, but the model is one of masked/)
  })

  it("refuses sizes that do not fit", async () => {
    const [wrong] = (await run({ method: "vfm", vfm: { max_seq_len: 16, adapter_heads: 2 } })).failures
    assert.match(JSON.stringify(wrong), /train\.vfm: rows have 32 tokens, the adapter knows 16 positions/)
  })
})

/** The controls that change what is trained: without pre-training, and with block-causal attention. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, expect, it } from "vitest"
import { packedArrays } from "../../src/tokens/packing.ts"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { numericClass } from "../../src/engines/names.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeTokenLosses } from "../../src/sessions/tokenLosses.ts"
import { type LoadedModel, loadModel } from "../../src/models/artifact.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialValues } from "../../src/models/parameters.ts"
import { nextTokenLossData } from "../../src/models/nextTokenLoss.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadModel } from "../../stages/download.ts"
import { evaluateLikelihood } from "../../stages/evaluate-likelihood.ts"
import { train } from "../../stages/train.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

interface Settings {
  readonly [field: string]: unknown
}

/** Trains a row with each of the settings, and evaluates the models of the rows that are named. */
const run = (rows: { readonly [name: string]: Settings }, evaluated: ReadonlyArray<string> = []): Promise<Ran> => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(12, i => 2 + (i % 5))
  )
  const pipeline = Pipeline.make(
    "controls-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const base = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const sequences = tokenizedTexts(corpus, 32)
      const models = Object.entries(rows).map(([name, settings]) => {
        const { model } = train({
          name,
          base,
          sequences,
          heldOut: sequences,
          num_train_epochs: 100,
          max_steps: 2,
          global_batch_size: 2,
          lr: 0.01,
          eval_every: 1000,
          ...(settings["method"] === "ldlm" ? {} : { eval_draws: 2 }),
          seed: 7,
          save_format: "F32",
          ...settings
        } as Parameters<typeof train>[0])
        return [name, model] as const
      })
      return {
        ...Object.fromEntries(models),
        ...Object.fromEntries(
          models
            .filter(([name]) => evaluated.includes(name))
            .map(([name, model]) => [
              `${name}-quality`,
              evaluateLikelihood({ name, model, heldOut: sequences, draws: 2 })
            ])
        )
      }
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
}

/** Opens what a row wrote. */
const opened = <A>(
  ran: Ran,
  row: string,
  use: (model: LoadedModel, engine: Effect.Success<ReturnType<typeof makeOrt>>) => Promise<A>
): Promise<A> => {
  const folder = join(directory.path, row)
  mkdirSync(folder)
  const files = ran.manifest(`train/${row}`).files.map(({ path: name }) => ({ name, path: join(folder, name) }))
  for (const { name, path } of files) writeFileSync(path, ran.bytes(`train/${row}`, name))
  return Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const model = yield* loadModel(engine, files)
        return yield* Effect.promise(() => use(model, engine))
      })
    )
  )
}

/** The parameters that a row wrote, by name. */
const weightsOf = (ran: Ran, row: string) =>
  opened(ran, row, async (model, engine) => {
    const weights: { [name: string]: ReadonlyArray<number> } = {}
    for (const { name } of parameterSpecs(tinyConfig))
      weights[name] = [...((await Effect.runPromise(engine.download(model.parameters[name]!))) as Float32Array)]
    return weights
  })

const json = (ran: Ran, row: string, file: string) =>
  JSON.parse(ran.text(`train/${row}`, file)) as { readonly [field: string]: unknown }

describe("without pre-training", () => {
  it("a training starts from fresh parameters, the mask's row among them; a live teacher is the base all the same", async () => {
    const aligned = { lr: 0, repr_align_wt: 1 }
    const ran = await run({ fresh: { ...aligned, pretrained: false }, usual: aligned })
    assert.deepStrictEqual(ran.failures, [])
    // A rate of 0 leaves everything as it was.
    const [fresh, usual] = [await weightsOf(ran, "fresh"), await weightsOf(ran, "usual")]
    for (const spec of parameterSpecs(tinyConfig)) {
      const { initial, name } = spec
      assert.deepStrictEqual(fresh[name], [...initialValues(spec, 7)], name)
      if (initial !== "ones") assert.notDeepEqual(fresh[name], [...tinyWeight(name)], name)
      const part = tinyConfig.hiddenSize * (tinyConfig.vocabSize - 1)
      assert.deepStrictEqual(usual[name]!.slice(0, part), [...tinyWeight(name)].slice(0, part), name)
    }
    const teacherLosses = (row: string) => ran.series(`train/${row}`, "losses/teacher")
    assert.lengthOf(teacherLosses("usual"), 2)
    assert.deepStrictEqual(teacherLosses("fresh"), teacherLosses("usual"))

    const digest = ran.digest("download-model")
    assert.deepStrictEqual(json(ran, "fresh", "training.json")["base"], {
      digest,
      taken: ["architecture", "tokenizer"]
    })
    assert.deepStrictEqual(json(ran, "usual", "training.json")["base"], {
      digest,
      taken: ["architecture", "tokenizer", "weights"]
    })
    assert.deepStrictEqual(json(ran, "fresh", "config.json"), json(ran, "usual", "config.json"))
  })

  it("a model learns its text and is evaluated like any other", async () => {
    const ran = await run({ begun: { pretrained: false, lr: 0 }, row: { pretrained: false, max_steps: 80 } }, ["row"])
    assert.deepStrictEqual(ran.failures, [])
    const bound = (label: string) => ran.metric(label, "eval/nll_bound")!
    assert.closeTo(bound("train/begun"), Math.log(tinyConfig.vocabSize), 1)
    assert.isBelow(bound("train/row"), bound("train/begun") - 2)
    assert.isBelow(bound("evaluate-likelihood/row"), bound("train/begun") - 2)
  })

  it.each([
    [{ method: "ldlm", ldlm: {} }, /method: does not go with pretrained: .*pretrained: does not go with method/s],
    [{ method: "vfm", vfm: { freeze_base: true } }, /pretrained: does not go with vfm\.freeze_base: .*, got true/s],
    [
      { freeze_layers: ["embed"] },
      /pretrained: does not go with freeze_layers: .*freeze_layers: does not go with pretrained: .*, got \["embed"\]/s
    ]
  ] as const)("is refused where the base is not trained: %o", async (settings, message) => {
    await expect(run({ row: { ...settings, pretrained: false } })).rejects.toThrow(message)
  })
})

describe("with block-causal attention", () => {
  const blockSize = 4
  const row = { attention_block_size: blockSize, max_steps: 80 }

  it("a model learns its text, says so in its configuration, and is evaluated like any other", async () => {
    const ran = await run({ blocks: row, usual: { ...row, attention_block_size: 64 }, plain: { max_steps: 80 } }, [
      "blocks"
    ])
    assert.deepStrictEqual(ran.failures, [])
    assert.strictEqual(json(ran, "blocks", "config.json")["attention_block_size"], blockSize)
    assert.notProperty(json(ran, "plain", "config.json"), "attention_block_size")
    const bound = (label: string) => ran.metric(label, "eval/nll_bound")!
    assert.isBelow(bound("train/blocks"), 5)
    assert.isBelow(bound("evaluate-likelihood/blocks"), 5)
    // A block as long as a row hides nothing.
    assert.strictEqual(bound("train/usual"), bound("train/plain"))
    assert.notStrictEqual(bound("train/blocks"), bound("train/plain"))
  })

  it("what was written is decoded and judged by blocks, counted from where each text begins", async () => {
    const ran = await run({ blocks: row })
    const seen = await opened(ran, "blocks", (model, engine) =>
      Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const { config, parameters } = model
            const [length, pad] = [11, 2]
            const text = Array.from({ length: length - pad }, (_, i) => 40 + i)
            const denoiser = yield* makeDenoiser(engine, config, parameters, { rows: 1, length, places: text.length })
            const losses = yield* makeTokenLosses(engine, config, parameters, { rows: 1, length, causal: false })
            const of = (ids: ReadonlyArray<number>) =>
              Effect.gen(function* () {
                const canvas = Int32Array.from([0, 0, ...ids])
                const places = text.map((_, i) => pad + i + 1)
                const logits = [...(yield* denoiser.logits(canvas, [pad], places))]
                const packed = packedArrays([Int32Array.from(ids)], [[0]], { capacity: length, pad: 0 })
                const judged = [...(yield* losses(nextTokenLossData(packed, { rows: 1, length })))]
                // Both by the place whose state predicts.
                return text.map((_, i) => ({
                  logits: logits.slice(i * config.vocabSize, (i + 1) * config.vocabSize),
                  loss: judged[i]!
                }))
              })
            const before = yield* of(text)
            const changed: Array<{
              readonly from: number
              readonly to: number
              readonly logits: boolean
              readonly loss: boolean
            }> = []
            for (const from of text.keys()) {
              const after = yield* of(text.with(from, 900))
              for (const to of text.keys())
                changed.push({
                  from,
                  to,
                  logits: after[to]!.logits.some((x, i) => x !== before[to]!.logits[i]),
                  loss: after[to]!.loss !== before[to]!.loss
                })
            }
            return changed
          })
        )
      )
    )
    assert.isAbove(seen.length, 0)
    for (const { from, logits, loss, to } of seen) {
      const reached = Math.floor(from / blockSize) <= Math.floor(to / blockSize)
      assert.strictEqual(logits, reached, `logits: ${from} to ${to}`)
      // The loss of the token that was changed is that of another one.
      if (to + 1 !== from) assert.strictEqual(loss, reached, `losses: ${from} to ${to}`)
    }
  })

  it("is refused where nothing but causal passes are made", async () => {
    await expect(run({ ldlm: { attention_block_size: 4, method: "ldlm", ldlm: {} } })).rejects.toThrow(
      /attention_block_size: does not go with method: .*, got 4/
    )
  })
})

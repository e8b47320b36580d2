/** Adapters of low rank over a base in NF4: quantised, trained, read back, merged and handed on, as stages. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Schema } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { LikelihoodResult } from "../../src/evaluation/results.ts"
import { openAdapter, withAdapter } from "../../src/models/adapter/adapterFiles.ts"
import { mustBeItsBase } from "../../src/models/adapter/diffusionConfig.ts"
import { openModel } from "../../src/models/artifact.ts"
import { embeddingKey } from "../../src/models/config.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadAdapter } from "../../stages/download-adapter.ts"
import { downloadModel } from "../../stages/download.ts"
import { evaluateLikelihood } from "../../stages/evaluate-likelihood.ts"
import { exportPeft } from "../../stages/export-peft.ts"
import { merge } from "../../stages/merge.ts"
import { quantize } from "../../stages/quantize.ts"
import { train } from "../../stages/train.ts"
import { pipeline as pipelineCommand } from "../support/commandLine.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { tinyConfig, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

type Fields = { readonly [field: string]: unknown }
interface Asked {
  readonly adapter?: Fields
  readonly train?: Fields
  readonly quantised?: boolean
  readonly anchors?: boolean
  /** Merges, measures and hands on what was trained. */
  readonly further?: boolean
  /** A second training, of what the first one made. */
  readonly again?: Fields
}

const pipeline = (
  corpus: string,
  model: string,
  { adapter, again, anchors = false, further = false, quantised = true, train: settings = {} }: Asked
) =>
  Pipeline.make(
    "adapters",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const sequences = tokenizedTexts(corpus, 32)
      const dense = downloadModel({ source: model })
      const base = quantised ? quantize({ model: dense, block_size: 32 }) : dense
      const { model: student } = train({
        base,
        sequences,
        heldOut: sequences,
        num_train_epochs: 40,
        max_steps: 60,
        global_batch_size: 4,
        lr: 0.02,
        eval_every: 1000,
        eval_draws: 4,
        ...(adapter === undefined ? {} : { adapter }),
        ...(anchors ? { anchors: anchor({ teacher: base, sequences, layers: "all" }) } : {}),
        ...settings
      })
      if (again !== undefined)
        return train({
          name: "again",
          base: student,
          sequences,
          heldOut: sequences,
          num_train_epochs: 1,
          max_steps: 2,
          global_batch_size: 4,
          lr: 0.02,
          ...again
        } as never).model
      if (!further) return student
      const measured = (name: string, model: typeof student) =>
        evaluateLikelihood({ name, model, heldOut: sequences, draws: 2 })
      const likelihood = measured("adapted", student)
      return [
        likelihood,
        measured("merged", merge({ model: student })),
        exportPeft({
          model: student,
          base: dense,
          likelihood,
          tasks: {},
          source: "hf://models/org/tiny@some",
          command: "made so"
        })
      ]
    }
  )

const run = async (asked: Asked, cache = "cache"): Promise<Ran> => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(24, i => 2 + (i % 5))
  )
  const tiny = join(directory.path, "tiny")
  await writeTinyModel(tiny)
  return runPipeline(pipeline(corpus, `file:${tiny}`, asked), {
    cache: join(directory.path, cache),
    layers: [assets],
    engine: numericClass("ort")
  })
}

/** The files of a node's output in a directory. */
const written = (ran: Ran, label: string, purpose = "") => {
  const path = join(directory.path, `${label.replaceAll("/", "-")}${purpose}`)
  mkdirSync(path)
  return ran.manifest(label).files.map(({ path: name }) => {
    writeFileSync(join(path, name), ran.bytes(label, name))
    return { name, path: join(path, name) }
  })
}
const json = (ran: Ran, label: string, file: string) => JSON.parse(ran.text(label, file)) as Fields
const likelihood = (ran: Ran, label: string) =>
  Schema.decodeUnknownSync(LikelihoodResult)(json(ran, label, "likelihood.json"))

describe("an adapter in a directory", () => {
  const over = (model: string, adapter: string, quantised: boolean, cache: string) =>
    runPipeline(
      Pipeline.make(
        "adapted",
        { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
        () => {
          const dense = downloadModel({ source: model })
          return downloadAdapter({
            base: quantised ? quantize({ model: dense, block_size: 32 }) : dense,
            source: adapter
          })
        }
      ),
      { cache: join(directory.path, cache), layers: [assets], engine: numericClass("ort") }
    )

  it("and its base are one model, as the one that was trained; another base is refused, and an adapter alone says what it is for", async () => {
    const ran = await run({ adapter: { r: 4 }, further: true, train: { max_steps: 3 } })
    assert.deepStrictEqual(ran.failures, [])
    written(ran, "export-peft")
    const adapter = `file:${join(directory.path, "export-peft")}`
    const tiny = `file:${join(directory.path, "tiny")}`
    for (const quantised of [true, false]) {
      const both = await over(tiny, adapter, quantised, `both-${quantised}`)
      assert.deepStrictEqual(both.failures, [])
      const label = "download-adapter"
      const opened = await Effect.runPromise(openModel(written(both, label, String(quantised))))
      const trained = await Effect.runPromise(openModel(written(ran, "train", String(quantised))))
      assert.deepStrictEqual(opened.config.linear?.adapter, trained.config.linear?.adapter)
      assert.strictEqual(opened.diffusion, true)
      const name = [...trained.tensors.keys()].find(each => each.endsWith("lora_B.weight"))!
      const values = (model: typeof opened) => Effect.runPromise(model.tensors.get(name)!.floats(0, 4))
      assert.deepStrictEqual(await values(opened), await values(trained))
    }
    const file = join(directory.path, "tiny", "model.safetensors")
    const bytes = readFileSync(file)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(file, bytes)
    const [refused] = (await over(tiny, adapter, false, "other")).failures
    assert.match(JSON.stringify(refused), /trained over another base: model\.safetensors/)
    const alone = await over(adapter, adapter, false, "alone")
    assert.match(JSON.stringify(alone.failures[0]), /is an adapter, for org\/tiny at revision some/)
  }, 180_000)
})

describe("a training of adapters over NF4", () => {
  it("learns, keeps the base's bytes, and is the same model as stages read it, merged and handed on", async () => {
    const ran = await run({ adapter: { r: 4 }, further: true })
    assert.deepStrictEqual(ran.failures, [])
    const files = (label: string) => new Map(ran.manifest(label).files.map(file => [file.path, file]))
    const [base, trained] = [files("quantize"), files("train")]
    for (const name of ["model.safetensors", "tokenizer.json"])
      assert.deepStrictEqual(trained.get(name), base.get(name))
    const record = json(ran, "train", "training.json") as { readonly [field: string]: number }
    assert.isBelow(record["trainedParameters"]!, record["parameters"]! / 4)
    assert.isNotEmpty(ran.series("train", "qlora/grad_norm"))
    assert.deepStrictEqual(ran.series("train", "qlora/grad_norm"), ran.series("train", "training/grad_norm"))

    const [adapted, merged] = [
      likelihood(ran, "evaluate-likelihood/adapted"),
      likelihood(ran, "evaluate-likelihood/merged")
    ]
    // The weights are random: with head and embedding as they were drawn, adapters do better than chance, and no more.
    assert.isBelow(adapted.bound!.nats, Math.log(tinyConfig.vocabSize) - 0.5)
    // The merge is dense in the base's f32. Its tied head has the mask's new row, too: one logit of 2,048 is another.
    assert.closeTo(merged.bound!.nats, adapted.bound!.nats, 1e-3)
    assert.closeTo(merged.autoregressiveLoss.value, adapted.autoregressiveLoss.value, 1e-3)
    const config = json(ran, "merge", "config.json")
    assert.notProperty(config, "quantization_config")
    assert.strictEqual(config["mask_token_id"], tinyConfig.vocabSize - 1)
    assert.deepStrictEqual(
      ran
        .manifest("merge")
        .files.map(({ path }) => path)
        .toSorted(),
      ran
        .manifest("download-model")
        .files.map(({ path }) => path)
        .concat("training.json")
        .toSorted()
    )

    const handed = written(ran, "export-peft")
    assert.include(json(ran, "export-peft", "adapter_config.json"), {
      r: 4,
      base_model_name_or_path: "org/tiny",
      revision: "some"
    })
    const card = ran.text("export-peft", "README.md")
    for (const part of [
      "org/tiny",
      ran.digest("train"),
      ran.digest("download-model"),
      adapted.bound!.nats.toFixed(3),
      "made so",
      "in NF4, blocks of 32, double quantisation",
      "BitsAndBytesConfig(load_in_4bit=True"
    ])
      assert.include(card, part)
    await Effect.runPromise(
      Effect.gen(function* () {
        const opened = yield* openModel(written(ran, "train"))
        const plain = yield* openModel(written(ran, "quantize"))
        const again = yield* withAdapter(plain, yield* openAdapter(handed))
        assert.deepStrictEqual(again.config, opened.config)
        assert.deepStrictEqual([again.diffusion, again.tokenShift], [true, true])
        assert.deepStrictEqual([...again.tensors.keys()].toSorted(), [...opened.tensors.keys()].toSorted())
        // Whoever puts the adapter over a base is told if it is another one.
        const { diffusion } = yield* openAdapter(handed)
        assert.deepStrictEqual(Object.keys(diffusion!.base_sha256!), ["model.safetensors"])
        const over = (label: string) =>
          mustBeItsBase(diffusion!, written(ran, label, "base"), path => Effect.sync(() => sha256(readFileSync(path))))
        yield* over("download-model")
        assert.match(
          (yield* Effect.flip(over("merge"))).message,
          /another base: model\.safetensors has the SHA-256 [0-9a-f]{64}, there it had [0-9a-f]{64}$/
        )
        // The merge has the trained row of the mask; all other rows of the embedding are the base's.
        const d = tinyConfig.hiddenSize
        const row = (tensors: typeof plain.tensors, name: string, at: number) =>
          tensors.get(name)!.floats(at * d, (at + 1) * d)
        const dense = yield* openModel(written(ran, "merge"))
        const mask = tinyConfig.vocabSize - 1
        const own = yield* row(opened.tensors, "model.embed_tokens.token_adapter.trainable_tokens_delta", 0)
        assert.deepStrictEqual(yield* row(dense.tensors, embeddingKey, mask), own)
        assert.notDeepEqual(yield* row(plain.tensors, embeddingKey, mask), own)
        assert.deepStrictEqual(yield* row(dense.tensors, embeddingKey, 7), yield* row(plain.tensors, embeddingKey, 7))
      })
    )
  }, 180_000)

  it("gives the same bytes again, with dropout and checkpoints of layers", async () => {
    const asked = {
      adapter: { r: 2, lora_dropout: 0.3, use_dora: true },
      train: { max_steps: 12, enable_gradient_checkpointing: true }
    }
    const [first, second] = [await run(asked, "one"), await run(asked, "two")]
    assert.deepStrictEqual(first.failures, [])
    assert.deepStrictEqual(second.manifest("train"), first.manifest("train"))
    const otherwise = await run({ ...asked, train: { max_steps: 12 } }, "three")
    const loss = (ran: Ran) => ran.series("train", "training/loss").at(-1)!
    assert.closeTo(loss(otherwise), loss(first), 1e-4)
  }, 180_000)

  it("is aligned with the base without its adapter: live and by anchors the same", async () => {
    const asked = { adapter: { r: 2, lora_dropout: 0 }, train: { max_steps: 6, repr_align_wt: 1, align_layers: "1,2" } }
    const [live, cached] = [await run(asked, "live"), await run({ ...asked, anchors: true }, "cached")]
    assert.deepStrictEqual([live.failures, cached.failures], [[], []])
    const losses = (ran: Ran) => ran.series("train", "losses/repr_align")
    assert.strictEqual(losses(live).length, 6)
    // Anchors are kept in bfloat16.
    for (const [i, loss] of losses(live).entries()) assert.closeTo(losses(cached)[i]!, loss, 2e-3)
  }, 180_000)

  it("is exported by the command line, and found again with its base", async () => {
    const ran = await run({ adapter: { r: 2 }, train: { max_steps: 4 } })
    assert.deepStrictEqual(ran.failures, [])
    const call = (...words: ReadonlyArray<string>) => pipelineCommand(directory.path, words)
    const done = (...words: ReadonlyArray<string>): string => {
      const { code, stderr, stdout } = call(...words)
      assert.strictEqual(code, 0, stderr)
      return stdout
    }
    const cache = ["--cache", "cache"]
    done("export", "adapters/quantize", "--to", "files", "-o", "base", ...cache)
    done("export", "adapters/train", "--to", "peft", "--base-model", "../base", "-o", "adapter", ...cache)
    done("export", "adapters/train", "--to", "merged", "-o", "dense", ...cache)
    const decoding = ["--mode", "diffusion", "-t", "0", "-n", "8", "--json", "The people"]
    const textOf = (...words: ReadonlyArray<string>) =>
      (JSON.parse(done("generate", ...words, ...decoding)) as { readonly texts: unknown }).texts
    const expected = textOf("-m", "adapters/train", ...cache)
    assert.deepStrictEqual(textOf("-m", "adapter"), expected)
    assert.deepStrictEqual(textOf("-m", "adapter", "--base", "base"), expected)
    assert.deepStrictEqual(textOf("-m", "dense"), expected)
    writeFileSync(
      join(directory.path, "adapter", "adapter_config.json"),
      readFileSync(join(directory.path, "adapter", "adapter_config.json"), "utf8").replace("../base", "org/other")
    )
    const { code, stderr } = call("generate", "-m", "adapter", ...decoding)
    assert.strictEqual(code, 2)
    assert.match(stderr, /adapter: is an adapter for org\/other, which is not here/)
    assert.match(call("export", "base", "--to", "peft", "-o", "none").stderr, /the model has no adapter/)
  }, 180_000)

  it("goes on where no other adapter is asked for; nothing is trained beside it, which would be lost", async () => {
    const first = { adapter: { r: 2 }, train: { max_steps: 3 } }
    const ran = await run({ ...first, again: {} })
    assert.deepStrictEqual(ran.failures, [])
    const file = (label: string, name: string) => ran.manifest(label).files.find(({ path }) => path === name)!.sha256
    assert.strictEqual(file("train/again", "model.safetensors"), file("train", "model.safetensors"))
    assert.notStrictEqual(file("train/again", "adapter_model.safetensors"), file("train", "adapter_model.safetensors"))
    const cola = {
      method: "cola",
      cola_wt: 0.5,
      cola_heads: 2,
      cola_encoder_depth: 1,
      cola_diffusion_depth: 1,
      cola_width: 16
    }
    const beside = await run({ ...first, again: { ...cola, cola_max_length: 32 } }, "beside")
    assert.match(
      beside.failures.map(({ message }) => message).join(),
      /the base has an adapter, and networks that are trained beside it have no place in such a model/
    )
  }, 180_000)

  it("refuses what cannot be trained, before it begins", async () => {
    const failure = async (asked: Asked, cache: string) =>
      (await run(asked, cache)).failures.map(({ message }) => message).join()
    assert.match(await failure({}, "none"), /weights are in NF4, which no training changes/)
    assert.match(
      await failure({ adapter: { target_modules: "q_proj,qq_proj" } }, "target"),
      /target_modules: qq_proj: no linear map of the model's layers is called so; there are q_proj/
    )
  }, 180_000)
})

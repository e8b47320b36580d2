/** Adapters in files: written and read they compute the same, merged into the weights too; what does not fit its model is refused. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import type { Buffers } from "../../../src/engines/Engine.ts"
import { makeReference } from "../../../src/engines/reference/reference.ts"
import { quantizationConfig } from "../../../src/formats/bitsandbytes.ts"
import { openTensors, saveTensorFile, saveTensors } from "../../../src/formats/tensorFiles.ts"
import {
  adapterModelFile,
  openAdapter,
  withAdapter,
  withAdapterConfig,
  writeAdapter
} from "../../../src/models/adapter/adapterFiles.ts"
import type { DiffusionConfig } from "../../../src/models/adapter/diffusionConfig.ts"
import { fillMagnitudes, mergeInto, mergedTensors } from "../../../src/models/adapter/merge.ts"
import { loadParameters, openModel, type OpenModel } from "../../../src/models/artifact.ts"
import { adapterSpecs, type ModelConfig, parameterSpecs } from "../../../src/models/config.ts"
import { forward, logits, weightsOf } from "../../../src/models/decoder.ts"
import type { Adapter } from "../../../src/models/linear/linearMaps.ts"
import { allocateParameters, initialise } from "../../../src/models/parameters.ts"
import { quantisedCheckpoint, withStoredNf4 } from "../../../src/models/quantised.ts"
import type { ArtifactWriter } from "../../../src/pipeline/StageContext.ts"
import { input, reshape } from "../../../src/tensor/ops.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { inputsOf } from "../../../src/sessions/session.ts"
import { temporaryDirectory } from "../../support/inProcess.ts"
import { hybridConfig, modelConfig, writeTinyModel } from "../../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const engine = makeReference()
const tiny = modelConfig({ vocabSize: 2048, ropeTheta: 10_000, family: "qwen2", attentionBias: true })
const lora: Adapter = {
  targetModules: "auto",
  r: 2,
  alpha: 3,
  rankStabilised: true,
  dropout: 0.1,
  dora: false,
  rankPattern: {},
  alphaPattern: {},
  trainableTokens: []
}
const nf4 = { blockSize: 32, doubleQuant: true, modules: "auto" } as const

const filesIn = (path: string) => readdirSync(path).map(name => ({ name, path: join(path, name) }))
const folder = (name: string): string => {
  const path = join(directory.path, name)
  mkdirSync(path, { recursive: true })
  return path
}
const outputTo = (path: string) =>
  ({
    reserve: (name: string) => Effect.succeed(join(path, name)),
    write: (name: string, content: unknown) => Effect.sync(() => writeFileSync(join(path, name), String(content)))
  }) as unknown as ArtifactWriter<never>

const openTiny = Effect.gen(function* () {
  const path = folder("base")
  yield* Effect.promise(() => writeTinyModel(path, tiny))
  return yield* openModel(filesIn(path))
})

/** Saves tensors as the weights of the same model, in a folder of its own. */
const rewritten = (name: string, tensors: Parameters<typeof saveTensors>[1], fields: object = {}) =>
  Effect.gen(function* () {
    const path = folder(name)
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"])
      writeFileSync(join(path, file), readFileSync(join(folder("base"), file)))
    const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as object
    writeFileSync(join(path, "config.json"), JSON.stringify({ ...config, ...fields }))
    yield* saveTensors(file => Effect.succeed(join(path, file)), tensors, { format: "F32" })
    return yield* openModel(filesIn(path))
  })

/** An adapter's files, with numbers that are never at their start. */
const adapterIn = (name: string, model: OpenModel, adapter: Adapter) =>
  Effect.gen(function* () {
    const config = yield* withAdapterConfig(model.config, adapter)
    const specs = adapterSpecs(config)
    const { views } = yield* allocateParameters(engine, specs)
    yield* fillMagnitudes(engine, { config, tensors: model.tensors }, { specs, views })
    for (const spec of specs) {
      const noise = normals(
        randomKey(4, spec.name),
        spec.shape.reduce((n, size) => n * size, 1)
      )
      const now = (yield* engine.download(views[spec.name]!)) as Float32Array
      yield* engine.upload(
        views[spec.name]!,
        noise.map((x, i) => now[i]! + 0.2 * x)
      )
    }
    const path = folder(name)
    const names = yield* writeAdapter(outputTo(path), {
      engine,
      config,
      views,
      base: { nameOrPath: "tiny", revision: null }
    })
    expect(names.toSorted()).toEqual(readdirSync(path).toSorted())
    return path
  })

const tokens = [3, 1, 4, 1, 5, 9]
const logitsOf = (config: ModelConfig, views: Buffers) =>
  Effect.gen(function* () {
    const weights = weightsOf(config, inputsOf(views))
    const { final } = forward(config, weights, input("tokens", "i32", [1, tokens.length]), { causal: true })
    const program = makeProgram({ logits: logits(reshape(final, [tokens.length, config.hiddenSize]), weights) })
    const given = yield* engine.allocate("i32", [1, tokens.length])
    yield* engine.upload(given, Int32Array.from(tokens))
    const output = yield* engine.allocate("f32", [tokens.length, config.vocabSize])
    const all = { ...views, tokens: given }
    const used = Object.fromEntries(program.inputs.map(({ name }) => [name, (all as Buffers)[name]!]))
    yield* engine.run([yield* engine.bind(yield* engine.compile(program), used, { logits: output })])
    return (yield* engine.download(output)) as Float32Array
  })
const logitsFrom = (model: OpenModel) =>
  Effect.flatMap(loadParameters(engine, model), views => logitsOf(model.config, views))

const difference = (actual: Float32Array, expected: Float32Array): number =>
  expected.reduce((most, value, i) => Math.max(most, Math.abs(actual[i]! - value)), 0)

describe("an adapter", () => {
  const kinds: { readonly [name: string]: Adapter } = {
    LoRA: { ...lora, rankStabilised: false },
    rsLoRA: lora,
    DoRA: { ...lora, dora: true },
    patterns: {
      ...lora,
      targetModules: ["q_proj", "down_proj", "layers.1.mlp.up_proj"],
      rankPattern: { "layers.0.self_attn.q_proj": 3 },
      alphaPattern: { down_proj: 7 }
    }
  }
  it.live.each(Object.entries(kinds))(
    "that was written is read, and the merged model computes the same: %s, over dense weights and NF4",
    ([, adapter]) =>
      Effect.scoped(
        Effect.gen(function* () {
          const plain = yield* openTiny
          const packed = yield* rewritten("nf4", yield* quantisedCheckpoint(plain, nf4), {
            quantization_config: quantizationConfig(nf4, "F32", [])
          })
          for (const [name, opened] of [
            ["dense", plain],
            ["packed", packed]
          ] as const) {
            const base = { ...opened, config: yield* withStoredNf4(opened) }
            const files = yield* openAdapter(filesIn(yield* adapterIn(`${name}-adapter`, base, adapter)))
            expect(files.adapter).toEqual({
              ...adapter,
              targetModules:
                adapter.targetModules === "auto"
                  ? ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
                  : adapter.targetModules
            })
            expect(files.base).toEqual({ nameOrPath: "tiny", revision: null })
            const adapted = yield* withAdapter(base, files)
            const found = yield* logitsFrom(adapted)
            const merged = yield* rewritten(`${name}-merged`, mergedTensors(adapted))
            expect([...merged.tensors.keys()].toSorted()).toEqual([...plain.tensors.keys()].toSorted())
            expect(merged.config).toEqual(tiny)
            expect(difference(yield* logitsFrom(merged), found)).toBeLessThan(1e-5)
            expect(difference(yield* logitsFrom(base), found)).toBeGreaterThan(0.01)
          }
        })
      )
  )

  it.live("that is fresh changes nothing, with DoRA too", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const base = yield* openTiny
        const expected = yield* logitsFrom(base)
        for (const dora of [false, true]) {
          const config = yield* withAdapterConfig(base.config, { ...lora, dora })
          const buffers = yield* allocateParameters(engine, parameterSpecs(config))
          const views = { ...buffers.views, ...(yield* loadParameters(engine, base)) }
          yield* initialise(engine, { ...buffers, specs: adapterSpecs(config) }, 3)
          yield* fillMagnitudes(engine, { config, tensors: base.tensors }, { specs: parameterSpecs(config), views })
          expect(difference(yield* logitsOf(config, views), expected)).toBeLessThan(1e-6)
        }
      })
    )
  )

  it.live("leaves what it does not touch as it is when it is merged, in the format it had", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const opened = yield* openTiny
        const all = Array.from(opened.tensors.values(), ({ floats, name, shape }) => ({
          name,
          shape,
          floats: floats(
            0,
            shape.reduce((n, size) => n * size, 1)
          )
        }))
        const path = folder("half")
        yield* saveTensorFile(join(path, "model.safetensors"), all, "BF16")
        const tensors = yield* openTensors(filesIn(path))
        const base = { ...opened, tensors }
        const adapter = { ...lora, targetModules: ["k_proj"] }
        const adapted = yield* withAdapter(
          base,
          yield* openAdapter(filesIn(yield* adapterIn("half-adapter", base, adapter)))
        )
        const target = folder("half-merged")
        yield* saveTensorFile(join(target, "model.safetensors"), mergedTensors(adapted), "F32")
        for (const [name, tensor] of yield* openTensors(filesIn(target))) {
          const before = tensors.get(name)!
          expect(tensor.dtype).toBe("BF16")
          const [now, then] = [yield* tensor.bytes(0, tensor.size), yield* before.bytes(0, before.size)]
          if (name.endsWith("k_proj.weight")) expect(now).not.toEqual(then)
          else expect(now).toEqual(then)
        }
      })
    )
  )
})

it("merging is W + s B A to half a unit in the last place, whatever the sizes", () =>
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 0, max: 1000 }),
      fc.boolean(),
      (outputs, inputs, r, seed, dora) => {
        const draw = (name: string, n: number) => normals(randomKey(seed, name), n)
        const [w, a, b] = [draw("w", outputs * inputs), draw("a", r * inputs), draw("b", outputs * r)]
        const magnitude = draw("m", outputs).map(x => Math.abs(x) + 0.5)
        const settings = { r, alpha: 4, rankStabilised: true }
        const merged = w.slice()
        mergeInto(merged, settings, dora ? { a, b, magnitude } : { a, b })
        for (let o = 0; o < outputs; o++) {
          const row = Array.from({ length: inputs }, (_, i) => {
            let change = 0
            for (let k = 0; k < r; k++) change += b[o * r + k]! * a[k * inputs + i]!
            return w[o * inputs + i]! + (4 / Math.sqrt(r)) * change
          })
          const stretch = dora ? magnitude[o]! / Math.hypot(...row) : 1
          for (let i = 0; i < inputs; i++)
            expect(Math.abs(merged[o * inputs + i]! - stretch * row[i]!)).toBeLessThan(
              2e-7 * (1 + Math.abs(stretch) * (Math.abs(row[i]!) + Math.abs(w[o * inputs + i]!)) + stretch)
            )
        }
      }
    ),
    { numRuns: 200 }
  ))

describe("refused is an adapter", () => {
  /** The tensors of an adapter's file, changed. */
  const changed = (change: (names: Map<string, { shape: Array<number>; floats: Float32Array<ArrayBuffer> }>) => void) =>
    Effect.gen(function* () {
      const base = yield* openTiny
      const path = yield* adapterIn("adapter", base, { ...lora, targetModules: ["q_proj"] })
      const tensors = new Map<string, { shape: Array<number>; floats: Float32Array<ArrayBuffer> }>()
      for (const [name, tensor] of yield* openTensors(filesIn(path).filter(file => file.name === adapterModelFile)))
        tensors.set(name, {
          shape: [...tensor.shape],
          floats: yield* tensor.floats(0, tensor.size / 4)
        })
      change(tensors)
      yield* saveTensorFile(
        join(path, adapterModelFile),
        Array.from(tensors, ([name, { floats, shape }]) => ({ name, shape, floats: Effect.succeed(floats) })),
        "F32"
      )
      return yield* withAdapter(base, yield* openAdapter(filesIn(path)))
    })
  const first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
  const cases: ReadonlyArray<readonly [string, Parameters<typeof changed>[0], RegExp]> = [
    ["without a tensor", map => map.delete(first), /missing: model.layers.0.self_attn.q_proj.lora_A.weight$/],
    [
      "with a tensor too many",
      map => map.set(first.replace("q_proj", "k_proj"), map.get(first)!),
      /unknown: model.layers.0.self_attn.k_proj.lora_A.weight$/
    ],
    [
      "of another rank",
      map => map.set(first, { shape: [1, 8], floats: new Float32Array(8) }),
      /of another shape: model.layers.0.self_attn.q_proj.lora_A.weight is \[1, 8\], expected \[2, 8\]$/
    ],
    [
      "whose names are not PEFT's",
      map => {
        map.set(first.replace("base_model.model.", ""), map.get(first)!)
        map.delete(first)
      },
      /the tensor model.layers.0.self_attn.q_proj.lora_A.weight is none of an adapter of this model$/
    ],
    [
      "that names its adapter, as in memory",
      map => {
        map.set(first.replace("lora_A", "lora_A.default"), map.get(first)!)
        map.delete(first)
      },
      /missing: .*q_proj.lora_A.weight; unknown: .*lora_A.default.weight$/
    ]
  ]
  it.live.each(cases)("%s", ([, change, expected]) =>
    Effect.scoped(
      Effect.map(Effect.flip(changed(change)), ({ message }) => {
        expect(message).toMatch(expected)
      })
    )
  )

  it.live("for modules that the model does not have, for its head, or over another", () =>
    Effect.gen(function* () {
      for (const name of ["lm_head", "embed_tokens", "in_proj_qkv"]) {
        const { message } = yield* Effect.flip(withAdapterConfig(tiny, { ...lora, targetModules: ["q_proj", name] }))
        expect(message).toBe(
          `target_modules: ${name}: no linear map of the model's layers is called so; there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj`
        )
      }
      const twice = yield* withAdapterConfig(tiny, lora)
      expect((yield* Effect.flip(withAdapterConfig(twice, lora))).message).toBe("the model has an adapter already")
    })
  )

  it.live("without one of its files, and with another mask than the model's", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const base = yield* openTiny
        const path = yield* adapterIn("adapter", base, lora)
        for (const file of ["adapter_config.json", adapterModelFile]) {
          const rest = filesIn(path).filter(({ name }) => name !== file)
          expect((yield* Effect.flip(openAdapter(rest))).message).toBe(`the adapter has no ${file}`)
        }
        const diffusion = (mask: number, more = {}) => {
          const fields = { mask_token: "<M>", mask_token_id: mask, token_shift: false, ...more }
          const blocks = { ...fields, attention: "block_causal", attention_block_size: 4 }
          writeFileSync(join(path, "diffusion_config.json"), JSON.stringify(blocks))
        }
        diffusion(1)
        const { message } = yield* Effect.flip(withAdapter(base, yield* openAdapter(filesIn(path))))
        expect(message).toMatch(/^diffusion_config.json: the mask "<M>" has id 1, in the model's tokenizer .* id \d+$/)
        diffusion(base.tokenizer.maskId)
        const model = yield* withAdapter(base, yield* openAdapter(filesIn(path)))
        expect(model).toMatchObject({ diffusion: true, tokenShift: false })
        expect(model.config.attentionBlockSize).toBe(4)
        diffusion(base.tokenizer.maskId, { hybrid_bidirectional: "two_scan" })
        const refused = yield* Effect.flip(withAdapter(base, yield* openAdapter(filesIn(path))))
        expect(refused.message).toBe(
          "diffusion_config.json: hybrid_bidirectional is two_scan, but no layer of the model is recurrent"
        )
      })
    )
  )
})

it.live("diffusion_config.json says how a hybrid model reads both ways", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const path = folder("hybrid")
      yield* Effect.promise(() =>
        writeTinyModel(path, hybridConfig({ vocab_size: 2048, hybrid_bidirectional: "none" }))
      )
      const base = yield* openModel(filesIn(path))
      const files = yield* openAdapter(filesIn(yield* adapterIn("adapter", base, lora)))
      const read = (more: Pick<DiffusionConfig, "hybrid_bidirectional">) =>
        withAdapter(base, {
          ...files,
          diffusion: {
            mask_token: "<M>",
            mask_token_id: base.tokenizer.maskId,
            token_shift: true,
            attention: "bidirectional",
            ...more
          }
        })
      expect((yield* read({ hybrid_bidirectional: "two_scan" })).config.hybridBidirectional).toBe("two_scan")
      expect((yield* read({})).config.hybridBidirectional).toBe("none")
    })
  )
)

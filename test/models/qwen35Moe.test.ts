/** Qwen3.5's configurations and checkpoints with experts: in one tensor or by themselves, and what is refused. */
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { openTensors } from "../../src/formats/tensorFiles.ts"
import { withAdapterConfig } from "../../src/models/adapter/adapterFiles.ts"
import { loadParameters, openModel } from "../../src/models/artifact.ts"
import { allLinearModules, countParameters, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../../src/models/families.ts"
import { trainingFlops } from "../../src/models/flops.ts"
import { initialValues, type ParameterSpec } from "../../src/models/parameters.ts"
import { type NamedValues, tinySizes, writeCheckpoint } from "../support/hybridCheckpoint.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const read = (json: unknown): ModelConfig => Effect.runSync(decodeModelConfig(json))
const problem = (json: unknown): string =>
  Effect.runSync(
    Effect.match(decodeModelConfig(json), { onFailure: ({ message }) => message, onSuccess: () => "accepted" })
  )

/** The text model of Qwen3.5-35B-A3B. */
const text35B = {
  model_type: "qwen3_5_moe_text",
  head_dim: 256,
  hidden_act: "silu",
  hidden_size: 2048,
  initializer_range: 0.02,
  linear_conv_kernel_dim: 4,
  linear_key_head_dim: 128,
  linear_num_key_heads: 16,
  linear_num_value_heads: 32,
  linear_value_head_dim: 128,
  moe_intermediate_size: 512,
  num_attention_heads: 16,
  num_experts: 256,
  num_experts_per_tok: 8,
  num_hidden_layers: 40,
  num_key_value_heads: 2,
  output_router_logits: false,
  rms_norm_eps: 1e-6,
  rope_parameters: { partial_rotary_factor: 0.25, rope_theta: 10_000_000, rope_type: "default" },
  router_aux_loss_coef: 0.001,
  shared_expert_intermediate_size: 512,
  tie_word_embeddings: false,
  vocab_size: 248_320
}
const whole = (text: object) => ({
  architectures: ["Qwen3_5MoeForConditionalGeneration"],
  image_token_id: 248_056,
  model_type: "qwen3_5_moe",
  text_config: text,
  tie_word_embeddings: false,
  vision_config: { depth: 27, hidden_size: 1152, model_type: "qwen3_5_moe_vision" }
})

describe("the configuration of Qwen3.5 with experts", () => {
  it("counts all parameters of the 35B text model, and operations of the 3B that a token passes", () => {
    const config = read(text35B)
    const d = 2048
    const ofExperts = 256 * 3 * 512 * d
    const besideExperts = 256 * d + 3 * 512 * d + d
    const attention = d * (2 * 16 * 256 + 2 * 2 * 256) + 16 * 256 * d + 2 * 256
    const channels = 2 * 16 * 128 + 32 * 128
    const deltaNet = d * (channels + 32 * 128 + 2 * 32) + 4 * channels + 2 * 32 + 128 + 32 * 128 * d
    const perLayer = ofExperts + besideExperts + 2 * d
    const total = 40 * perLayer + 10 * attention + 30 * deltaNet + d + 2 * 248_320 * d
    expect(countParameters(config)).toBe(total)
    const mixing = 10 * 12 * 16 * 256 + 30 * 24 * 32 * 128 * 128
    const active = total - 248_320 * d - 40 * ((ofExperts / 256) * 248)
    expect(trainingFlops(config, [1], { causal: true })).toBe(6 * active + mixing)
    expect(active / 1e9).toBeCloseTo(2.95, 1)
  })

  it("is the same nested, and is written so that it is read again", () => {
    const { family: _, ...config } = read(whole(text35B))
    expect(read(text35B)).toEqual({ family: "qwen3_5_moe_text", ...config })
    for (const changes of [{}, { output_router_logits: true, router_aux_loss_coef: 0 }, { num_experts_per_tok: 256 }])
      for (const json of [{ ...text35B, ...changes }, whole({ ...text35B, ...changes })]) {
        const once = read(json)
        expect(read(JSON.parse(JSON.stringify(encodeModelConfig(once))))).toEqual(once)
      }
    const written = encodeModelConfig(read(whole(text35B)))
    expect(written).toMatchObject({ model_type: "qwen3_5_moe", text_config: { model_type: "qwen3_5_moe_text" } })
    expect(written["architectures"]).toEqual(["Qwen3_5MoeForConditionalGeneration"])
  })

  it("has the published class's sizes where the file has none", () => {
    const { moe_intermediate_size: _, num_experts: _n, num_experts_per_tok: _k, ...without } = text35B
    expect(read(without)).toEqual(read(text35B))
  })

  it("is refused, by the name of the field, where it cannot be run", () => {
    const changed = (changes: object): string => problem({ ...text35B, ...changes })
    expect(changed({ num_experts_per_tok: 257 })).toBe(
      "config.json: num_experts_per_tok is 257; supported is at most num_experts, 256"
    )
    expect(changed({ num_experts: 0 })).toMatch(/num_experts/)
    expect(changed({ router_aux_loss_coef: -1 })).toMatch(/router_aux_loss_coef/)
    expect(changed({ hidden_act: "gelu" })).toMatch(/hidden_act is "gelu"/)
    expect(problem({ ...whole(text35B), text_config: undefined })).toMatch(/text_config/)
  })
})

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const tiny = {
  ...text35B,
  ...tinySizes,
  num_experts: 3,
  num_experts_per_tok: 2,
  moe_intermediate_size: 5,
  shared_expert_intermediate_size: 6
}
const config = read(tiny)
const values = (spec: ParameterSpec) => initialValues(spec, 3)

const asTheyAre: ReadonlyArray<NamedValues> = parameterSpecs(config).map(spec => ({
  name: spec.name,
  shape: spec.shape,
  values: values(spec)
}))
/** The same with the weights of each expert by themselves. */
const apart = asTheyAre.flatMap((tensor): ReadonlyArray<NamedValues> => {
  const [, prefix, kind] = /^(.*\.experts)\.(gate_up_proj|down_proj)$/.exec(tensor.name) ?? []
  if (prefix === undefined) return [tensor]
  const [experts, rows, columns] = tensor.shape as [number, number, number]
  return Array.from({ length: experts }, (_, e) => {
    const own = tensor.values.slice(e * rows * columns, (e + 1) * rows * columns)
    const part = (name: string, from: number, to: number): NamedValues => ({
      name: `${prefix}.${e}.${name}.weight`,
      shape: [to - from, columns],
      values: own.slice(from * columns, to * columns)
    })
    return kind === "down_proj"
      ? [part("down_proj", 0, rows)]
      : [part("gate_proj", 0, rows / 2), part("up_proj", rows / 2, rows)]
  }).flat()
})
const prefixed = (tensors: ReadonlyArray<NamedValues>): ReadonlyArray<NamedValues> =>
  tensors.map(({ name, ...rest }) => ({ name: name.replace(/^model\./, "model.language_model."), ...rest }))

let written = 0
const write = (json: object, tensors: ReadonlyArray<NamedValues>) =>
  writeCheckpoint(join(directory.path, `model ${written++}`), json, tensors)

describe("a checkpoint of Qwen3.5 with experts", () => {
  const beside: ReadonlyArray<NamedValues> = [
    "model.visual.blocks.0.attn.qkv.weight",
    "mtp.layers.0.mlp.experts.0.up_proj.weight"
  ].map(name => ({ name, shape: [1], values: Float32Array.of(7) }))

  it.effect("is read with experts in one tensor and by themselves, nested or not, from shards", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const reference = makeReference()
        // An engine that reads files itself gets the parts of a stack one by one.
        const reading: Engine = {
          ...reference,
          load: (buffer, { offset, path }) =>
            Effect.gen(function* () {
              const all = yield* Effect.orDie(openTensors([{ name: "it.safetensors", path }]))
              const found = [...all.values()].find(tensor => tensor.offset === offset)!
              expect(found.shape).toEqual(buffer.shape)
              const floats = yield* Effect.orDie(
                found.floats(
                  0,
                  buffer.shape.reduce((n, size) => n * size, 1)
                )
              )
              yield* reference.upload(buffer, floats)
            })
        }
        for (const [json, tensors] of [
          [tiny, asTheyAre],
          [tiny, apart],
          [whole(tiny), [...prefixed(asTheyAre), ...beside]],
          [whole(tiny), [...prefixed(apart), ...beside]]
        ] as const)
          for (const engine of [reference, reading]) {
            const model = yield* openModel(yield* write(json, tensors))
            const views = yield* loadParameters(engine, model)
            for (const spec of parameterSpecs(model.config))
              expect(yield* engine.download(views[spec.name]!), spec.name).toEqual(values(spec))
          }
        // Parts and bytes of a stack, across the borders of its experts.
        const { tensors } = yield* openModel(yield* write(tiny, apart))
        const name = "model.layers.0.mlp.experts.gate_up_proj"
        const stacked = tensors.get(name)!
        const expected = values(parameterSpecs(config).find(spec => spec.name === name)!)
        expect(yield* stacked.floats(3, 211)).toEqual(expected.slice(3, 211))
        expect(yield* stacked.bytes(12, 844)).toEqual(new Uint8Array(expected.slice(3, 211).buffer))
      })
    )
  )

  it.effect(
    "is refused by name where an expert is missing, there twice, of another shape, or more than the model has",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const messageOf = (tensors: ReadonlyArray<NamedValues>) =>
            Effect.gen(function* () {
              yield* loadParameters(makeReference(), yield* openModel(yield* write(tiny, tensors)))
            }).pipe(
              Effect.flip,
              Effect.map(({ message }) => message)
            )
          const key = "model.layers.1.mlp.experts.1.up_proj.weight"
          expect(yield* messageOf(apart.filter(({ name }) => name !== key))).toContain(
            `the weights have no ${key}, though other experts of this layer`
          )
          const stackedToo = asTheyAre.filter(({ name }) => name.endsWith("layers.1.mlp.experts.down_proj"))
          expect(yield* messageOf([...apart, ...stackedToo])).toContain(
            "the weights hold model.layers.1.mlp.experts.down_proj twice, as one tensor and expert by expert"
          )
          const turned = apart.map(tensor => (tensor.name === key ? { ...tensor, shape: [8, 5] } : tensor))
          expect(yield* messageOf(turned)).toContain(
            `the weight ${key} is F32 [8, 5]; the first expert's is F32 [5, 8]`
          )
          const more = apart.flatMap(tensor =>
            tensor.name.includes("experts.2.")
              ? [tensor, { ...tensor, name: tensor.name.replace("experts.2.", "experts.3.") }]
              : [tensor]
          )
          expect(yield* messageOf(more)).toContain("mlp.experts.gate_up_proj is [4, 10, 8], expected [3, 10, 8]")
          // As in FP8 files.
          const scales = { name: `${key}_scale_inv`, shape: [1], values: Float32Array.of(1) }
          expect(yield* messageOf([...apart, scales])).toContain(`unknown: ${key}_scale_inv`)
        })
      )
  )

  it.effect("has no linear maps among its experts: adapters that name them are refused", () =>
    Effect.gen(function* () {
      const names = new Set(allLinearModules(config).map(({ module }) => module.replace(/^model\.layers\.\d\./, "")))
      expect([...names].filter(name => name.startsWith("mlp."))).toEqual([
        "mlp.shared_expert.gate_proj",
        "mlp.shared_expert.up_proj",
        "mlp.shared_expert.down_proj",
        "mlp.shared_expert_gate"
      ])
      const adapter = {
        r: 2,
        alpha: 4,
        rankStabilised: false,
        dropout: 0,
        dora: false,
        rankPattern: {},
        alphaPattern: {},
        trainableTokens: []
      }
      for (const target of ["gate_up_proj", "experts", "mlp.gate"]) {
        const refused = yield* Effect.flip(withAdapterConfig(config, { ...adapter, targetModules: [target] }))
        expect(refused.message).toMatch(`${target}: no linear map of the model's layers is called so`)
      }
    })
  )
})

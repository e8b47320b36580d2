/** Qwen3.5's configurations and checkpoints: as released, as a text model by itself, and what is refused. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { openTensors } from "../../src/formats/tensorFiles.ts"
import { loadParameters, openModel, writeModel } from "../../src/models/artifact.ts"
import { countParameters, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig, positionsOf } from "../../src/models/families.ts"
import { initialValues, type ParameterSpec } from "../../src/models/parameters.ts"
import { filesIn, tinySizes, writeCheckpoint } from "../support/hybridCheckpoint.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const read = (json: unknown): ModelConfig => Effect.runSync(decodeModelConfig(json))
const problem = (json: unknown): string =>
  Effect.runSync(
    Effect.match(decodeModelConfig(json), { onFailure: ({ message }) => message, onSuccess: () => "accepted" })
  )

/** The text model of Qwen3.6-27B, as its `config.json` has it. */
const text27B = {
  model_type: "qwen3_5_text",
  attention_bias: false,
  attention_dropout: 0,
  attn_output_gate: true,
  eos_token_id: 248_044,
  full_attention_interval: 4,
  head_dim: 256,
  hidden_act: "silu",
  hidden_size: 5120,
  initializer_range: 0.02,
  intermediate_size: 17_408,
  layer_types: Array.from({ length: 64 }, (_, i) => ((i + 1) % 4 === 0 ? "full_attention" : "linear_attention")),
  linear_conv_kernel_dim: 4,
  linear_key_head_dim: 128,
  linear_num_key_heads: 16,
  linear_num_value_heads: 48,
  linear_value_head_dim: 128,
  mamba_ssm_dtype: "float32",
  max_position_embeddings: 262_144,
  mtp_num_hidden_layers: 1,
  num_attention_heads: 24,
  num_hidden_layers: 64,
  num_key_value_heads: 4,
  rms_norm_eps: 1e-6,
  rope_parameters: {
    mrope_interleaved: true,
    mrope_section: [11, 11, 10],
    partial_rotary_factor: 0.25,
    rope_theta: 10_000_000,
    rope_type: "default"
  },
  tie_word_embeddings: false,
  vocab_size: 248_320
}
const whole27B = {
  architectures: ["Qwen3_5ForConditionalGeneration"],
  image_token_id: 248_056,
  model_type: "qwen3_5",
  text_config: text27B,
  tie_word_embeddings: false,
  vision_config: { depth: 27, hidden_size: 1152, model_type: "qwen3_5_vision" }
}

describe("the configuration of Qwen3.5", () => {
  it("counts the parameters of the 27B text model, nested or not", () => {
    expect(countParameters(read(whole27B))).toBe(26_895_998_464)
    const { family: _, ...nested } = read(whole27B)
    expect(read(text27B)).toEqual({ family: "qwen3_5_text", ...nested })
    const { layer_types: _types, ...byInterval } = text27B
    expect(read(byInterval)).toEqual(read(text27B))
    expect([positionsOf(whole27B), positionsOf(text27B)]).toEqual([262_144, 262_144])
  })

  it("rotates the first quarter of a head, wherever the file says so", () => {
    const { layers } = read(text27B)
    expect(layers[3]!.mixer).toMatchObject({ rotaryDim: 64, ropeTheta: 1e7, outputGate: true, headDim: 256 })
    const older = { ...text27B, rope_parameters: undefined, rope_theta: 5e5, partial_rotary_factor: 0.5 }
    expect(read(JSON.parse(JSON.stringify(older))).layers[3]!.mixer).toMatchObject({ rotaryDim: 128, ropeTheta: 5e5 })
  })

  it("is written so that it is read again, nested or not, whatever the sizes", () => {
    const size = (most: number) => fc.integer({ min: 1, max: most })
    fc.assert(
      fc.property(
        fc.record({
          headDim: size(300),
          pairs: fc.nat(),
          groups: size(3),
          keyHeads: size(3),
          kernel: fc.integer({ min: 2, max: 5 }),
          types: fc.shuffledSubarray(["linear_attention", "full_attention", "linear_attention", "full_attention"], {
            minLength: 3
          }),
          bias: fc.boolean(),
          tied: fc.boolean(),
          bidirectional: fc.constantFrom(undefined, "attn_only", "two_scan", "none"),
          block: fc.constantFrom(undefined, 4),
          nested: fc.boolean()
        }),
        ({ bias, bidirectional, block, groups, headDim, kernel, keyHeads, nested, pairs, tied, types }) => {
          const half = Math.max(1, Math.floor(headDim / 2))
          const turned = 2 * (1 + (pairs % half))
          fc.pre(turned <= headDim)
          const fields = {
            ...text27B,
            head_dim: headDim,
            num_attention_heads: 2 * groups,
            num_key_value_heads: groups,
            rope_parameters: { rope_type: "default", partial_rotary_factor: Math.min(1, (turned + 0.5) / headDim) },
            linear_num_key_heads: keyHeads,
            linear_num_value_heads: keyHeads * groups,
            linear_conv_kernel_dim: kernel,
            layer_types: types,
            num_hidden_layers: types.length,
            attention_bias: bias,
            tie_word_embeddings: tied
          }
          const own = {
            ...(bidirectional === undefined ? {} : { hybrid_bidirectional: bidirectional }),
            ...(block === undefined ? {} : { attention_block_size: block })
          }
          const config = read(
            nested
              ? { model_type: "qwen3_5", text_config: fields, tie_word_embeddings: tied, ...own }
              : { ...fields, ...own }
          )
          expect(config.layers.find(({ mixer }) => mixer.kind === "attention")!.mixer).toMatchObject({
            rotaryDim: turned
          })
          expect(config.hybridBidirectional).toBe(bidirectional)
          // What stands beside the text model's fields counts, where it says anything.
          const inner = { ...fields, hybrid_bidirectional: "two_scan" }
          expect(read({ model_type: "qwen3_5", text_config: inner, ...own }).hybridBidirectional).toBe(
            bidirectional ?? "two_scan"
          )
          expect(read(JSON.parse(JSON.stringify(encodeModelConfig(config))))).toEqual(config)
        }
      ),
      { numRuns: 100, seed: 1 }
    )
  })

  it("is refused, by the name of the field, where something would be computed otherwise", () => {
    const changed = (changes: object): string => problem({ ...text27B, ...changes })
    expect(changed({ attn_output_gate: false })).toBe("config.json: attn_output_gate is false; supported is true")
    expect(changed({ hidden_act: "gelu" })).toMatch(/hidden_act is "gelu"/)
    expect(changed({ rope_scaling: { type: "yarn" } })).toMatch(/rope_scaling/)
    expect(changed({ rope_parameters: { rope_type: "yarn" } })).toMatch(/rope_parameters\.rope_type is "yarn"/)
    expect(changed({ layer_types: ["full_attention"] })).toMatch(/layer_types .* num_hidden_layers, 64/)
    expect(changed({ layer_types: Array(64).fill("full_attention") })).toMatch(/layer_types .* layers of both kinds/)
    expect(changed({ layer_types: Array(64).fill("sliding_attention") })).toMatch(/layer_types/)
    expect(changed({ num_key_value_heads: 5 })).toMatch(/a divisor of the 24 attention heads/)
    expect(changed({ linear_num_value_heads: 40 })).toMatch(/a multiple of the 16 key heads/)
    expect(changed({ linear_conv_kernel_dim: 1 })).toMatch(/linear_conv_kernel_dim is 1/)
    expect(changed({ linear_conv_kernel_dim: 1e9 })).toMatch(/linear_conv_kernel_dim/)
    expect(changed({ partial_rotary_factor: 0.01, rope_parameters: {} })).toBe("accepted")
    expect(changed({ partial_rotary_factor: 0.005, rope_parameters: {} })).toMatch(/partial_rotary_factor/)
    expect(changed({ hybrid_bidirectional: "both" })).toMatch(/hybrid_bidirectional/)
    expect(problem({ ...whole27B, text_config: undefined })).toMatch(/text_config/)
    // A relative with another layout of weights.
    expect(changed({ model_type: "qwen3_next" })).toBe(
      'config.json: model_type is "qwen3_next"; supported is "qwen2", "qwen3", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"'
    )
  })
})

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const tiny = { ...text27B, ...tinySizes, intermediate_size: 12 }
const nestedTiny = { ...whole27B, text_config: tiny }
const values = (spec: ParameterSpec) => initialValues(spec, 3)

/** A checkpoint of these names and more, in shards; returns its files. */
const write = (folder: string, json: object, names: (ours: string) => string, more: ReadonlyArray<string> = []) =>
  writeCheckpoint(join(directory.path, folder), json, [
    ...parameterSpecs(read(json)).map(spec => ({ name: names(spec.name), shape: spec.shape, values: values(spec) })),
    ...more.map(name => ({ name, shape: [1], values: Float32Array.of(7) }))
  ])
const prefixed = (name: string): string => name.replace(/^model\./, "model.language_model.")
const beside = ["model.visual.blocks.0.attn.qkv.weight", "mtp.fc.weight", "mtp.layers.0.self_attn.q_proj.weight"]

describe("a checkpoint of Qwen3.5", () => {
  it.effect("is read as released and as text model, from shards, without what is for images and further tokens", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        for (const [i, [json, names, more]] of (
          [
            [nestedTiny, prefixed, beside],
            [nestedTiny, (name: string) => name, []],
            [tiny, prefixed, beside],
            [tiny, (name: string) => name, []]
          ] as const
        ).entries()) {
          const files = yield* write(`model ${i}`, json, names, more)
          expect(files.length).toBeGreaterThan(4)
          const model = yield* openModel(files)
          const views = yield* loadParameters(engine, model)
          for (const spec of parameterSpecs(model.config))
            expect(yield* engine.download(views[spec.name]!), spec.name).toEqual(values(spec))
        }
      })
    )
  )

  it.effect("is refused by name where something is unknown, missing, or there twice", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const messageOf = (folder: string, names: (ours: string) => string, more: ReadonlyArray<string>) =>
          Effect.gen(function* () {
            const model = yield* openModel(yield* write(folder, nestedTiny, names, more))
            yield* loadParameters(engine, model)
          }).pipe(
            Effect.flip,
            Effect.map(({ message }) => message)
          )
        expect(yield* messageOf("unknown", prefixed, ["model.audio.weight"])).toMatch(/unknown: model\.audio\.weight/)
        expect(yield* messageOf("twice", prefixed, ["model.norm.weight"])).toMatch(
          /model\.norm\.weight twice, by that name and as model\.language_model\.norm\.weight/
        )
        const renamed = (name: string): string => prefixed(name).replace("A_log", "A")
        expect(yield* messageOf("missing", renamed, [])).toMatch(
          /missing: model\.layers\.0\.linear_attn\.A_log; unknown: model\.layers\.0\.linear_attn\.A$/
        )
      })
    )
  )

  it.effect("is written under the names of the layout that it has", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        for (const [folder, json, name] of [
          ["whole", nestedTiny, "model.language_model.layers.0.linear_attn.A_log"],
          ["text", tiny, "model.layers.0.linear_attn.A_log"]
        ] as const) {
          const model = yield* openModel(yield* write(folder, json, prefixed, beside))
          const specs = parameterSpecs(model.config)
          const views = yield* loadParameters(engine, model)
          const path = join(directory.path, `${folder}, written`)
          mkdirSync(path)
          const output = {
            reserve: (file: string) => Effect.succeed(join(path, file)),
            write: (file: string, content: unknown) =>
              Effect.sync(() => writeFileSync(join(path, file), String(content)))
          }
          yield* writeModel(output as unknown as Parameters<typeof writeModel>[0], {
            engine,
            parameters: { specs, views },
            config: encodeModelConfig(model.config),
            tokenizer: { json: "{}", config: undefined },
            format: "F32"
          })
          const written = yield* openTensors(filesIn(path))
          expect([...written.keys()]).toContain(name)
          expect(written.size).toBe(specs.length)
        }
      })
    )
  )
})

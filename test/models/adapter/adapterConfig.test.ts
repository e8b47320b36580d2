/** `adapter_config.json`: what PEFT writes is read, and what is not computed here is refused by the names of its fields. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { decodeAdapterConfig, encodeAdapterConfig } from "../../../src/models/adapter/adapterConfig.ts"
import {
  decodeDiffusionConfig,
  type DiffusionConfig,
  encodeDiffusionConfig
} from "../../../src/models/adapter/diffusionConfig.ts"

/** As PEFT 0.21.2 writes it. */
const written = {
  alora_invocation_tokens: null,
  alpha_pattern: {},
  arrow_config: null,
  auto_mapping: null,
  base_model_name_or_path: "Qwen/Qwen3-0.6B",
  bias: "none",
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  inference_mode: true,
  init_lora_weights: true,
  kasa_config: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_alpha: 4,
  lora_bias: false,
  lora_dropout: 0.05,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  modules_to_save: null,
  monteclora_config: null,
  peft_type: "LORA",
  peft_version: "0.21.2",
  qalora_group_size: 16,
  r: 2,
  rank_pattern: { "layers.0.mlp.down_proj": 3 },
  revision: null,
  target_modules: ["q_proj", "down_proj"],
  target_parameters: null,
  task_type: "CAUSAL_LM",
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: true,
  use_qalora: false,
  use_rslora: false,
  velora_config: null
}
const decode = (value: unknown) => decodeAdapterConfig(JSON.stringify(value))

describe("adapter_config.json", () => {
  it.effect("of PEFT is read", () =>
    Effect.gen(function* () {
      expect(yield* decode(written)).toEqual({
        adapter: {
          targetModules: ["q_proj", "down_proj"],
          r: 2,
          alpha: 4,
          rankStabilised: false,
          dropout: 0.05,
          dora: true,
          rankPattern: { "layers.0.mlp.down_proj": 3 },
          alphaPattern: {},
          trainableTokens: []
        },
        base: { nameOrPath: "Qwen/Qwen3-0.6B", revision: null }
      })
    })
  )

  it.effect("of an older PEFT, which has fewer fields, is read", () =>
    Effect.gen(function* () {
      const { adapter } = yield* decode({ peft_type: "LORA", r: 8, lora_alpha: 16, target_modules: "all-linear" })
      expect(adapter).toEqual({
        targetModules: "auto",
        r: 8,
        alpha: 16,
        rankStabilised: false,
        dropout: 0,
        dora: false,
        rankPattern: {},
        alphaPattern: {},
        trainableTokens: []
      })
    })
  )

  const refused: ReadonlyArray<readonly [field: string, value: unknown]> = [
    ["peft_type", "IA3"],
    ["task_type", "SEQ_CLS"],
    ["bias", "all"],
    ["lora_bias", true],
    ["fan_in_fan_out", true],
    ["init_lora_weights", "pissa"],
    ["init_lora_weights", "loftq"],
    ["loftq_config", { loftq_bits: 4 }],
    ["modules_to_save", ["embed_tokens"]],
    ["exclude_modules", ["q_proj"]],
    ["layers_to_transform", [0]],
    ["layer_replication", [[0, 1]]],
    ["target_parameters", ["mlp.experts.gate_up_proj"]],
    ["trainable_token_indices", { lm_head: [7] }],
    ["trainable_token_indices", [7, 7]],
    ["ensure_weight_tying", true],
    ["use_qalora", true],
    ["alora_invocation_tokens", [1]],
    ["target_modules", "model\\..*"],
    ["target_modules", []],
    ["target_modules", null],
    ["r", 0],
    ["r", 1.5],
    ["lora_alpha", 0],
    ["lora_alpha", "8"],
    ["lora_dropout", 1],
    ["use_rslora", "true"],
    ["rank_pattern", { q_proj: 0 }],
    ["rank_pattern", { "q_(proj": 2 }],
    ["alpha_pattern", { ["x".repeat(300)]: 2 }],
    ["lora_magic", 1]
  ]
  it.effect.each(refused)("with %s: %o is refused by that name", ([field, value]) =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(decode({ ...written, [field]: value }))
      expect(message).toMatch(/^adapter_config.json: /)
      expect(message).toContain(`["${field}"]`)
      expect(message.length).toBeLessThan(700)
    })
  )

  it.effect("says all that is wrong at once, and that a text is no JSON", () =>
    Effect.gen(function* () {
      const { r: _, ...without } = written
      const { message } = yield* Effect.flip(decode({ ...without, bias: "all", lora_magic: 1 }))
      for (const field of ["r", "bias", "lora_magic"]) expect(message).toContain(`["${field}"]`)
      expect(message).toContain('"all" is not supported; supported is "none"')
      expect((yield* Effect.flip(decodeAdapterConfig("{"))).message).toMatch(/^adapter_config.json: /)
      expect((yield* Effect.flip(decodeAdapterConfig("[]"))).message).toMatch(/^adapter_config.json: /)
    })
  )

  it.effect("is read as it was written", () =>
    Effect.promise(() => {
      const names = fc.stringMatching(/^[a-z_]{1,12}(\.[a-z_0-9]{1,8})?$/)
      const patterns = fc.dictionary(names, fc.integer({ min: 1, max: 64 }), { noNullPrototype: true })
      const adapter = fc.record({
        targetModules: fc.array(names, { minLength: 1, maxLength: 5 }),
        r: fc.integer({ min: 1, max: 256 }),
        alpha: fc.double({ min: 0.01, max: 512, noNaN: true }),
        rankStabilised: fc.boolean(),
        dropout: fc.double({ min: 0, max: 0.9, noNaN: true }),
        dora: fc.boolean(),
        rankPattern: patterns,
        alphaPattern: patterns,
        trainableTokens: fc.uniqueArray(fc.nat())
      })
      const base = fc.record({ nameOrPath: fc.option(fc.string()), revision: fc.option(fc.string()) })
      return fc.assert(
        fc.asyncProperty(adapter, base, async (settings, of) => {
          const text = encodeAdapterConfig(settings, settings.targetModules, of)
          const back = await Effect.runPromise(decodeAdapterConfig(text))
          // JSON has no negative zero.
          expect(JSON.stringify(back)).toBe(JSON.stringify({ adapter: settings, base: of }))
        }),
        { numRuns: 100 }
      )
    })
  )
})

describe("diffusion_config.json", () => {
  const bidirectional = { mask_token: "<M>", mask_token_id: 7, token_shift: true, attention: "bidirectional" } as const
  const blocks = { ...bidirectional, attention: "block_causal", attention_block_size: 32 } as const

  const hybrids = [bidirectional, blocks].map(config => ({ ...config, hybrid_bidirectional: "two_scan" as const }))

  it.effect.each([bidirectional, blocks, ...hybrids] as ReadonlyArray<DiffusionConfig>)(
    "is read as it was written: %o",
    config => Effect.map(decodeDiffusionConfig(encodeDiffusionConfig(config)), back => expect(back).toEqual(config))
  )

  it.effect.each([
    { ...bidirectional, attention: "causal" },
    { ...bidirectional, attention_block_size: 4 },
    { ...blocks, attention_block_size: 0 },
    { ...bidirectional, mask_token_id: -1 },
    { ...bidirectional, token_shift: 1 },
    { ...bidirectional, hybrid_bidirectional: "both" },
    { ...bidirectional, more: 1 },
    {}
  ])("is refused: %o", config =>
    Effect.map(Effect.flip(decodeDiffusionConfig(JSON.stringify(config))), ({ message }) =>
      expect(message).toMatch(/^diffusion_config.json: /)
    )
  )
})

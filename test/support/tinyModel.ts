/** A tiny model with random weights and the shipped tokenizer, in Hugging Face layout. */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { saveTensors } from "../../src/formats/tensorFiles.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../../src/models/families.ts"
import { colaFormat } from "../../src/methods/cola/networks.ts"
import type { LatentFormat } from "../../src/methods/shared/latents/latentFormat.ts"
import { ldlmFormat } from "../../src/methods/ldlm/networks.ts"
import { vfmFormat } from "../../src/methods/vfm/networks.ts"
import { initialValues } from "../../src/models/parameters.ts"
import { shippedDirectory } from "./tokenizers.ts"

/** Fields of `config.json` by other names, for models whose layers are alike. */
const fieldNames = {
  family: "model_type",
  hiddenSize: "hidden_size",
  intermediateSize: "intermediate_size",
  layers: "num_hidden_layers",
  heads: "num_attention_heads",
  keyValueHeads: "num_key_value_heads",
  headDim: "head_dim",
  vocabSize: "vocab_size",
  ropeTheta: "rope_theta",
  tiedHead: "tie_word_embeddings",
  attentionBias: "attention_bias",
  initializerRange: "initializer_range",
  attentionBlockSize: "attention_block_size"
} as const
export type ModelSizes = { readonly [field in keyof typeof fieldNames]?: number | string | boolean }

/** A configuration that computes in no time. */
export const modelConfig = (changes: ModelSizes = {}): ModelConfig => {
  const sizes: ModelSizes = {
    family: "qwen3",
    hiddenSize: 8,
    intermediateSize: 12,
    layers: 2,
    heads: 2,
    keyValueHeads: 1,
    headDim: 4,
    vocabSize: 11,
    ropeTheta: 100,
    tiedHead: true,
    attentionBias: changes.family === "qwen2",
    initializerRange: 0.3,
    ...changes
  }
  const fields = Object.entries(sizes).map(([name, value]) => [fieldNames[name as keyof ModelSizes], value])
  return Effect.runSync(decodeModelConfig(Object.fromEntries(fields)))
}

/** One of a hybrid model: three Gated DeltaNets and attention. Changes are fields of `config.json`. */
export const hybridConfig = (changes: { readonly [field: string]: unknown } = {}): ModelConfig =>
  Effect.runSync(
    decodeModelConfig({
      model_type: "qwen3_5_text",
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 4,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 8,
      vocab_size: 11,
      rope_parameters: { rope_type: "default", rope_theta: 100, partial_rotary_factor: 0.5 },
      linear_num_key_heads: 1,
      linear_num_value_heads: 2,
      linear_key_head_dim: 4,
      linear_value_head_dim: 3,
      linear_conv_kernel_dim: 3,
      tie_word_embeddings: true,
      initializer_range: 0.3,
      ...changes
    })
  )

/** The same with experts. */
export const expertsConfig = (changes: { readonly [field: string]: unknown } = {}): ModelConfig =>
  hybridConfig({
    model_type: "qwen3_5_moe_text",
    num_experts: 5,
    num_experts_per_tok: 2,
    moe_intermediate_size: 6,
    shared_expert_intermediate_size: 7,
    ...changes
  })

export const tinyConfig = modelConfig({ vocabSize: 2048, ropeTheta: 10_000 })
const seed = 5

/** What may stand beside it. */
interface TinyLatent {
  readonly method: keyof typeof latentFormats
  readonly architecture: object
}
export const tinyLatent: TinyLatent = {
  method: "vfm",
  architecture: { adapterLayers: 1, adapterHeads: 2, maxSeqLen: 64, noiseInput: "added", tokenShift: true }
}

/** How each method describes what stands beside a language model. */
export const latentFormats = {
  ldlm: ldlmFormat,
  vfm: vfmFormat,
  cola: colaFormat
} as const satisfies { readonly [method: string]: LatentFormat }

/** Drawn once a model: equations in plain loops ask for a weight again for each token. */
const drawn = new WeakMap<ModelConfig, Map<string, Float32Array>>()

/** Value of a parameter of the model that `writeTinyModel` writes. */
export const tinyWeight = (name: string, config: ModelConfig = tinyConfig): Float32Array => {
  const values = drawn.get(config) ?? new Map<string, Float32Array>()
  drawn.set(config, values)
  let value = values.get(name)
  if (value === undefined) {
    value = initialValues(
      parameterSpecs(config).find(spec => spec.name === name)!,
      seed
    )
    values.set(name, value)
  }
  return value
}

/** With a latent model beside it, the language model is the same. */
export const writeTinyModel = async (
  directory: string,
  config: ModelConfig = tinyConfig,
  latent?: TinyLatent
): Promise<void> => {
  mkdirSync(directory, { recursive: true })
  const format: LatentFormat | undefined = latent && latentFormats[latent.method]
  const beside = format?.encode(latent) ?? {}
  const fields = { ...encodeModelConfig(config), ...beside, max_position_embeddings: 64 }
  writeFileSync(join(directory, "config.json"), JSON.stringify(fields))
  for (const file of ["tokenizer.json", "tokenizer_config.json"])
    copyFileSync(join(shippedDirectory, file), join(directory, file))
  await Effect.runPromise(
    saveTensors(
      name => Effect.succeed(join(directory, name)),
      [...parameterSpecs(config), ...(format?.specs(latent, config) ?? [])].map(spec => ({
        name: spec.name,
        shape: spec.shape,
        floats: Effect.sync(() => initialValues(spec, seed))
      })),
      { format: "F32" }
    )
  )
}

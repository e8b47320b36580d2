/** Models of transformers' Qwen3.5, dense and with experts, in files, and the same here. */
import { mkdtempSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, ourTensors } from "../../src/models/families.ts"
import { allocateParameters, type ParameterBuffers } from "../../src/models/parameters.ts"
import { loadWeights } from "../../src/models/weights.ts"
import type { MakeEngine } from "../engines/runOnce.ts"
import { python } from "./python.ts"
import { tensorsIn } from "./tensors.ts"

const vocabSize = 101
const text = {
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: vocabSize,
  linear_num_key_heads: 2,
  linear_num_value_heads: 4,
  linear_key_head_dim: 8,
  linear_value_head_dim: 12,
  tie_word_embeddings: false,
  // Random weights amplify rounding, most where the output of a recurrence is next to nothing: with 0.2 and 1e-6 transformers' own logits are 0.003 from those in float64.
  initializer_range: 0.06,
  rms_norm_eps: 1e-4
}
const withExperts = {
  ...text,
  num_experts: 6,
  num_experts_per_tok: 3,
  moe_intermediate_size: 20,
  shared_expert_intermediate_size: 28
}
export interface Tested {
  readonly config: object
  readonly whole: boolean
  readonly experts?: boolean
}
export const configs: { readonly [name: string]: Tested } = {
  "text model": { config: text, whole: false },
  "text model, tied, of other sizes": {
    config: {
      ...text,
      tie_word_embeddings: true,
      num_hidden_layers: 3,
      layer_types: ["full_attention", "linear_attention", "linear_attention"],
      rope_parameters: { rope_type: "default", rope_theta: 500, partial_rotary_factor: 0.5 },
      linear_num_value_heads: 2,
      linear_conv_kernel_dim: 3,
      attention_bias: true,
      rms_norm_eps: 1e-5
    },
    whole: false
  },
  "model of images and text": { config: text, whole: true },
  "text model with experts": { config: withExperts, whole: false, experts: true },
  "model of images and text with experts, one of many for a token": {
    config: {
      ...withExperts,
      num_experts: 40,
      num_experts_per_tok: 1,
      num_hidden_layers: 3,
      full_attention_interval: 3
    },
    whole: true,
    experts: true
  }
}

/** Rows of less than a chunk, of one, and of several. */
const lengths = [24, 64, 150]
export const rows = lengths.map((length, r) =>
  Array.from({ length }, (_token, i) => (r * 37 + i * i * 5 + i) % vocabSize)
)

export interface Loaded {
  readonly engine: Engine
  readonly config: ModelConfig
  readonly parameters: ParameterBuffers
}

export const load = (path: string, make: MakeEngine = () => makeOrt({ threads: 2 })) =>
  Effect.gen(function* () {
    const engine = yield* make()
    const config = yield* decodeModelConfig(JSON.parse(readFileSync(join(path, "config.json"), "utf8")))
    const parameters = yield* allocateParameters(engine, parameterSpecs(config))
    const tensors = yield* ourTensors(yield* tensorsIn(path), config)
    yield* loadWeights(engine, parameters, tensors, parameterAliases(config))
    return { engine, config, parameters } satisfies Loaded
  })

/** A directory with a model of theirs in `f32`, in `bf16` in shards, and what they make of them. */
export const theirs = ({ config, experts = false, whole }: Tested) => {
  const directory = mkdtempSync(join(tmpdir(), "interop-qwen35-"))
  const at = (name: string): string => join(directory, name)
  const create = { action: "create", config, whole, experts, seed: 3 }
  python("qwen35.py", [
    { ...create, directory: at("f32"), dtype: "float32", maxShardSize: "5GB" },
    { ...create, directory: at("bf16"), dtype: "bfloat16", maxShardSize: "20KB" },
    {
      action: "run",
      directory: at("f32"),
      rows,
      output: at("causal.safetensors"),
      generate: newTokens,
      auxiliary: experts
    },
    { action: "run", directory: at("f32"), rows, output: at("bidirectional.safetensors"), bidirectional: true },
    { action: "run", directory: at("bf16"), rows, output: at("bf16.safetensors") }
  ])
  return at
}
export const newTokens = 12

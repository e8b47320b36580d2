/** Models of real sizes for measurements, with generated weights. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { saveTensors } from "../src/formats/tensorFiles.ts"
import { type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../src/models/families.ts"
import { normals, randomKey } from "../src/tensor/random.ts"
import { elements } from "../src/tensor/Tensor.ts"

/** Fields that models of Qwen3 share. */
export const qwen3 = {
  model_type: "qwen3",
  num_hidden_layers: 28,
  num_attention_heads: 16,
  num_key_value_heads: 8,
  head_dim: 128,
  vocab_size: 151_936,
  rope_theta: 1e6,
  tie_word_embeddings: true
} as const

/** From fields of `config.json`. */
export const modelOf = (fields: object): ModelConfig => Effect.runSync(decodeModelConfig(fields))

export const models: { readonly [name: string]: ModelConfig } = {
  "Qwen3-0.6B": modelOf({ ...qwen3, hidden_size: 1024, intermediate_size: 3072 }),
  "Qwen3-1.7B": modelOf({ ...qwen3, hidden_size: 2048, intermediate_size: 6144 })
}

/** Qwen3.6-27B, the text model. */
export const qwen36 = modelOf({
  model_type: "qwen3_5_text",
  hidden_size: 5120,
  intermediate_size: 17_408,
  num_hidden_layers: 64,
  num_attention_heads: 24,
  num_key_value_heads: 4,
  head_dim: 256,
  linear_num_key_heads: 16,
  linear_num_value_heads: 48,
  vocab_size: 248_320,
  rope_parameters: { rope_type: "default", rope_theta: 1e7, partial_rotary_factor: 0.25 }
})

/** Qwen3.5-35B-A3B, the text model. */
export const qwen35Moe = modelOf({
  model_type: "qwen3_5_moe_text",
  hidden_size: 2048,
  num_hidden_layers: 40,
  num_attention_heads: 16,
  num_key_value_heads: 2,
  vocab_size: 248_320,
  rope_parameters: { rope_type: "default", rope_theta: 1e7, partial_rotary_factor: 0.25 }
})

/** Writes a model in Hugging Face layout, bfloat16. */
export const writeGenerated = (config: ModelConfig, directory: string) => {
  // Numbers repeat after a million: enough for processors, which do not look at them.
  const block = normals(randomKey(1, "bench/forward"), 2 ** 20).map(x => x * config.initializerRange)
  writeFileSync(join(directory, "config.json"), JSON.stringify(encodeModelConfig(config)))
  return saveTensors(
    name => Effect.succeed(join(directory, name)),
    parameterSpecs(config).map(({ initial, name, shape }) => ({
      name,
      shape,
      floats: Effect.sync(() => {
        const values = new Float32Array(elements(shape))
        if (initial === "ones") return values.fill(1)
        for (let at = 0; at < values.length; at += block.length)
          values.set(block.subarray(0, Math.min(block.length, values.length - at)), at)
        return values
      })
    })),
    { format: "BF16", maxFileBytes: 1e9 }
  )
}

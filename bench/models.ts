/** Models of real sizes for measurements, with generated weights. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { nf4Group, quantizationConfig } from "../src/formats/bitsandbytes.ts"
import { encodeFloats } from "../src/formats/floats.ts"
import { type Saved, saveTensors } from "../src/formats/tensorFiles.ts"
import { type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../src/models/families.ts"
import { initialValues, nf4Layout } from "../src/models/parameters.ts"
import { nestedBlockSize, nf4BlockSize, type Nf4Content, type Nf4Layout } from "../src/tensor/nf4.ts"
import { normals, randomKey, uniforms } from "../src/tensor/random.ts"
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

/** Its linear maps of layers in NF4 with double quantisation. */
export const inNf4 = (config: ModelConfig): ModelConfig => ({
  ...config,
  linear: { nf4: { blockSize: nf4BlockSize, doubleQuant: true, modules: "auto" } }
})

/** Numbers repeat after so many: enough for processors, which do not look at them. */
const repeatAfter = 2 ** 20

/** A piece over and over until there are so many bytes. */
const repeated = (piece: Uint8Array, size: number): ReadonlyArray<Effect.Effect<Uint8Array>> =>
  Array.from({ length: Math.ceil(size / piece.length) }, (_, i) =>
    Effect.succeed(piece.subarray(0, Math.min(piece.length, size - i * piece.length)))
  )

/** Any bytes are codes of NF4, whose root mean square is about half. The magnitudes are such that the numbers deviate as fresh ones do, and differ by a quarter at most. */
const nf4Numbers = (n: number, { blockSize }: Nf4Layout, deviation: number): Nf4Content => {
  const blocks = Math.ceil(n / blockSize)
  const offset = Math.fround(2 * deviation)
  const bytes = (size: number, seed: number): Uint8Array => {
    const piece = Uint8Array.from(uniforms(randomKey(seed, "bench/nf4"), Math.min(size, repeatAfter)), x => x * 256)
    const all = new Uint8Array(size)
    for (let at = 0; at < size; at += piece.length) all.set(piece.subarray(0, size - at), at)
    return all
  }
  return {
    packed: bytes(Math.ceil(n / 2), 1),
    absmax: {
      indices: bytes(blocks, 2),
      nestedAbsmax: new Float32Array(Math.ceil(blocks / nestedBlockSize)).fill(offset / 4),
      offset
    }
  }
}

/**
 * Writes a model in Hugging Face layout, bfloat16; linear maps that are to be in NF4 (with double quantisation) so, with codes and magnitudes as they come: nothing is quantised. Those of one shape
 * have the same bytes in every layer.
 */
export const writeGenerated = (config: ModelConfig, directory: string) => {
  const nf4 = config.linear?.nf4
  const quantised = nf4 === undefined ? {} : { quantization_config: quantizationConfig(nf4, "BF16", ["lm_head"]) }
  writeFileSync(join(directory, "config.json"), JSON.stringify({ ...encodeModelConfig(config), ...quantised }))
  const block = encodeFloats(
    "BF16",
    normals(randomKey(1, "bench/forward"), repeatAfter).map(x => x * config.initializerRange)
  )
  const packed = new Map<number, Nf4Content>()
  return saveTensors<never>(
    name => Effect.succeed(join(directory, name)),
    parameterSpecs(config).map((spec): Saved<never> => {
      const { initial, name, shape } = spec
      const n = elements(shape)
      const layout = nf4Layout(spec)
      if (layout !== undefined) {
        const content = packed.get(n) ?? nf4Numbers(n, layout, config.initializerRange)
        packed.set(n, content)
        return nf4Group(name, shape, { layout, format: "BF16" }, Effect.succeed(content))
      }
      if (typeof initial === "string" || !("normal" in initial))
        return { name, shape, floats: Effect.sync(() => initialValues(spec, 1)) }
      return { tensor: { name, dtype: "BF16", shape }, pieces: repeated(block, 2 * n) }
    }),
    { format: "BF16", maxFileBytes: 1e9 }
  )
}

/** Fields that small models of measurements share. */
export const base = { model_type: "qwen3", vocab_size: 2048, tie_word_embeddings: true }
/** From the size of the shipped teacher on. */
export const smallModels: { readonly [name: string]: ModelConfig } = {
  // The teacher of the embedded profile.
  "3.6M": modelOf({
    ...base,
    hidden_size: 192,
    intermediate_size: 512,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 48
  }),
  "29M": modelOf({
    ...base,
    hidden_size: 512,
    intermediate_size: 1536,
    num_hidden_layers: 9,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 64
  }),
  // As the first, of Gated DeltaNets and attention, three to one.
  "3.9M hybrid": modelOf({
    ...base,
    model_type: "qwen3_5_text",
    hidden_size: 192,
    intermediate_size: 512,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 48,
    linear_num_key_heads: 2,
    linear_num_value_heads: 4,
    linear_key_head_dim: 48,
    linear_value_head_dim: 48,
    rope_parameters: { rope_type: "default", partial_rotary_factor: 0.25 }
  })
}

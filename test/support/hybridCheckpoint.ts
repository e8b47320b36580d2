/** Small checkpoints of the hybrid families, in files as they are released. */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { saveTensors } from "../../src/formats/tensorFiles.ts"
import { shippedDirectory } from "./tokenizers.ts"

/** Fields of `config.json` that make a model of two layers, one of each kind, of any of these families small. */
export const tinySizes = {
  hidden_size: 8,
  num_hidden_layers: 2,
  layer_types: ["linear_attention", "full_attention"],
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  linear_num_key_heads: 1,
  linear_num_value_heads: 2,
  linear_key_head_dim: 4,
  linear_value_head_dim: 4,
  vocab_size: 2048,
  max_position_embeddings: 64
} as const

export interface NamedValues {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  readonly values: Float32Array<ArrayBuffer>
}

/** Writes a checkpoint into a new folder, in shards; returns its files. */
export const writeCheckpoint = (path: string, json: object, tensors: ReadonlyArray<NamedValues>) =>
  Effect.gen(function* () {
    mkdirSync(path)
    writeFileSync(join(path, "config.json"), JSON.stringify(json))
    copyFileSync(join(shippedDirectory, "tokenizer.json"), join(path, "tokenizer.json"))
    yield* saveTensors(
      name => Effect.succeed(join(path, name)),
      tensors.map(({ name, shape, values }) => ({ name, shape, floats: Effect.succeed(values) })),
      { format: "F32", maxFileBytes: 20_000 }
    )
    return filesIn(path)
  })

export const filesIn = (path: string) => readdirSync(path).map(name => ({ name, path: join(path, name) }))

/** The families of models by their `model_type`, and `config.json` read and written by them. */
import { Effect, Schema } from "effect"
import { shorten } from "../formats/safetensors.ts"
import type { StoredTensor, StoredTensors } from "../formats/tensorFiles.ts"
import { visible } from "../pipeline/Problem.ts"
import { countParameters, type ModelConfig, ModelConfigError, mostParameters, ownFields, refuse } from "./config.ts"
import { decodeFields, type Family } from "./families/family.ts"
import { qwen2 } from "./families/qwen2.ts"
import { qwen3 } from "./families/qwen3.ts"
import { qwen35, qwen35Text } from "./families/qwen35.ts"
import { qwen35Moe, qwen35MoeText } from "./families/qwen35Moe.ts"

/** Each a module of its own in families/. */
export const families: ReadonlyArray<Family> = [qwen2, qwen3, qwen35, qwen35Text, qwen35Moe, qwen35MoeText]

/** The fields of `config.json` that are read of a language model by itself. */
export const ModelConfigFields = Schema.Union([qwen2.fields, qwen3.fields, qwen35Text.fields, qwen35MoeText.fields])

/** Reads the content of `config.json`. Fields that do not change what is computed are passed over; those that would are refused. */
export const decodeModelConfig = Effect.fn("decodeModelConfig")(function* (
  json: unknown,
  known: ReadonlyArray<Family> = families
) {
  const { model_type: type } = yield* decodeFields(Schema.Struct({ model_type: Schema.String }), json)
  const family = known.find(({ name }) => name === type)
  if (family === undefined)
    return yield* refuse("model_type", type, known.map(({ name }) => JSON.stringify(name)).join(", "))
  const config = yield* family.read(json)
  const parameters = countParameters(config)
  if (parameters > mostParameters)
    return yield* refuse(
      "hidden_size, with the other sizes,",
      config.hiddenSize,
      `a model of at most ${mostParameters.toExponential()} parameters; these make ${parameters.toExponential(1)}`
    )
  return config
})

/** A checkpoint's tensors by our names, and in our stacks. Fails where two of them have the same. */
export const ourTensors = Effect.fn("ourTensors")(function* (
  tensors: StoredTensors,
  { family }: ModelConfig,
  known: ReadonlyArray<Family> = families
) {
  const { names, stacked = Effect.succeed } = known.find(({ name }) => name === family)!
  const found = new Map<string, StoredTensor>()
  for (const [stored, tensor] of tensors) {
    const name = names === undefined ? stored : names.ours(stored)
    if (name === undefined) continue
    if (found.has(name))
      return yield* new ModelConfigError({
        message: visible(`the weights hold ${shorten(name)} twice, by that name and as ${shorten(names!.stored(name))}`)
      })
    found.set(name, tensor)
  }
  return yield* stacked(found)
})

/** How many positions a model was made for, as its `config.json` says, also where the text model is nested in it. */
export const positionsOf = (json: { readonly [field: string]: unknown }): unknown => {
  const { max_position_embeddings: positions, text_config: text } = json
  return positions ?? (text as { readonly max_position_embeddings?: unknown } | undefined)?.max_position_embeddings
}

/** The content of `config.json`, as Hugging Face's classes write and read it, and what they pass over. */
export const encodeModelConfig = (
  config: ModelConfig,
  known: ReadonlyArray<Family> = families
): { readonly [field: string]: unknown } => {
  const { architecture, name, write } = known.find(({ name }) => name === config.family)!
  return { architectures: [architecture], model_type: name, ...write(config), ...ownFields(config) }
}

/** The families of models by their `model_type`, and `config.json` read and written by them. */
import { Effect, Schema } from "effect"
import { countParameters, type ModelConfig, mostParameters, ownFields, refuse } from "./config.ts"
import { decodeFields, type Family } from "./families/family.ts"
import { qwen2 } from "./families/qwen2.ts"
import { qwen3 } from "./families/qwen3.ts"

/** Each a module of its own in families/. */
export const families: ReadonlyArray<Family> = [qwen2, qwen3]

/** The fields of `config.json` that are read. */
export const ModelConfigFields = Schema.Union([qwen2.fields, qwen3.fields])

/** Reads the content of `config.json`. Fields that do not change what is computed are passed over; those that would are refused. */
export const decodeModelConfig = Effect.fn("decodeModelConfig")(function* (
  json: unknown,
  known: ReadonlyArray<Family> = families
) {
  const named = Schema.Struct({ model_type: Schema.Literals(known.map(({ name }) => name)) })
  const { model_type: family } = yield* decodeFields(named, json)
  const config = yield* known.find(({ name }) => name === family)!.read(json)
  const parameters = countParameters(config)
  if (parameters > mostParameters)
    return yield* refuse(
      "hidden_size, with the other sizes,",
      config.hiddenSize,
      `a model of at most ${mostParameters.toExponential()} parameters; these make ${parameters.toExponential(1)}`
    )
  return config
})

/** A checkpoint's tensors by our names. */
export const ourTensors = <Tensor>(
  tensors: ReadonlyMap<string, Tensor>,
  { family }: ModelConfig,
  known: ReadonlyArray<Family> = families
): ReadonlyMap<string, Tensor> => {
  const names = known.find(({ name }) => name === family)!.names
  if (names === undefined) return tensors
  const named = Array.from(tensors, ([stored, tensor]) => [names.ours(stored), tensor] as const)
  return new Map(named.filter((each): each is [string, Tensor] => each[0] !== undefined))
}

/** The content of `config.json`, as Hugging Face's classes write and read it, and what they pass over. */
export const encodeModelConfig = (
  config: ModelConfig,
  known: ReadonlyArray<Family> = families
): { readonly [field: string]: unknown } => {
  const { architecture, name, write } = known.find(({ name }) => name === config.family)!
  return { architectures: [architecture], model_type: name, ...write(config), ...ownFields(config) }
}

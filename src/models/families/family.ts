/** What a family of models is: the fields of its `config.json`, how they become layers, and what is written back. */
import { Effect, Schema } from "effect"
import type { StoredTensors } from "../../formats/tensorFiles.ts"
import { type ModelConfig, ModelConfigError } from "../config.ts"

export interface Family {
  /** `model_type`. */
  readonly name: string
  /** Hugging Face's class. */
  readonly architecture: string
  /** Reads the content of `config.json`; refuses by name what would be computed otherwise than written. */
  readonly read: (json: unknown) => Effect.Effect<ModelConfig, ModelConfigError>
  /** What checkpoints call tensors, where it is not as here; the first is undefined of what the model has no use for. */
  readonly names?: {
    readonly ours: (stored: string) => string | undefined
    readonly stored: (ours: string) => string
  }
  /** By our names, tensors of which checkpoints hold several where there is one here. */
  readonly stacked?: (tensors: StoredTensors) => Effect.Effect<StoredTensors, ModelConfigError>
  /** Fields from which `read` makes the same again, and those that others need to know. */
  readonly write: (config: ModelConfig) => { readonly [field: string]: unknown }
}

/** A family by the fields of `config.json` that decide what is computed, and what they mean together. */
export const makeFamily = <Fields extends Schema.Codec<unknown, unknown>>({
  read,
  ...family
}: Omit<Family, "read"> & {
  readonly fields: Fields
  readonly read: (fields: Fields["Type"]) => Effect.Effect<ModelConfig, ModelConfigError>
}): Family & { readonly fields: Fields } => ({
  ...family,
  read: json => Effect.flatMap(decodeFields(family.fields, json), read)
})

/** Fields of `config.json`; says which is wrong, and how. */
export const decodeFields = <A>(fields: Schema.Codec<A, unknown>, json: unknown): Effect.Effect<A, ModelConfigError> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(fields)(json),
    ({ message }) => new ModelConfigError({ message: `config.json: ${message}` })
  )

export const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 1, maximum }))
/** Sizes of several times the largest models that are published; more is damage, or an attempt to take all memory. */
export const Size = upTo(2 ** 20)
export const positiveUpTo = (maximum: number) =>
  Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(maximum))
export const Theta = positiveUpTo(1e12)
export const withDefault = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Several times what the deepest models have: parameters are listed layer by layer before a file is looked at. */
const mostLayers = 1000

/** Fields of every family here. */
export const commonFields = {
  hidden_size: Size,
  num_hidden_layers: upTo(mostLayers),
  vocab_size: upTo(2 ** 24),
  rms_norm_eps: withDefault(positiveUpTo(1), 1e-6),
  tie_word_embeddings: withDefault(Schema.Boolean, false),
  initializer_range: withDefault(positiveUpTo(100), 0.02),
  /** This program's own. */
  attention_block_size: Schema.optionalKey(upTo(2 ** 31 - 1))
} as const
type CommonFields = Schema.Struct<typeof commonFields>["Type"]

/** What they say of a model. */
export const common = (fields: CommonFields): Omit<ModelConfig, "family" | "layers"> => ({
  hiddenSize: fields.hidden_size,
  norm: { kind: "rms", epsilon: fields.rms_norm_eps },
  vocabSize: fields.vocab_size,
  tiedHead: fields.tie_word_embeddings,
  initializerRange: fields.initializer_range,
  ...(fields.attention_block_size === undefined ? {} : { attentionBlockSize: fields.attention_block_size })
})

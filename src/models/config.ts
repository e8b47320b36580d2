/** `config.json` of Hugging Face models of the Qwen2 and Qwen3 families: the fields that decide what is computed. */
import { Effect, Schema } from "effect"
import { describe } from "../pipeline/Problem.ts"
import { layerOf } from "./layers/layer.ts"
import { countElements, type ParameterSpec } from "./parameters.ts"

const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 1, maximum }))
/** Sizes of several times the largest models that are published; more is damage, or an attempt to take all memory. */
const Size = upTo(2 ** 20)
const positiveUpTo = (maximum: number) =>
  Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(maximum))
const Theta = positiveUpTo(1e12)
const withDefault = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Several times what the deepest models have: parameters are listed layer by layer before a file is looked at. */
const mostLayers = 1000

/** Ten times the largest models that are published. */
export const mostParameters = 2e13

/** The fields of `config.json` that are read. */
export const ModelConfigFields = Schema.Struct({
  model_type: Schema.Literals(["qwen2", "qwen3"]),
  hidden_size: Size,
  intermediate_size: Size,
  num_hidden_layers: upTo(mostLayers),
  num_attention_heads: Size,
  num_key_value_heads: Schema.optionalKey(Schema.NullOr(Size)),
  head_dim: Schema.optionalKey(Size),
  vocab_size: upTo(2 ** 24),
  rms_norm_eps: withDefault(positiveUpTo(1), 1e-6),
  rope_theta: Schema.optionalKey(Theta),
  rope_scaling: Schema.optionalKey(Schema.NullOr(Schema.Unknown)),
  /** The newer place of both. */
  rope_parameters: Schema.optionalKey(
    Schema.Struct({ rope_type: withDefault(Schema.String, "default"), rope_theta: Schema.optionalKey(Theta) })
  ),
  tie_word_embeddings: withDefault(Schema.Boolean, false),
  attention_bias: Schema.optionalKey(Schema.Boolean),
  hidden_act: withDefault(Schema.String, "silu"),
  use_sliding_window: withDefault(Schema.Boolean, false),
  /** The kind of each layer's attention, in newer files. */
  layer_types: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String))),
  initializer_range: withDefault(positiveUpTo(100), 0.02),
  /** This program's own. */
  attention_block_size: Schema.optionalKey(upTo(2 ** 31 - 1))
})

/** What a model is, with every default filled in. */
export interface ModelConfig {
  readonly family: "qwen2" | "qwen3"
  /** d. */
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly headDim: number
  readonly vocabSize: number
  readonly normEpsilon: number
  readonly ropeTheta: number
  readonly tiedHead: boolean
  /** Of the projections to queries, keys and values; in Qwen3 of the one back, too. */
  readonly attentionBias: boolean
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number
  /**
   * Tokens of a block, where a pass is not causal: a token sees those of its own block and of earlier ones, blocks counted from the beginning of its document. Left out: it
   * sees its whole document.
   */
  readonly attentionBlockSize?: number
}

/** Of both families where the file names no other. */
const defaultTheta = 10_000
/** Of Qwen3 where the file names no other; heads of Qwen2 share the hidden size. */
const defaultHeadDim = 128
/** The one kind of attention that layers have here. */
const fullAttention = "full_attention"

/** A configuration that this program cannot run as written. */
export class ModelConfigError extends Schema.TaggedError<ModelConfigError>()("ModelConfigError", {
  message: Schema.String
}) {}

const refuse = (field: string, value: unknown, supported: string): ModelConfigError =>
  new ModelConfigError({ message: `config.json: ${field} is ${describe(value)}; supported is ${supported}` })

/** Reads the content of `config.json`. Fields that do not change what is computed are passed over; those that would are refused. */
export const decodeModelConfig = Effect.fn("decodeModelConfig")(function* (json: unknown) {
  const fields = yield* Effect.mapError(
    Schema.decodeUnknownEffect(ModelConfigFields)(json),
    ({ message }) => new ModelConfigError({ message: `config.json: ${message}` })
  )
  return yield* modelConfigOf(fields)
})

/** What the fields mean together. */
export const modelConfigOf = Effect.fn("modelConfigOf")(function* (fields: typeof ModelConfigFields.Type) {
  const { rope_parameters: rope } = fields
  if (fields.rope_scaling !== undefined && fields.rope_scaling !== null)
    return yield* refuse("rope_scaling", fields.rope_scaling, "null")
  if (rope !== undefined && rope.rope_type !== "default")
    return yield* refuse("rope_parameters.rope_type", rope.rope_type, '"default"')
  if (fields.hidden_act !== "silu") return yield* refuse("hidden_act", fields.hidden_act, '"silu"')
  if (fields.use_sliding_window) return yield* refuse("use_sliding_window", true, "false")
  const otherKind = fields.layer_types?.findIndex(kind => kind !== fullAttention) ?? -1
  if (otherKind >= 0)
    return yield* refuse(`layer_types[${otherKind}]`, fields.layer_types![otherKind], JSON.stringify(fullAttention))
  // The family's published code has these biases whatever the file says.
  if (fields.model_type === "qwen2" && fields.attention_bias === false)
    return yield* refuse("attention_bias", false, "true in Qwen2")
  const heads = fields.num_attention_heads
  const keyValueHeads = fields.num_key_value_heads ?? heads
  const headDim = fields.head_dim ?? (fields.model_type === "qwen3" ? defaultHeadDim : fields.hidden_size / heads)
  if (heads % keyValueHeads !== 0)
    return yield* refuse("num_key_value_heads", keyValueHeads, `a divisor of the ${heads} attention heads`)
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) return yield* refuse("head_dim", headDim, "an even number")
  const config: ModelConfig = {
    family: fields.model_type,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads,
    keyValueHeads,
    headDim,
    vocabSize: fields.vocab_size,
    normEpsilon: fields.rms_norm_eps,
    ropeTheta: fields.rope_theta ?? rope?.rope_theta ?? defaultTheta,
    tiedHead: fields.tie_word_embeddings,
    attentionBias: fields.attention_bias ?? fields.model_type === "qwen2",
    initializerRange: fields.initializer_range,
    ...(fields.attention_block_size === undefined ? {} : { attentionBlockSize: fields.attention_block_size })
  }
  const parameters = countParameters(config)
  if (parameters > mostParameters)
    return yield* refuse(
      "hidden_size, with intermediate_size, num_hidden_layers, num_attention_heads, head_dim and vocab_size,",
      [config.hiddenSize, config.intermediateSize, config.layers, heads, headDim, config.vocabSize],
      `a model of at most ${mostParameters.toExponential()} parameters; these make ${parameters.toExponential(1)}`
    )
  return config
})

export const embeddingKey = "model.embed_tokens.weight"
export const headKey = "lm_head.weight"
export const finalNormKey = "model.norm.weight"

/** The parameters of a model, in the order of Hugging Face checkpoints. */
export const parameterSpecs = (config: ModelConfig): ReadonlyArray<ParameterSpec> => {
  const { hiddenSize, initializerRange, tiedHead, vocabSize } = config
  const byToken = (name: string): ParameterSpec => ({
    name,
    shape: [vocabSize, hiddenSize],
    initial: { normal: initializerRange }
  })
  return [
    byToken(embeddingKey),
    ...Array.from({ length: config.layers }, (_, layer) => layerOf(config, layer).specs).flat(),
    { name: finalNormKey, shape: [hiddenSize], initial: "ones" },
    ...(tiedHead ? [] : [byToken(headKey)])
  ]
}

export const countParameters = (config: ModelConfig): number => countElements(parameterSpecs(config))

/** Names under which checkpoints hold what the model has under another: a tied head is the embedding. */
export const parameterAliases = ({ tiedHead }: ModelConfig): { readonly [alias: string]: string } =>
  tiedHead ? { [headKey]: embeddingKey } : {}

/** The fields of `config.json` that Hugging Face's classes do not know. */
export const ownFields = ({ attentionBlockSize }: ModelConfig): { readonly [field: string]: unknown } =>
  attentionBlockSize === undefined ? {} : { attention_block_size: attentionBlockSize }

/** The content of `config.json`, as Hugging Face's classes write and read it, and what they pass over. */
export const encodeModelConfig = (config: ModelConfig): { readonly [field: string]: unknown } => ({
  architectures: [config.family === "qwen3" ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM"],
  model_type: config.family,
  hidden_size: config.hiddenSize,
  intermediate_size: config.intermediateSize,
  num_hidden_layers: config.layers,
  num_attention_heads: config.heads,
  num_key_value_heads: config.keyValueHeads,
  head_dim: config.headDim,
  vocab_size: config.vocabSize,
  rms_norm_eps: config.normEpsilon,
  rope_theta: config.ropeTheta,
  rope_scaling: null,
  tie_word_embeddings: config.tiedHead,
  attention_bias: config.attentionBias,
  hidden_act: "silu",
  use_sliding_window: false,
  initializer_range: config.initializerRange,
  ...ownFields(config)
})

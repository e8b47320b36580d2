/**
 * What the hybrid families of Qwen share: most layers are Gated DeltaNets, every fourth attends, with a gate at its output. The released checkpoints hold a model of images and text: its
 * text model is nested in `config.json`, its weights have a prefix; what is for images, and for predicting several tokens, is passed over.
 */
import { Effect, Schema } from "effect"
import { hybridBidirectionals, type ModelConfig, type ModelConfigError, refuse } from "../config.ts"
import type { Norm } from "../layers/norm.ts"
import { type FeedForwardKind, type LayerKind, mixerOf } from "../layers/layer.ts"
import { common, commonFields, type Family, makeFamily, Size, upTo, withDefault } from "./family.ts"
import { refusedRope, ropeFields, ropeTheta, rotatedShare } from "./rope.ts"

const [linear, full] = ["linear_attention", "full_attention"] as const

/** This program's own, as `attention_block_size`. */
const own = { hybrid_bidirectional: Schema.optionalKey(Schema.Literals(hybridBidirectionals)) } as const

/** Defaults are those of the published class. */
const textFields = {
  ...commonFields,
  ...ropeFields,
  ...own,
  num_attention_heads: Size,
  num_key_value_heads: withDefault(Size, 4),
  head_dim: withDefault(Size, 256),
  attention_bias: withDefault(Schema.Boolean, false),
  attn_output_gate: withDefault(Schema.Boolean, true),
  /** The kind of each layer; left out, every so many of them attend. */
  layer_types: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Literals([linear, full])))),
  full_attention_interval: withDefault(Size, 4),
  linear_num_key_heads: withDefault(Size, 16),
  linear_num_value_heads: withDefault(Size, 32),
  linear_key_head_dim: withDefault(Size, 128),
  linear_value_head_dim: withDefault(Size, 128),
  /** Each of its taps is a product of its own in a program. */
  linear_conv_kernel_dim: withDefault(upTo(64), 4)
} as const
type TextFields = Schema.Struct<typeof textFields>["Type"]
/** Where the text model is nested, the model around it says what it does not. */
const nestedFields = { ...textFields, tie_word_embeddings: Schema.optionalKey(Schema.Boolean) }
type NestedFields = Schema.Struct<typeof nestedFields>["Type"]

/** Of a head so much is rotated, where the file does not say. */
const defaultShare = 0.25
/** As the published class rounds: down. */
const rotaryDim = (headDim: number, factor: number): number => Math.trunc(headDim * factor)
/** A factor that leads to these elements: where the quotient would be rounded to one less, one from the middle. */
const rotaryFactor = (headDim: number, turned: number): number =>
  rotaryDim(headDim, turned / headDim) === turned ? turned / headDim : (turned + 0.5) / headDim

/** What would be computed otherwise, or cannot be. */
const refused = (fields: TextFields, types: ReadonlyArray<string>, turned: number): ModelConfigError | undefined => {
  const { linear_num_key_heads: keyHeads, linear_num_value_heads: valueHeads } = fields
  const { num_attention_heads: heads, num_key_value_heads: keyValueHeads } = fields
  const ofRope = refusedRope(fields)
  if (ofRope !== undefined) return ofRope
  if (!fields.attn_output_gate) return refuse("attn_output_gate", false, "true")
  if (types.length !== fields.num_hidden_layers)
    return refuse("layer_types", types, `a list of num_hidden_layers, ${fields.num_hidden_layers}, kinds`)
  if (!types.includes(linear) || !types.includes(full)) return refuse("layer_types", types, "layers of both kinds")
  if (heads % keyValueHeads !== 0)
    return refuse("num_key_value_heads", keyValueHeads, `a divisor of the ${heads} attention heads`)
  if (turned < 2 || turned % 2 !== 0)
    return refuse("partial_rotary_factor", turned / fields.head_dim, "one that rotates an even number of elements")
  if (valueHeads % keyHeads !== 0)
    return refuse("linear_num_value_heads", valueHeads, `a multiple of the ${keyHeads} key heads`)
  if (fields.linear_conv_kernel_dim < 2)
    return refuse("linear_conv_kernel_dim", fields.linear_conv_kernel_dim, "2 to 64")
  return undefined
}

/** The text model. */
const readText = (
  family: string,
  fields: TextFields,
  feedForward: FeedForwardKind
): Effect.Effect<ModelConfig, ModelConfigError> =>
  Effect.gen(function* () {
    const { attention_bias: bias, full_attention_interval: interval, head_dim: headDim } = fields
    const types =
      fields.layer_types ??
      Array.from({ length: fields.num_hidden_layers }, (_, i) => ((i + 1) % interval === 0 ? full : linear))
    const turned = rotaryDim(headDim, rotatedShare(fields) ?? defaultShare)
    const problem = refused(fields, types, turned)
    if (problem !== undefined) return yield* problem
    const shared = common(fields)
    const norm: Norm = { ...shared.norm, kind: "zero_centred_rms" }
    const mixers = {
      [linear]: {
        kind: "gated_delta_net",
        keyHeads: fields.linear_num_key_heads,
        valueHeads: fields.linear_num_value_heads,
        keyDim: fields.linear_key_head_dim,
        valueDim: fields.linear_value_head_dim,
        kernelSize: fields.linear_conv_kernel_dim,
        outputNorm: shared.norm
      },
      [full]: {
        kind: "attention",
        heads: fields.num_attention_heads,
        keyValueHeads: fields.num_key_value_heads,
        headDim,
        rotaryDim: turned,
        ropeTheta: ropeTheta(fields),
        bias,
        outputBias: bias,
        headNorm: norm,
        outputGate: true
      }
    } as const
    const layers = types.map((type): LayerKind => ({
      mixer: mixers[type],
      feedForward,
      norm
    }))
    const { hybrid_bidirectional: hybridBidirectional } = fields
    return {
      family,
      ...shared,
      norm,
      layers,
      ...(hybridBidirectional === undefined ? {} : { hybridBidirectional })
    }
  })

const writeText = ({ hiddenSize, initializerRange, layers, norm, tiedHead, vocabSize }: ModelConfig) => {
  const attention = mixerOf(layers, "attention")
  const deltaNet = mixerOf(layers, "gated_delta_net")
  const { headDim, rotaryDim: turned = headDim, ropeTheta: theta } = attention
  return {
    hidden_size: hiddenSize,
    num_hidden_layers: layers.length,
    layer_types: layers.map(({ mixer: { kind } }) => (kind === "attention" ? full : linear)),
    num_attention_heads: attention.heads,
    num_key_value_heads: attention.keyValueHeads,
    head_dim: headDim,
    attention_bias: attention.bias,
    attn_output_gate: true,
    rope_parameters: {
      rope_type: "default",
      rope_theta: theta,
      partial_rotary_factor: rotaryFactor(headDim, turned)
    },
    linear_num_key_heads: deltaNet.keyHeads,
    linear_num_value_heads: deltaNet.valueHeads,
    linear_key_head_dim: deltaNet.keyDim,
    linear_value_head_dim: deltaNet.valueDim,
    linear_conv_kernel_dim: deltaNet.kernelSize,
    vocab_size: vocabSize,
    rms_norm_eps: norm.epsilon,
    tie_word_embeddings: tiedHead,
    hidden_act: "silu",
    initializer_range: initializerRange
  }
}

/** Of what checkpoints hold beside the text model: what sees images, and the layers that predict the token after the next. */
const passedOver = /^(model\.visual|mtp)\./
/** Under which the text model stands in a model of images and text; a text model's checkpoint may have kept it. */
const [prefix, ours] = [/^model\.language_model\./, "model."] as const
const namesWith = (stored: NonNullable<Family["names"]>["stored"]): NonNullable<Family["names"]> => ({
  ours: name => (passedOver.test(name) ? undefined : name.replace(prefix, ours)),
  stored
})

/** What tells hybrid families apart. */
interface HybridFamily<Fields extends Schema.Struct.Fields> extends Pick<Family, "stacked"> {
  /** `model_type` of the text model by itself, and as released; Hugging Face's classes. */
  readonly text: Pick<Family, "name" | "architecture">
  readonly whole: Pick<Family, "name" | "architecture">
  /** Of the text model, beside those that all have. */
  readonly fields: Fields
  /** What they say of its feed-forward networks, and of the model. */
  readonly read: (
    fields: Schema.Struct.Type<Fields>
  ) => Effect.Effect<Pick<LayerKind, "feedForward"> & Pick<ModelConfig, "routerLoss">, ModelConfigError>
  readonly write: Family["write"]
}

/** A schema of fields that all hybrid families have and of a family's own, which TypeScript does not know yet: so the types of both are put together by hand. */
const struct = <Known extends Schema.Struct.Fields, Fields extends Schema.Struct.Fields>(
  known: Known,
  particular: Fields
) =>
  Schema.Struct({ ...known, ...particular }) as unknown as Schema.Codec<
    Schema.Struct.Type<Known> & Schema.Struct.Type<Fields>,
    Schema.Struct.Encoded<Known> & Schema.Struct.Encoded<Fields>
  >

/** The two families of a text model: by itself, and as released. */
export const hybridFamilies = <Fields extends Schema.Struct.Fields>({
  fields: particular,
  read,
  text,
  whole,
  write,
  ...more
}: HybridFamily<Fields>) => {
  const readAll = (family: string, known: TextFields, others: Schema.Struct.Type<Fields>) =>
    Effect.flatMap(read(others), ({ feedForward, ...ofModel }) =>
      Effect.map(readText(family, known, feedForward), config => ({ ...config, ...ofModel }))
    )
  const writeAll = (config: ModelConfig) => ({ ...writeText(config), ...write(config) })
  return {
    text: makeFamily({
      ...text,
      ...more,
      fields: struct({ model_type: Schema.Literal(text.name), ...textFields }, particular),
      names: namesWith(name => name),
      read: fields => readAll(text.name, fields, fields),
      write: writeAll
    }),
    whole: makeFamily({
      ...whole,
      ...more,
      fields: Schema.Struct({
        model_type: Schema.Literal(whole.name),
        text_config: struct(nestedFields, particular),
        tie_word_embeddings: commonFields.tie_word_embeddings,
        attention_block_size: commonFields.attention_block_size,
        ...own
      }),
      names: namesWith(name => name.replace(/^model\./, "model.language_model.")),
      // What is written beside the text model's fields, as a training does, is later than what may stand among them.
      read: ({ model_type: family, text_config: fields, ...outer }) => {
        const { tie_word_embeddings: tied = outer.tie_word_embeddings, ...known }: NestedFields = fields
        return readAll(family, { ...known, ...outer, tie_word_embeddings: tied }, fields)
      },
      write: config => ({
        text_config: { model_type: text.name, ...writeAll(config) },
        tie_word_embeddings: config.tiedHead
      })
    })
  }
}

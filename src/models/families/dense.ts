/** What the dense families of Qwen share: layers that are all alike, of attention and SwiGLU. */
import { Effect, Schema } from "effect"
import { type ModelConfig, type ModelConfigError, refuse } from "../config.ts"
import { feedForwardOf, mixerOf } from "../layers/layer.ts"
import type { SelfAttention } from "../layers/selfAttention.ts"
import { common, commonFields, makeFamily, Size, withDefault } from "./family.ts"
import { refusedRope, ropeFields, ropeTheta } from "./rope.ts"

const fieldsOf = <Name extends string>(name: Name) =>
  Schema.Struct({
    model_type: Schema.Literal(name),
    ...commonFields,
    intermediate_size: Size,
    num_attention_heads: Size,
    num_key_value_heads: Schema.optionalKey(Schema.NullOr(Size)),
    head_dim: Schema.optionalKey(Size),
    ...ropeFields,
    attention_bias: Schema.optionalKey(Schema.Boolean),
    /** Layers from `max_window_layers` on see so many tokens. Defaults are those of the published classes. */
    use_sliding_window: withDefault(Schema.Boolean, false),
    sliding_window: withDefault(Schema.NullOr(Schema.Int), 4096),
    max_window_layers: withDefault(Schema.Int, 28),
    /** The kind of each layer's attention, in newer files; goes before the three above. */
    layer_types: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String)))
  })
export type DenseFields = ReturnType<typeof fieldsOf>["Type"]

/** The one kind of attention that layers have here. */
const fullAttention = "full_attention"

/** What would be computed otherwise. */
const refused = (fields: DenseFields): ModelConfigError | undefined => {
  const ofRope = refusedRope(fields)
  if (ofRope !== undefined) return ofRope
  const { layer_types: kinds, num_hidden_layers: layers } = fields
  if (kinds === undefined || kinds === null) {
    const windows = fields.use_sliding_window && fields.sliding_window !== null && fields.max_window_layers < layers
    return windows
      ? refuse("use_sliding_window", true, "false, or max_window_layers from num_hidden_layers on")
      : undefined
  }
  if (kinds.length !== layers) return refuse("layer_types", kinds, `a list of num_hidden_layers, ${layers}, kinds`)
  const otherKind = kinds.findIndex(kind => kind !== fullAttention)
  return otherKind < 0
    ? undefined
    : refuse(`layer_types[${otherKind}]`, kinds[otherKind], JSON.stringify(fullAttention))
}

/** A family by what its fields mean for attention, given the norm of its layers. */
export const denseFamily = <Name extends string>({
  architecture,
  attention,
  headDim: defaultHeadDim,
  name
}: {
  readonly name: Name
  readonly architecture: string
  /** Where the file has no `head_dim`. */
  readonly headDim: (fields: DenseFields) => number
  readonly attention: (
    fields: DenseFields,
    norm: ModelConfig["norm"]
  ) => Effect.Effect<Pick<SelfAttention, "bias" | "outputBias" | "headNorm">, ModelConfigError>
}) =>
  makeFamily({
    name,
    architecture,
    fields: fieldsOf(name),
    read: fields =>
      Effect.gen(function* () {
        const problem = refused(fields)
        if (problem !== undefined) return yield* problem
        const shared = common(fields)
        const particular = yield* attention(fields, shared.norm)
        const heads = fields.num_attention_heads
        const keyValueHeads = fields.num_key_value_heads ?? heads
        const headDim = fields.head_dim ?? defaultHeadDim(fields)
        if (heads % keyValueHeads !== 0)
          return yield* refuse("num_key_value_heads", keyValueHeads, `a divisor of the ${heads} attention heads`)
        if (!Number.isInteger(headDim) || headDim % 2 !== 0) return yield* refuse("head_dim", headDim, "an even number")
        const layer = {
          mixer: { kind: "attention", heads, keyValueHeads, headDim, ropeTheta: ropeTheta(fields), ...particular },
          feedForward: { kind: "swiglu", intermediateSize: fields.intermediate_size },
          norm: shared.norm
        } as const
        return { family: name, ...shared, layers: Array.from({ length: fields.num_hidden_layers }, () => layer) }
      }),
    write: ({ hiddenSize, initializerRange, layers, norm, tiedHead, vocabSize }) => {
      const mixer = mixerOf(layers, "attention")
      return {
        hidden_size: hiddenSize,
        intermediate_size: feedForwardOf(layers, "swiglu").intermediateSize,
        num_hidden_layers: layers.length,
        num_attention_heads: mixer.heads,
        num_key_value_heads: mixer.keyValueHeads,
        head_dim: mixer.headDim,
        vocab_size: vocabSize,
        rms_norm_eps: norm.epsilon,
        rope_theta: mixer.ropeTheta,
        rope_scaling: null,
        tie_word_embeddings: tiedHead,
        attention_bias: mixer.bias,
        hidden_act: "silu",
        use_sliding_window: false,
        initializer_range: initializerRange
      }
    }
  })

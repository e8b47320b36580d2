/**
 * `adapter_config.json` of PEFT (0.21): which linear maps have an adapter, and how it is computed. PEFT passes over fields that it does not know; here a field that is not known, or asks for what
 * is not computed, is refused by name.
 */
import { Array as Arr, Effect, Schema } from "effect"
import { describe, visible } from "../../pipeline/Problem.ts"
import { type Adapter, patternOf } from "../linear/linearMaps.ts"

export const adapterConfigFile = "adapter_config.json"

/** An adapter whose files are no adapter's, or do not fit the model. */
export class AdapterError extends Schema.TaggedError<AdapterError>()("AdapterError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

/** Of a file that its schema refuses: all that is wrong, on one line. */
export const notAsSaid =
  (file: string) =>
  ({ message }: Schema.SchemaError): AdapterError =>
    new AdapterError({ message: visible(`${file}: ${message.replaceAll(/\s*\n\s*/g, " ")}`) })

/** A field of which some values alone are supported. */
const only = (...supported: ReadonlyArray<unknown>) => {
  const texts = supported.map(value => JSON.stringify(value))
  return Schema.optionalKey(
    Schema.Unknown.check(
      Schema.makeFilter(value =>
        texts.includes(JSON.stringify(value))
          ? undefined
          : `${describe(value)} is not supported; supported is ${texts.join(" or ")}`
      )
    )
  )
}
const unused = only(null)
const optional = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

const Rank = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2 ** 16 }))
const Alpha = Schema.Finite.check(Schema.isGreaterThan(0))
const longestPattern = 200
const Pattern = Schema.String.check(
  Schema.isMaxLength(longestPattern),
  Schema.makeFilter(pattern => {
    try {
      patternOf(pattern)
      return undefined
    } catch {
      return "is no regular expression"
    }
  })
)

const TokenIds = Schema.NonEmptyArray(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))).check(Schema.isUnique())

const AdapterConfig = Schema.Struct({
  peft_type: Schema.Literal("LORA"),
  task_type: optional(Schema.NullOr(Schema.Literal("CAUSAL_LM")), null),
  base_model_name_or_path: optional(Schema.NullOr(Schema.String), null),
  revision: optional(Schema.NullOr(Schema.String), null),
  target_modules: Schema.Union([Schema.NonEmptyArray(Schema.NonEmptyString), Schema.Literal("all-linear")]),
  r: Rank,
  lora_alpha: Alpha,
  lora_dropout: optional(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 0.99 })), 0),
  use_rslora: optional(Schema.Boolean, false),
  use_dora: optional(Schema.Boolean, false),
  rank_pattern: optional(Schema.NullOr(Schema.Record(Pattern, Rank)), {}),
  alpha_pattern: optional(Schema.NullOr(Schema.Record(Pattern, Alpha)), {}),
  trainable_token_indices: optional(
    Schema.NullOr(Schema.Union([TokenIds, Schema.Struct({ embed_tokens: TokenIds })])),
    null
  ),

  // What was, is trained otherwise, or is a way to begin that leaves the base as it is.
  auto_mapping: Schema.optionalKey(Schema.Unknown),
  inference_mode: Schema.optionalKey(Schema.Boolean),
  init_lora_weights: only(true, false, "gaussian", "orthogonal", "eva"),
  megatron_core: Schema.optionalKey(Schema.Unknown),
  peft_version: Schema.optionalKey(Schema.Unknown),
  qalora_group_size: Schema.optionalKey(Schema.Unknown),

  alora_invocation_tokens: unused,
  arrow_config: unused,
  bias: only("none"),
  corda_config: unused,
  ensure_weight_tying: only(false),
  eva_config: Schema.optionalKey(Schema.Unknown),
  exclude_modules: only(null, []),
  fan_in_fan_out: only(false),
  kasa_config: unused,
  layer_replication: unused,
  layers_pattern: unused,
  layers_to_transform: unused,
  loftq_config: only({}, null),
  lora_bias: only(false),
  lora_ga_config: unused,
  megatron_config: unused,
  modules_to_save: only(null, []),
  monteclora_config: unused,
  target_parameters: only(null, []),
  use_bdlora: unused,
  use_qalora: only(false),
  velora_config: unused
})

/** Which model an adapter was made for, as far as it says. */
export interface AdapterBase {
  readonly nameOrPath: string | null
  readonly revision: string | null
}

/** Reads the content of `adapter_config.json`. Fails with all fields that are wrong. */
export const decodeAdapterConfig = (
  text: string
): Effect.Effect<{ readonly adapter: Adapter; readonly base: AdapterBase }, AdapterError> =>
  Schema.decodeUnknownEffect(Schema.fromJsonString(AdapterConfig))(text, {
    onExcessProperty: "error",
    errors: "all"
  }).pipe(
    Effect.mapError(notAsSaid(adapterConfigFile)),
    Effect.map(config => ({
      adapter: {
        targetModules: config.target_modules === "all-linear" ? "auto" : config.target_modules,
        r: config.r,
        alpha: config.lora_alpha,
        rankStabilised: config.use_rslora,
        dropout: config.lora_dropout,
        dora: config.use_dora,
        rankPattern: config.rank_pattern ?? {},
        alphaPattern: config.alpha_pattern ?? {},
        trainableTokens: tokensOf(config.trainable_token_indices)
      },
      base: { nameOrPath: config.base_model_name_or_path, revision: config.revision }
    }))
  )

/** PEFT writes the ids alone, or by the name of the embedding's module. */
const tokensOf = (written: (typeof AdapterConfig.Type)["trainable_token_indices"]): ReadonlyArray<number> =>
  written === null ? [] : "embed_tokens" in written ? written.embed_tokens : written

/** The content of `adapter_config.json`, its keys in order as PEFT writes them. `targetModules`: by name, of which PEFT needs a list. */
export const encodeAdapterConfig = (
  adapter: Adapter,
  targetModules: ReadonlyArray<string>,
  { nameOrPath, revision }: AdapterBase
): string => {
  const fields: typeof AdapterConfig.Encoded = {
    alpha_pattern: adapter.alphaPattern,
    auto_mapping: null,
    base_model_name_or_path: nameOrPath,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: adapter.alpha,
    lora_dropout: adapter.dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: adapter.r,
    rank_pattern: adapter.rankPattern,
    revision,
    target_modules: targetModules as (typeof AdapterConfig.Encoded)["target_modules"],
    task_type: "CAUSAL_LM",
    trainable_token_indices: Arr.isReadonlyArrayNonEmpty(adapter.trainableTokens) ? adapter.trainableTokens : null,
    use_dora: adapter.dora,
    use_rslora: adapter.rankStabilised
  }
  return `${JSON.stringify(fields, null, 2)}\n`
}

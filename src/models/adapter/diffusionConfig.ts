/** `diffusion_config.json`, beside the files of an adapter: how the model under it is a diffusion model, which PEFT's own files have no place for. */
import { Effect, Schema } from "effect"
import { visible } from "../../pipeline/Problem.ts"
import type { OpenModel } from "../artifact.ts"
import { hybridBidirectionals, isHybrid } from "../config.ts"
import { AdapterError } from "./adapterConfig.ts"

export const diffusionConfigFile = "diffusion_config.json"

const Id = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const fields = {
  /** The token that stands for what is to be found. */
  mask_token: Schema.NonEmptyString,
  mask_token_id: Id,
  /** Whether a token is predicted from the state before it. */
  token_shift: Schema.Boolean,
  /** Of a hybrid model; left out, as its `config.json` says. */
  hybrid_bidirectional: Schema.optionalKey(Schema.Literals(hybridBidirectionals))
}
export const DiffusionConfig = Schema.Union([
  /** Every token of a document sees all others. */
  Schema.Struct({ ...fields, attention: Schema.Literal("bidirectional") }),
  /** A token sees its own block and earlier ones. */
  Schema.Struct({
    ...fields,
    attention: Schema.Literal("block_causal"),
    attention_block_size: Schema.Int.check(Schema.isGreaterThan(0))
  })
])
export type DiffusionConfig = typeof DiffusionConfig.Type

/** What it says of a diffusion model. */
export const diffusionConfigOf = ({
  config,
  tokenShift,
  tokenizer
}: Pick<OpenModel, "config" | "tokenShift" | "tokenizer">): DiffusionConfig => {
  const { attentionBlockSize: block, hybridBidirectional = "attn_only" } = config
  return {
    mask_token: tokenizer.maskToken,
    mask_token_id: tokenizer.maskId,
    token_shift: tokenShift,
    ...(isHybrid(config) ? { hybrid_bidirectional: hybridBidirectional } : {}),
    ...(block === undefined
      ? { attention: "bidirectional" }
      : { attention: "block_causal", attention_block_size: block })
  }
}

const File = Schema.fromJsonString(DiffusionConfig)

export const decodeDiffusionConfig = (text: string): Effect.Effect<DiffusionConfig, AdapterError> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(File)(text, { onExcessProperty: "error" }),
    ({ message }) => new AdapterError({ message: visible(`${diffusionConfigFile}: ${message}`) })
  )

export const encodeDiffusionConfig = (config: DiffusionConfig): string => `${JSON.stringify(config, null, 2)}\n`

/** `diffusion_config.json`, beside the files of an adapter: how the model under it is a diffusion model, which PEFT's own files have no place for. */
import { Effect, Schema } from "effect"
import type { NamedFile } from "../../formats/tensorFiles.ts"
import { visible } from "../../pipeline/Problem.ts"
import type { OpenModel } from "../artifact.ts"
import { hybridBidirectionals, isHybrid } from "../config.ts"
import { AdapterError, notAsSaid } from "./adapterConfig.ts"

export const diffusionConfigFile = "diffusion_config.json"

const Id = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Sha256 = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
const fields = {
  /** The token that stands for what is to be found. */
  mask_token: Schema.NonEmptyString,
  mask_token_id: Id,
  /** Whether a token is predicted from the state before it. */
  token_shift: Schema.Boolean,
  /** Of a hybrid model; left out, as its `config.json` says. */
  hybrid_bidirectional: Schema.optionalKey(Schema.Literals(hybridBidirectionals)),
  /** SHA-256 of the dense base's files of weights, by their names, where the adapter's maker knew them. */
  base_sha256: Schema.optionalKey(Schema.Record(Schema.String, Sha256))
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
  Effect.mapError(Schema.decodeUnknownEffect(File)(text, { onExcessProperty: "error" }), notAsSaid(diffusionConfigFile))

/** Whether the files of a base can be told from those of another: whether one of them has the name of one that the adapter's maker knew. */
export const canTellBase = (
  { base_sha256: wanted = {} }: Pick<DiffusionConfig, "base_sha256">,
  base: ReadonlyArray<NamedFile>
): boolean => base.some(({ name }) => wanted[name] !== undefined)

/**
 * Fails where an adapter is put over another base than it was trained over: where a file of dense weights has the name of one of that base, and other bytes. Of a base whose files are cut otherwise, or that is
 * quantised, only shapes can be compared.
 */
export const mustBeItsBase = <E>(
  { base_sha256: wanted = {} }: Pick<DiffusionConfig, "base_sha256">,
  base: ReadonlyArray<NamedFile>,
  sha256Of: (path: string) => Effect.Effect<string, E>
): Effect.Effect<void, E | AdapterError> =>
  Effect.forEach(
    base,
    ({ name, path }) => {
      const sha256 = wanted[name]
      if (sha256 === undefined) return Effect.void
      return Effect.flatMap(sha256Of(path), found =>
        found === sha256
          ? Effect.void
          : Effect.fail(
              new AdapterError({
                message: `the adapter was trained over another base: ${visible(name)} has the SHA-256 ${found}, there it had ${sha256}`
              })
            )
      )
    },
    { discard: true }
  )

export const encodeDiffusionConfig = (config: DiffusionConfig): string => `${JSON.stringify(config, null, 2)}\n`

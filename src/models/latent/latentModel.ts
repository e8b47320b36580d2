/** What stands beside the language model in a checkpoint, as `config.json` says: the networks of one of the latent methods. */
import { Effect, Schema } from "effect"
import { snakeKeys } from "../../data/snakeKeys.ts"
import type { ModelConfig } from "../config.ts"
import type { ParameterSpec } from "../parameters.ts"
import { ColaArchitecture, colaPrefix, colaShape, colaSpecs } from "./cola.ts"
import { LdlmArchitecture, ldlmPrefix, ldlmShape, ldlmSpecs } from "./ldlm.ts"
import type { Statistics } from "./statistics.ts"
import { VfmArchitecture, vfmPrefix, vfmSpecs } from "./vfm.ts"

const Number = Schema.Finite
/** LDLM's networks read states on the scale that they had in training. */
const LdlmField = Schema.Struct({
  networks: snakeKeys(LdlmArchitecture),
  state_statistics: Schema.Tuple([Number, Number, Number])
})

/** The field of `config.json` for each method; it bears the method's name, as the parameters do. */
const fields = {
  [ldlmPrefix]: LdlmField,
  [vfmPrefix]: snakeKeys(VfmArchitecture),
  [colaPrefix]: snakeKeys(ColaArchitecture)
} as const

/** The methods by which a language model becomes a diffusion model: by masks alone, and those with networks beside it. */
export const methodNames = ["masked", ldlmPrefix, vfmPrefix, colaPrefix] as const
export type MethodName = (typeof methodNames)[number]

export type LatentModel =
  | { readonly method: "ldlm"; readonly architecture: LdlmArchitecture; readonly statistics: Statistics }
  | { readonly method: "vfm"; readonly architecture: VfmArchitecture }
  | { readonly method: "cola"; readonly architecture: ColaArchitecture }

/** Fields of `config.json` that describe a latent model. */
export const encodeLatentModel = (model: LatentModel): { readonly [field: string]: unknown } => {
  switch (model.method) {
    case "ldlm": {
      const { architecture, statistics } = model
      return {
        [ldlmPrefix]: Schema.encodeSync(LdlmField)({ networks: architecture, state_statistics: statistics })
      }
    }
    case "vfm":
      return { [vfmPrefix]: Schema.encodeSync(fields.vfm)(model.architecture) }
    case "cola":
      return { [colaPrefix]: Schema.encodeSync(fields.cola)(model.architecture) }
  }
}

export class LatentModelError extends Schema.TaggedError<LatentModelError>()("LatentModelError", {
  message: Schema.String
}) {}

/** Reads the content of `config.json`; undefined where it names none of the methods. */
export const decodeLatentModel = (
  json: { readonly [field: string]: unknown },
  config: ModelConfig
): Effect.Effect<LatentModel | undefined, LatentModelError> => {
  const wrong = (field: string) => (cause: unknown) =>
    new LatentModelError({
      message: `config.json: ${field}: ${cause instanceof Error ? cause.message : String(cause)}`
    })
  const read = <A>(field: keyof typeof fields, schema: Schema.Codec<A, unknown>, use: (value: A) => LatentModel) =>
    Effect.flatMap(Effect.mapError(Schema.decodeUnknownEffect(schema)(json[field]), wrong(field)), value =>
      Effect.try({
        try: () => {
          const model = use(value)
          checkShape(model, config)
          return model
        },
        catch: wrong(field)
      })
    )
  if (json[ldlmPrefix] !== undefined)
    return read(ldlmPrefix, LdlmField, ({ networks, state_statistics: statistics }) => ({
      method: "ldlm",
      architecture: networks,
      statistics
    }))
  if (json[vfmPrefix] !== undefined)
    return read(vfmPrefix, fields.vfm, architecture => ({ method: "vfm", architecture }))
  if (json[colaPrefix] !== undefined)
    return read(colaPrefix, fields.cola, architecture => ({ method: "cola", architecture }))
  return Effect.succeed(undefined)
}

/** Throws where sizes do not fit each other. */
const checkShape = (model: LatentModel, config: ModelConfig): void => {
  if (model.method === "ldlm") ldlmShape(model.architecture, config)
  if (model.method === "cola") colaShape(model.architecture, config, 0)
}

/** The parameters beside those of the language model. */
export const latentSpecs = (model: LatentModel, config: ModelConfig): ReadonlyArray<ParameterSpec> => {
  switch (model.method) {
    case "ldlm":
      return ldlmSpecs(model.architecture, config)
    case "vfm":
      return vfmSpecs(model.architecture, config)
    case "cola":
      return colaSpecs(model.architecture, config)
  }
}

/** How a method's own module describes its networks in a checkpoint: a field of `config.json` that bears the method's name, and parameters whose names begin with it. */
import { Effect, Schema } from "effect"
import { type ModelConfig, mostParameters } from "../../../models/config.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import { countElements, type ParameterSpec } from "../../../models/parameters.ts"

/** `Networks`: what is to be known of a method's networks. */
export interface LatentFormat<Networks = unknown> {
  /** The field of `config.json`. */
  encode(networks: Networks): { readonly [field: string]: unknown }
  /** Reads the content of `config.json`. Fails where it does not describe networks that fit the language model. */
  decode(
    json: { readonly [field: string]: unknown },
    config: ModelConfig
  ): Effect.Effect<Networks & { readonly method: string }, LatentModelError>
  /** What a model was loaded with. That of another method is a defect of the caller. */
  of(model: Pick<LoadedModel, "latent">): Networks
  /** The parameters beside those of the language model. */
  specs(networks: Networks, config: ModelConfig): ReadonlyArray<ParameterSpec>
}

export class LatentModelError extends Schema.TaggedError<LatentModelError>()("LatentModelError", {
  message: Schema.String
}) {}

/** Far above any network beside a language model: lists are made by these before a file is looked at. */
const largestSize = 2 ** 20
const mostLayers = 1000

/** Throws where a number of the field could not be a size, and names it. Lists hold what a training has counted and measured. */
const checkSizes = (value: unknown, path: ReadonlyArray<string> = []): void => {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    for (const [name, below] of Object.entries(value)) checkSizes(below, [...path, name])
  const largest = path.some(name => /layers/.test(name)) ? mostLayers : largestSize
  if (Number.isInteger(value) && Math.abs(Number(value)) > largest)
    throw new Error(`${path.join(".")} is ${String(value)}; at most ${largest} is supported`)
}

export const latentFormat = <Field, Networks extends object>(
  method: string,
  schema: Schema.Codec<Field, unknown>,
  form: {
    readonly read: (field: Field) => Networks
    readonly write: (networks: Networks) => Field
    /** Throws where sizes do not fit each other. */
    readonly check?: (networks: Networks, config: ModelConfig) => void
    readonly specs: LatentFormat<Networks>["specs"]
  }
): LatentFormat<Networks> => {
  const wrong = (cause: unknown) =>
    new LatentModelError({
      message: `config.json: ${method}: ${cause instanceof Error ? cause.message : String(cause)}`
    })
  return {
    encode: networks => ({ [method]: Schema.encodeSync(schema)(form.write(networks)) }),
    decode: (json, config) =>
      Effect.flatMap(Effect.mapError(Schema.decodeUnknownEffect(schema)(json[method]), wrong), field =>
        Effect.try({
          try: () => {
            checkSizes(json[method])
            const networks = form.read(field)
            form.check?.(networks, config)
            const parameters = countElements(form.specs(networks, config))
            if (parameters > mostParameters)
              throw new Error(`these sizes make ${parameters.toExponential(1)} parameters`)
            return { method, ...networks }
          },
          catch: wrong
        })
      ),
    of: ({ latent }) => {
      if (latent?.method !== method)
        throw new Error(`a model of the method ${latent?.method ?? "masked"} as one of ${method}`)
      return latent as unknown as Networks
    },
    specs: form.specs
  }
}

/** How a method's own module describes its networks in a checkpoint: a field of `config.json` that bears the method's name, and parameters whose names begin with it. */
import { Effect, Schema } from "effect"
import { type ModelConfig, mostParameters } from "../../../models/config.ts"
import { countElements, type ParameterSpec } from "../../../models/parameters.ts"
import type { LatentModel, LatentModelOf } from "./latentModel.ts"

export interface LatentFormat<Model extends LatentModel = LatentModel> {
  /** The field of `config.json`. */
  encode(model: Omit<Model, "method">): { readonly [field: string]: unknown }
  /** Reads the content of `config.json`. Fails where it does not describe networks that fit the language model. */
  decode(json: { readonly [field: string]: unknown }, config: ModelConfig): Effect.Effect<Model, LatentModelError>
  /** The parameters beside those of the language model. */
  specs(model: Model, config: ModelConfig): ReadonlyArray<ParameterSpec>
}

export class LatentModelError extends Schema.TaggedError<LatentModelError>()("LatentModelError", {
  message: Schema.String
}) {}

/** Far above any network beside a language model: lists are made by these before a file is looked at. */
const largestSize = 2 ** 20
const mostLayers = 1000

/** Throws where a number of the field could not be a size, and names it. */
const checkSizes = (value: unknown, path: ReadonlyArray<string> = []): void => {
  if (typeof value === "object" && value !== null)
    for (const [name, below] of Object.entries(value)) checkSizes(below, [...path, name])
  const largest = path.some(name => /layers/.test(name)) ? mostLayers : largestSize
  if (Number.isInteger(value) && Math.abs(Number(value)) > largest)
    throw new Error(`${path.join(".")} is ${String(value)}; at most ${largest} is supported`)
}

export const latentFormat = <Method extends LatentModel["method"], Field>(
  method: Method,
  schema: Schema.Codec<Field, unknown>,
  form: {
    readonly field: (model: Omit<LatentModelOf<Method>, "method">) => Field
    readonly model: (field: Field) => LatentModelOf<Method>
    /** Throws where sizes do not fit each other. */
    readonly check?: (model: LatentModelOf<Method>, config: ModelConfig) => void
    readonly specs: LatentFormat<LatentModelOf<Method>>["specs"]
  }
): LatentFormat<LatentModelOf<Method>> => {
  const wrong = (cause: unknown) =>
    new LatentModelError({
      message: `config.json: ${method}: ${cause instanceof Error ? cause.message : String(cause)}`
    })
  return {
    encode: model => ({ [method]: Schema.encodeSync(schema)(form.field(model)) }),
    decode: (json, config) =>
      Effect.flatMap(Effect.mapError(Schema.decodeUnknownEffect(schema)(json[method]), wrong), field =>
        Effect.try({
          try: () => {
            checkSizes(json[method])
            const model = form.model(field)
            form.check?.(model, config)
            const parameters = countElements(form.specs(model, config))
            if (parameters > mostParameters)
              throw new Error(`these sizes make ${parameters.toExponential(1)} parameters`)
            return model
          },
          catch: wrong
        })
      ),
    specs: form.specs
  }
}

/** How a method's own module describes its networks in a checkpoint: a field of `config.json` that bears the method's name, and parameters whose names begin with it. */
import { Effect, Schema } from "effect"
import type { ModelConfig } from "../config.ts"
import type { ParameterSpec } from "../parameters.ts"
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
            const model = form.model(field)
            form.check?.(model, config)
            return model
          },
          catch: wrong
        })
      ),
    specs: form.specs
  }
}

/** Stages that decode with a model of any method are fingerprinted by its method: another method's code is not in their keys. */
import { Effect, Schema } from "effect"
import { type Method, methodNameOf, methodOf } from "../src/decoding/methods.ts"
import type { LoadedModel } from "../src/models/artifact.ts"
import { type MethodName, methodNames } from "../src/models/latent/latentModel.ts"
import { setting } from "../src/data/setting.ts"
import { permanent, type StageError } from "../src/pipeline/StageError.ts"

/** The parameter that names it. */
export const method = setting(
  Schema.Literals(methodNames),
  "masked",
  "The method by which the model was made, as `config.json` says"
)

export const decodingMethods = {
  by: "method",
  modules: {
    masked: "../src/decoding/methods/masked.ts",
    ldlm: "../src/decoding/methods/ldlm.ts",
    vfm: "../src/decoding/methods/vfm.ts",
    cola: "../src/decoding/methods/cola.ts"
  }
} as const satisfies { readonly by: string; readonly modules: { readonly [name in MethodName]: `.${string}` } }

/** The method of a model, which must be the one that the key was made with. */
export const methodNamed = (name: MethodName, model: LoadedModel): Effect.Effect<Method, StageError> =>
  methodNameOf(model) === name
    ? methodOf(model)
    : Effect.fail(
        permanent(
          `the parameter method is ${name}, but the model is one of ${methodNameOf(model)}`,
          `set it to ${methodNameOf(model)}`
        )
      )

/** Stages that decode with a model of any method are fingerprinted by its method: another method's code is not in their keys. */
import { Effect, Schema } from "effect"
import type { NamedFile } from "../src/formats/tensorFiles.ts"
import { loadWith, methodNamed } from "../src/methods/Method.ts"
import type { Engine } from "../src/engines/Engine.ts"
import { openModel } from "../src/models/artifact.ts"
import type { MethodName } from "../src/models/methodNames.ts"
import { setting } from "../src/config/setting.ts"
import { permanent } from "../src/pipeline/StageError.ts"

/** The field that says by which method the model was made, as `config.json` does. */
const method = {
  masked: setting(Schema.Literal("masked"), "masked"),
  ldlm: Schema.Literal("ldlm"),
  vfm: Schema.Literal("vfm"),
  cola: Schema.Literal("cola")
} as const satisfies { readonly [name in MethodName]: unknown }

/** Parameters by method: what is asked of all, and what of those that decode by masks and those that draw latents. */
export const parametersOf = <
  const Common extends Schema.Struct.Fields,
  const Masks extends Schema.Struct.Fields,
  const Latents extends Schema.Struct.Fields
>(
  common: Common,
  byMasks: () => Masks,
  byLatents: () => Latents
) => ({
  masked: () => Schema.Struct({ method: method.masked, ...common, ...byMasks() }),
  ldlm: () => Schema.Struct({ method: method.ldlm, ...common, ...byLatents() }),
  vfm: () => Schema.Struct({ method: method.vfm, ...common, ...byMasks() }),
  cola: () => Schema.Struct({ method: method.cola, ...common, ...byMasks() })
})

/** A method's module, and what is asked of methods of its kind. */
export const decodingMethods = {
  by: "method",
  dispatch: ["../src/methods/Method.ts"],
  modules: {
    masked: ["../src/methods/masked/method.ts", "./decoding/byMasks.ts"],
    ldlm: ["../src/methods/ldlm/method.ts", "./decoding/byLatents.ts"],
    vfm: ["../src/methods/vfm/method.ts", "./decoding/byMasks.ts"],
    cola: ["../src/methods/cola/method.ts", "./decoding/byMasks.ts"]
  }
} as const satisfies {
  readonly by: string
  readonly dispatch: ReadonlyArray<string>
  readonly modules: { readonly [name in MethodName]: ReadonlyArray<`.${string}`> }
}

/** A model and its method, which must be the one that the key was made with. */
export const modelOf = Effect.fn("modelOf")(function* (
  name: MethodName,
  engine: Engine,
  files: ReadonlyArray<NamedFile>
) {
  const opened = yield* openModel(files)
  if (opened.method !== name)
    return yield* permanent(
      `the parameter method is ${name}, but the model is one of ${opened.method}`,
      `set it to ${opened.method}`
    )
  const own = yield* methodNamed(name)
  return { own, model: yield* loadWith(engine, opened, own) }
})

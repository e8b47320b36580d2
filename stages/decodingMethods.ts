/** Stages that decode with a model of any method are fingerprinted by its method: another method's code is not in their keys. */
import { Effect, Schema, type SchemaAST } from "effect"
import type { NamedFile } from "../src/formats/tensorFiles.ts"
import { decodes, loadWhole, type MethodName, methodNames, methodOf, modulesOf } from "../src/methods/Method.ts"
import type { Engine } from "../src/engines/Engine.ts"
import { openModel } from "../src/models/artifact.ts"
import { setting } from "../src/config/setting.ts"
import { permanent } from "../src/pipeline/StageError.ts"

const asked = { masks: "./decoding/byMasks.ts", latents: "./decoding/byLatents.ts" } as const

/** A method's module, and what is asked of methods of its kind. */
export const decodingMethods = modulesOf(name => [`../src/methods/${name}/method.ts`, asked[decodes[name]]])

/**
 * Parameters by method: what is asked of all, and what of those that decode by masks and those that draw latents; and the field `method`, which says by which one the model
 * was made, as its `config.json` does. `agree`: what the fields of those that decode by masks must hold together.
 */
export const parametersOf = <Common extends Fields, Masks extends Fields, Latents extends Fields>(
  common: Common,
  byMasks: () => Masks,
  byLatents: () => Latents,
  agree?: SchemaAST.Check<never>
) => {
  const own = { masks: byMasks, latents: byLatents }
  const ofMethod = (name: MethodName) => () => {
    const fields = Schema.Struct({
      method: name === methodNames[0] ? setting(Schema.Literal(name), name) : Schema.Literal(name),
      ...common,
      ...own[decodes[name]]()
    })
    return agree === undefined || decodes[name] === "latents" ? fields : fields.check(agree as never)
  }
  return Object.fromEntries(methodNames.map(name => [name, ofMethod(name)])) as unknown as {
    readonly [name in MethodName]: () => Schema.Struct<
      { readonly method: NameOf<name> } & Common &
        { readonly masks: Masks; readonly latents: Latents }[(typeof decodes)[name]]
    >
  }
}

type Fields = Schema.Struct.Fields

/** The field may be left out of the first method's. */
type NameOf<Name extends MethodName> = Name extends "masked"
  ? ReturnType<typeof setting<Schema.Literal<Name>>>
  : Schema.Literal<Name>

/** A model and its method, which must be the one that the key was made with. */
export const modelOf = Effect.fn("modelOf")(function* (
  name: MethodName,
  engine: Engine,
  files: ReadonlyArray<NamedFile>
) {
  const opened = yield* openModel(files)
  const found = methodOf(opened)
  if (found !== name)
    return yield* permanent(`the parameter method is ${name}, but the model is one of ${found}`, `set it to ${found}`)
  const { method: own, model } = yield* loadWhole(engine, opened)
  return { own, model }
})

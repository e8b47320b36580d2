/** Brings an adapter into the store, over its base. */
import { Effect, Schema } from "effect"
import { ModelFiles } from "../src/artifacts/kinds.ts"
import { openAdapter } from "../src/models/adapter/adapterFiles.ts"
import { mustBeItsBase } from "../src/models/adapter/diffusionConfig.ts"
import { adapterNames, filesOf, openModel } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError } from "../src/pipeline/StageError.ts"
import { elements } from "../src/tensor/Tensor.ts"
import { fetch, fromSource, identity, placeAll, resources } from "./download.ts"

/** An adapter in the layout of PEFT, ours or another's, over the base that it was trained over: from then on one model, as one that was trained here is. */
export const downloadAdapter = Stage.make("download-adapter", {
  inputs: { base: ModelFiles },
  parameters: Schema.Struct(fromSource),
  outputs: { model: ModelFiles },
  identity,
  resources,
  run: Effect.fn("download-adapter")(function* (context) {
    const { base } = context.inputs
    const output = context.outputs.model
    const files = yield* fetch(context, path => adapterNames.has(path))
    const adapter = files.map(({ file, path: name }) => ({ name, path: file }))
    const beside = yield* filesOf(base)
    const { config } = yield* openModel(beside)
    const opened = yield* Effect.mapError(openAdapter(adapter), asStageError)
    if (opened.diffusion !== undefined && config.linear === undefined) {
      const known = new Map(beside.map(({ name, path }) => [path, base.files.find(file => file.path === name)!.sha256]))
      const ofBase = mustBeItsBase(opened.diffusion, beside, path => Effect.succeed(known.get(path)!))
      yield* Effect.mapError(ofBase, asStageError)
    }
    const { tensors } = yield* openModel([...beside, ...adapter])
    for (const { path, sha256, size } of base.files) yield* output.adopt(path, { sha256, size })
    yield* placeAll(output, files)
    yield* output.metadata({
      files: base.files.length + files.length,
      tensors: tensors.size,
      parameters: [...tensors.values()].reduce((sum, { shape }) => sum + elements(shape), 0)
    })
  })
})

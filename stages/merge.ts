/** Takes a model's adapter into its weights, and makes weights in NF4 dense: a model of the base's own layout and names. Of the weights, one is in memory at a time. */
import { Effect, Schema } from "effect"
import { ModelFiles } from "../src/artifacts/kinds.ts"
import { writeMerged } from "../src/models/adapter/handingOn.ts"
import { filesOf, openModel } from "../src/models/artifact.ts"
import { countParameters, parameterSpecs } from "../src/models/config.ts"
import * as Stage from "../src/pipeline/Stage.ts"

export const merge = Stage.make("merge", {
  inputs: { model: ModelFiles },
  parameters: Schema.Struct({}),
  outputs: { model: ModelFiles },
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("merge")(function* ({ inputs, outputs }) {
    const files = yield* filesOf(inputs.model)
    const model = yield* openModel(files)
    const written = yield* writeMerged(outputs.model, files, model)
    const { linear: _, ...dense } = model.config
    yield* outputs.model.metadata({
      files: written.length,
      tensors: parameterSpecs(dense).length,
      parameters: countParameters(dense)
    })
  })
})

/** Quantises the linear maps of a model's layers to NF4 (Dettmers et al. 2023), in the layout of bitsandbytes; all else stays as it is. Of the weights, one is in memory at a time. */
import { Effect, Schema } from "effect"
import { ModelFiles } from "../src/artifacts/kinds.ts"
import { quantisationFields } from "../src/config/quantisation.ts"
import { snakeKeys } from "../src/config/snakeKeys.ts"
import { quantizationConfig } from "../src/formats/bitsandbytes.ts"
import type { FileError } from "../src/formats/fileError.ts"
import { saveTensors, type TensorFilesError } from "../src/formats/tensorFiles.ts"
import { filesOf, isWeights, jsonText, openModel } from "../src/models/artifact.ts"
import { allLinearModules, headKey } from "../src/models/config.ts"
import { quantisedCheckpoint, savedFormat } from "../src/models/quantised.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent, type StageError } from "../src/pipeline/StageError.ts"
import { elements } from "../src/tensor/Tensor.ts"

export const quantize = Stage.make("quantize", {
  inputs: { model: ModelFiles },
  parameters: snakeKeys(Schema.Struct(quantisationFields)),
  outputs: { model: ModelFiles },
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("quantize")(function* ({ inputs, outputs, parameters, progress }) {
    const { blockSize, doubleQuant } = parameters
    const files = yield* filesOf(inputs.model)
    const model = yield* openModel(files)
    const { config, json, tensors } = model
    if (config.linear?.adapter !== undefined)
      return yield* permanent("the model has an adapter; merge it before its weights are quantised")
    const maps = allLinearModules(config)
    const layout = { blockSize, doubleQuant }
    const saved = yield* quantisedCheckpoint(model, { ...layout, modules: "auto" })
    const total = saved.length
    let done = 0
    const told = Effect.suspend(() => progress({ done: ++done, total, unit: "tensors" }))
    const output = outputs.model
    for (const { path, sha256, size } of inputs.model.files)
      if (path !== "config.json" && !isWeights(path)) yield* output.adopt(path, { sha256, size })
    const first = tensors.get(`${maps[0]!.module}.weight`)!
    const skipped = config.tiedHead ? [] : [headKey.replace(/\.weight$/, "")]
    const fields = { ...json, quantization_config: quantizationConfig(layout, savedFormat(first), skipped) }
    yield* output.write("config.json", jsonText(fields))
    const written = yield* saveTensors<FileError | TensorFilesError | StageError>(
      output.reserve,
      saved.map(tensor => ("tensors" in tensor ? { ...tensor, bytes: Effect.tap(tensor.bytes, told) } : tensor)),
      { format: "F32" }
    )
    yield* output.metadata({
      files: inputs.model.files.filter(({ path }) => !isWeights(path)).length + written.length,
      tensors: tensors.size,
      parameters: [...tensors.values()].reduce((sum, { shape }) => sum + elements(shape), 0)
    })
  }, Effect.mapError(asStageError))
})

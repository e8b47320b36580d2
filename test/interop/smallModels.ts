/** Small models as checkpoints of their own, dense and in NF4, for tests that compare them with the classes of transformers and peft. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { quantisedTensors, quantizationConfig } from "../../src/formats/bitsandbytes.ts"
import type { FileError } from "../../src/formats/fileError.ts"
import {
  openTensors,
  type Saved,
  saveTensors,
  type StoredTensors,
  type TensorFilesError
} from "../../src/formats/tensorFiles.ts"
import type { OpenModel } from "../../src/models/artifact.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig, encodeModelConfig } from "../../src/models/families.ts"
import { allocateParameters, initialValues } from "../../src/models/parameters.ts"
import { forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { quantisedCheckpoint, withStoredNf4 } from "../../src/models/quantised.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { inputsOf } from "../../src/sessions/session.ts"
import { input, reshape } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements } from "../../src/tensor/Tensor.ts"

export const filesIn = (path: string) => readdirSync(path).map(name => ({ name, path: join(path, name) }))
export const tensorsOf = (path: string) => openTensors([{ name: "it.safetensors", path }])
export const all = (tensors: StoredTensors, name: string) => {
  const tensor = tensors.get(name)
  if (tensor === undefined) throw new Error(`there is no ${name}; there are ${[...tensors.keys()].join(", ")}`)
  return tensor.floats(0, elements(tensor.shape))
}
/** Largest difference, relative to the largest number. */
export const difference = (actual: Float32Array, expected: Float32Array): number => {
  expect(actual.length).toBe(expected.length)
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  return expected.reduce((most, x, i) => Math.max(most, Math.abs(actual[i]! - x)), 0) / scale
}

export const tokens = [Array.from({ length: 24 }, (_, i) => (i * i * 5 + i) % 101)]
export const qwen3 = {
  model_type: "qwen3",
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 101,
  rope_theta: 10000,
  tie_word_embeddings: true,
  initializer_range: 0.1
}
export const qwen2 = { ...qwen3, model_type: "qwen2", tie_word_embeddings: false }

/** A checkpoint in a folder. */
export const written = (
  path: string,
  config: ModelConfig,
  tensors: ReadonlyArray<Saved<FileError | TensorFilesError>>,
  { fields = {}, format = "F32" }: { readonly fields?: object; readonly format?: "F32" | "BF16" } = {}
) =>
  Effect.gen(function* () {
    mkdirSync(path)
    writeFileSync(join(path, "config.json"), JSON.stringify({ ...encodeModelConfig(config), ...fields }))
    yield* saveTensors(file => Effect.succeed(join(path, file)), tensors, { format })
    return path
  })

/** A dense model with random weights; norms and biases are not 1 and 0, where mistakes do not show. */
export const denseModel = (path: string, json: object, format: "F32" | "BF16" = "F32") =>
  Effect.gen(function* () {
    const config = yield* decodeModelConfig(json)
    const tensors = parameterSpecs(config).map(spec => {
      const values = initialValues(spec, 3)
      const noise = spec.shape.length === 1 ? normals(randomKey(4, spec.name), values.length) : undefined
      return {
        name: spec.name,
        shape: spec.shape,
        floats: Effect.succeed(noise === undefined ? values : values.map((value, i) => value + 0.2 * noise[i]!))
      }
    })
    return yield* written(path, config, tensors, { format })
  })

export const inNf4 = (path: string, dense: Model, doubleQuant: boolean) =>
  Effect.gen(function* () {
    const layout = { blockSize: 64, doubleQuant }
    const tensors = yield* quantisedCheckpoint(dense, { ...layout, modules: "auto" })
    const fields = { quantization_config: quantizationConfig(layout, "F32", ["lm_head"]) }
    return yield* written(path, dense.config, tensors, { fields })
  })

export type Model = Pick<OpenModel, "config" | "tensors" | "diffusion" | "tokenShift" | "tokenizer">

/** What is read of it here, its weights in NF4 as they are stored. */
export const opened = (path: string) =>
  Effect.gen(function* () {
    const config = yield* decodeModelConfig(JSON.parse(readFileSync(join(path, "config.json"), "utf8")))
    const tensors = yield* quantisedTensors(yield* openTensors(filesIn(path)))
    // These models have no tokenizer, and their adapters no `diffusion_config.json` that would ask for one.
    return { config: yield* withStoredNf4({ config, tensors }), tensors, diffusion: false, tokenShift: true } as Model
  })

export const ourLogits = ({ config, tensors }: Model) =>
  Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: 2 })
    const buffers = yield* allocateParameters(engine, parameterSpecs(config))
    yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
    const length = tokens[0]!.length
    const weights = weightsOf(config, inputsOf(buffers.views))
    const { final } = forward(config, weights, input("tokens", "i32", [1, length]), { causal: true })
    const program = makeProgram({ logits: logits(reshape(final, [length, config.hiddenSize]), weights) })
    const data = yield* engine.allocate("i32", [1, length])
    yield* engine.upload(data, Int32Array.from(tokens.flat()))
    const output = yield* engine.allocate("f32", [length, config.vocabSize])
    const executable = yield* engine.compile(program)
    yield* engine.run([yield* engine.bind(executable, { ...buffers.views, tokens: data }, { logits: output })])
    return (yield* engine.download(output)) as Float32Array
  })

/** A job that leaves logits in a file. */
export const logitsJob = (output: string, job: object) => ({ action: "logits", tokens, output, ...job })

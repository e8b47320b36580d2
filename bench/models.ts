/** Models of real sizes for measurements, with generated weights. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { saveTensors } from "../src/formats/tensorFiles.ts"
import { encodeModelConfig, type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { normals, randomKey } from "../src/tensor/random.ts"
import { elements } from "../src/tensor/Tensor.ts"

export const qwen3 = {
  family: "qwen3",
  layers: 28,
  heads: 16,
  keyValueHeads: 8,
  headDim: 128,
  vocabSize: 151_936,
  normEpsilon: 1e-6,
  ropeTheta: 1e6,
  tiedHead: true,
  attentionBias: false,
  initializerRange: 0.02
} as const

export const models: { readonly [name: string]: ModelConfig } = {
  "Qwen3-0.6B": { ...qwen3, hiddenSize: 1024, intermediateSize: 3072 },
  "Qwen3-1.7B": { ...qwen3, hiddenSize: 2048, intermediateSize: 6144 }
}

/** Writes a model in Hugging Face layout, bfloat16. */
export const writeGenerated = (config: ModelConfig, directory: string) => {
  // Numbers repeat after a million: enough for processors, which do not look at them.
  const block = normals(randomKey(1, "bench/forward"), 2 ** 20).map(x => x * config.initializerRange)
  writeFileSync(join(directory, "config.json"), JSON.stringify(encodeModelConfig(config)))
  return saveTensors(
    name => Effect.succeed(join(directory, name)),
    parameterSpecs(config).map(({ initial, name, shape }) => ({
      name,
      shape,
      floats: Effect.sync(() => {
        const values = new Float32Array(elements(shape))
        if (initial === "ones") return values.fill(1)
        for (let at = 0; at < values.length; at += block.length)
          values.set(block.subarray(0, Math.min(block.length, values.length - at)), at)
        return values
      })
    })),
    { format: "BF16", maxFileBytes: 1e9 }
  )
}

/** Models and amounts of work of bench/gpu: real ones, and tiny ones that mean nothing. */
import { Schema } from "effect"
import { AdapterSettings, adapterOf } from "../../src/methods/shared/adapterSettings.ts"
import { allLinearModules, type ModelConfig } from "../../src/models/config.ts"
import { encodeModelConfig } from "../../src/models/families.ts"
import type { Adapter } from "../../src/models/linear/linearMaps.ts"
import { inNf4, modelOf, models, qwen3, qwen36 } from "../models.ts"
import type { TrainingTask } from "./measured.ts"

export interface Sizes {
  readonly models: { readonly [name: string]: ModelConfig }
  /** Of the forward pass. */
  readonly tokens: number
  readonly prompt: number
  readonly newTokens: number
  readonly steps: ReadonlyArray<number>
  readonly trainings: { readonly [work: string]: TrainingTask }
  /** Rows and columns of the matrices whose product tells the device's peak. */
  readonly matrix: number
}

/** The models of these names, by default all. */
const chosen = (all: Sizes["models"], names: ReadonlyArray<string> = Object.keys(all)): Sizes["models"] =>
  Object.fromEntries(
    names.map(name => {
      const config = all[name]
      if (config === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(all).join(", ")}`)
      return [name, config]
    })
  )

type SizesOf = (names?: ReadonlyArray<string>) => Sizes

export const realDense: SizesOf = names => ({
  models: chosen(models, names),
  tokens: 128,
  prompt: 8,
  newTokens: 128,
  steps: [8, 16, 32, 64, 128],
  trainings: { training: { rows: 4, length: 512 } },
  matrix: 8192
})

export const realNf4: SizesOf = names => ({
  ...realDense(),
  models: chosen({ "Qwen3.6-27B": inNf4(qwen36) }, names),
  steps: [8],
  trainings: {
    "training/512": { rows: 1, length: 512 },
    "training/4096": { rows: 1, length: 4096 },
    "aligned/4": { rows: 1, length: 512, alignedLayers: 4 },
    "aligned/64": { rows: 1, length: 512, alignedLayers: 64 }
  }
})

const tinyFields = {
  hidden_size: 64,
  intermediate_size: 128,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 301
}

export const tinyDense: SizesOf = names => ({
  models: chosen({ tiny: modelOf({ ...qwen3, ...tinyFields, num_hidden_layers: 2 }) }, names),
  tokens: 16,
  prompt: 4,
  newTokens: 12,
  steps: [2, 4],
  trainings: { training: { rows: 2, length: 16 } },
  matrix: 128
})

export const tinyNf4: SizesOf = names => ({
  ...tinyDense(),
  models: chosen(
    {
      tiny: inNf4(
        modelOf({
          ...encodeModelConfig(qwen36),
          ...tinyFields,
          num_hidden_layers: 4,
          layer_types: null,
          linear_num_key_heads: 2,
          linear_num_value_heads: 4,
          linear_key_head_dim: 16,
          linear_value_head_dim: 16
        })
      )
    },
    names
  ),
  steps: [4],
  trainings: {
    "training/16": { rows: 1, length: 16 },
    "training/32": { rows: 1, length: 32 },
    "aligned/2": { rows: 1, length: 16, alignedLayers: 2 },
    "aligned/4": { rows: 1, length: 16, alignedLayers: 4 }
  }
})

/** LoRA of all linear maps of the layers, by their names for PEFT as well. */
export const adapterFor = (config: ModelConfig): Adapter => ({
  ...adapterOf(Schema.decodeSync(AdapterSettings)({ r: 4, trainMask: false }), 0),
  targetModules: [...new Set(allLinearModules(config).map(({ module }) => module.split(".").at(-1)!))]
})

/** What looks at a masked-diffusion training from time to time: texts that the model writes, and panels. */
import { Schema } from "effect"
import type { FileError } from "../../formats/fileError.ts"
import type { Tokenizer } from "../../tokens/tokenizer.ts"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import type { ModelConfig } from "../../models/config.ts"
import type { Observer } from "../../training/loop.ts"
import { type PanelData, PanelSettings, trainingPanels } from "./panels.ts"
import { generationProbe, ProbeSettings } from "./probe.ts"

export const ObserverSettings = Schema.Struct({ ...ProbeSettings.fields, ...PanelSettings.fields })
export type ObserverSettings = typeof ObserverSettings.Type

/** Those that the settings ask for. */
export const diffusionObservers = (
  engine: Engine,
  config: ModelConfig,
  settings: ObserverSettings,
  { seed, tokenizer, ...data }: PanelData & { readonly seed: number; readonly tokenizer: Tokenizer }
): ReadonlyArray<Observer<EngineError | FileError>> => [
  ...(settings.genSampleEverySteps === 0
    ? []
    : [
        generationProbe(engine, config, settings, {
          seed,
          tokenizer,
          blockSize: data.halves === true ? config.attentionBlockSize : undefined
        })
      ]),
  ...(settings.panelEverySteps === 0 ? [] : [trainingPanels(engine, config, settings, data)])
]

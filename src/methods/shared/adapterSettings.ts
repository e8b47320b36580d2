/** How adapters of low rank are trained over weights that stay as they are. Names are PEFT's, in our spelling. */
import { Schema } from "effect"
import { TextList } from "../../config/commaList.ts"
import { Positive, PositiveInt, setting } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import type { Adapter } from "../../models/linear/linearMaps.ts"

export const AdapterSettings = Schema.Struct({
  /** Rank */
  r: setting(PositiveInt, 16),
  /** The adapter's output is multiplied by `lora_alpha / sqrt(r)` or `lora_alpha / r`, see `use_rslora` */
  loraAlpha: setting(Positive, 32),
  /** Share of an adapter's inputs that each pass of the training drops */
  loraDropout: setting(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 0.99 })), 0.05),
  /** Scales by `lora_alpha / sqrt(r)` (rsLoRA) instead of `lora_alpha / r` */
  useRslora: setting(Schema.Boolean, true),
  /** Also trains a length for each row of the weight (DoRA) */
  useDora: setting(Schema.Boolean, false),
  /** Linear maps that are adapted, by their names or the ends of their names behind a dot: `q_proj,v_proj` or a list; `auto`: all linear maps of the layers */
  targetModules: setting(TextList, "auto"),
  /** Other ranks, by a regular expression for the end of a linear map's name */
  rankPattern: setting(Schema.Record(Schema.String, PositiveInt), {}),
  /** Other alphas, likewise */
  alphaPattern: setting(Schema.Record(Schema.String, Positive), {}),
  /** Trains the mask's row of the embedding, too, which the base has never read */
  trainMask: setting(Schema.Boolean, true)
})
export type AdapterSettings = typeof AdapterSettings.Type

export const AdapterParameters = snakeKeys(AdapterSettings)

/** The adapter that they describe. */
export const adapterOf = (settings: AdapterSettings, mask: number): Adapter => ({
  targetModules: settings.targetModules.join() === "auto" ? "auto" : settings.targetModules,
  r: settings.r,
  alpha: settings.loraAlpha,
  rankStabilised: settings.useRslora,
  dropout: settings.loraDropout,
  dora: settings.useDora,
  rankPattern: settings.rankPattern,
  alphaPattern: settings.alphaPattern,
  trainableTokens: settings.trainMask ? [mask] : []
})

/** The settings of block diffusion: masks block by block, alignment with the teacher, and what is looked at from time to time. */
import { Schema } from "effect"
import { consistent } from "../../config/consistent.ts"
import { PositiveInt, setting } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { trainNames, trainRules } from "../../training/model.ts"
import { alignmentFields, alignmentRules } from "../masked/settings.ts"
import { DiffusionSettings } from "../shared/masks/objective.ts"
import { ObserverSettings } from "../shared/observers.ts"
import { boundFields, freshAreTrained } from "../shared/settings.ts"
import { BlockCorruptionSettings } from "./corruption.ts"

/** A sequence draws no share of its own, and no layer reads from left to right. */
const { hybridBidirectional: _hybrid, ...ofTraining } = boundFields
const {
  mdmCurriculumSteps: _steps,
  mdmMaxMaskRatio: _most,
  mdmMinMaskRatio: _least,
  ...ofLoss
} = DiffusionSettings.fields

export const bd3lmFields = {
  ...ofTraining,
  /** Tokens of a block (BD3-LM's `block_size`) */
  attentionBlockSize: setting(PositiveInt, 32),
  ...ObserverSettings.fields,
  ...ofLoss,
  ...BlockCorruptionSettings.fields,
  ...alignmentFields
} as const

/** Parameters of the stage `train` with this method. */
export const Bd3lmParameters = snakeKeys(
  Schema.Struct({ ...bd3lmFields, method: Schema.Literal("bd3lm") }),
  trainNames
).check(
  consistent(...trainRules, freshAreTrained, ...alignmentRules, ({ samplingEpsMax, samplingEpsMin }) =>
    samplingEpsMin <= samplingEpsMax
      ? undefined
      : { fields: ["sampling_eps_min", "sampling_eps_max"], why: "the smallest time is above the largest" }
  )
)

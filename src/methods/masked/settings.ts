/** The settings of masked diffusion: masks, alignment with the teacher, trajectories, and what is looked at from time to time. */
import { Schema } from "effect"
import { numberList } from "../../config/commaList.ts"
import { Count, PositiveInt, setting } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { trajectoryModes } from "../../artifacts/kinds.ts"
import { trainNames } from "../../training/model.ts"
import { AlignmentSettings } from "../shared/alignment/settings.ts"
import { DiffusionSettings } from "../shared/masks/objective.ts"
import { TrajectorySettings } from "../shared/trajectories/terms.ts"
import { ObserverSettings } from "../shared/observers.ts"
import { boundFields } from "../shared/settings.ts"

/** Fields of representation alignment. */
export const alignmentFields = {
  ...AlignmentSettings.fields,
  /** Layers that are aligned, `7,14,21,28` or a list: 0 is the embedding, 1 the output of the first layer; by default 1 to the last */
  alignLayers: Schema.optionalKey(numberList(Count)),
  /** Layers of the model that `align_layers` is written for; in a model of N layers, layer l becomes round(l N / this). By default the model's own */
  layersOf: Schema.optionalKey(PositiveInt),
  /** Control: each token is aligned with the teacher's state of a token of another document */
  shuffleTeacher: setting(Schema.Boolean, false)
} as const

/** Fields of masks along trajectories. */
export const trajectoryFields = {
  /** Masks follow trajectories of this kind (`random` is the control) instead of chance */
  trajectoryMode: setting(Schema.Literals(["none", ...trajectoryModes]), "none"),
  ...TrajectorySettings.fields,
  /** Lengths of blocks, tokens, `16,24,32` or a list: over the training one after the other, with straight lines between */
  trajectoryProgressiveBlockSizes: setting(numberList(PositiveInt), [16, 24, 32])
} as const

/** All fields but the method's name. */
export const maskedFields = {
  ...boundFields,
  ...ObserverSettings.fields,
  ...DiffusionSettings.fields,
  ...alignmentFields,
  ...trajectoryFields
} as const
export type MaskedSettings = Schema.Struct<typeof maskedFields>["Type"]

/** Parameters of the stage `train` with this method. */
export const MaskedParameters = snakeKeys(
  Schema.Struct({ method: setting(Schema.Literal("masked"), "masked"), ...maskedFields }),
  trainNames
)

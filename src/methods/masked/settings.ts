/** The settings of masked diffusion: masks, alignment with the teacher, trajectories, and what is looked at from time to time. */
import { Schema } from "effect"
import { numberList } from "../../config/commaList.ts"
import { consistent, type Contradiction } from "../../config/consistent.ts"
import { Count, PositiveInt, setting } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { trajectoryModes } from "../../artifacts/kinds.ts"
import { trainNames, trainRules } from "../../training/model.ts"
import { AdapterParameters } from "../shared/adapterSettings.ts"
import { AlignmentSettings, isAligned } from "../shared/alignment/settings.ts"
import { DiffusionSettings } from "../shared/masks/objective.ts"
import { TrajectorySettings } from "../shared/trajectories/terms.ts"
import { ObserverSettings } from "../shared/observers.ts"
import { boundFields, freshAreTrained } from "../shared/settings.ts"

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
  /** Masks follow trajectories of this kind (`random` is the control, `decoded` the order in which the teacher wrote responses of its own) instead of being drawn at random */
  trajectoryMode: setting(Schema.Literals(["none", ...trajectoryModes]), "none"),
  /**
   * The model whose orders, and whose responses, these are: `base`, the row's base model, asked like a diffusion model; `self`, the row's own model, which is then trained without
   * trajectories first; or another model, named as in `model_path`. By default `base`
   */
  trajectoryTeacher: Schema.optionalKey(Schema.NonEmptyString),
  /** Which responses are learnt: those of the `data`, or the teacher's `own`, which it decodes block by block. By default those of the data */
  trajectoryResponse: Schema.optionalKey(Schema.Literals(["data", "own"])),
  ...TrajectorySettings.fields,
  /** Lengths of blocks, tokens, `16,24,32` or a list: over the training one after the other, interpolated linearly */
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

/** What does not go together in alignment. */
export const alignmentRules: ReadonlyArray<
  (settings: Schema.Struct<typeof alignmentFields>["Type"]) => Contradiction | undefined
> = [
  settings =>
    settings.shuffleTeacher && !isAligned(settings)
      ? { fields: ["shuffle_teacher", "repr_align_wt"], why: "nothing is aligned with the teacher" }
      : undefined,
  ({ reprAlignContrastive, reprAlignLossMode }) =>
    reprAlignContrastive && reprAlignLossMode !== "cosine"
      ? { fields: ["repr_align_contrastive", "repr_align_loss_mode"], why: "InfoNCE takes the place of a distance" }
      : undefined,
  ({ replayBufferCapacity: capacity, replayWarmupSteps: warmUp }) =>
    capacity > 0 && capacity < warmUp
      ? {
          fields: ["replay_buffer_capacity", "replay_warmup_steps"],
          why: "the buffer never holds enough to be replayed"
        }
      : undefined
]

/** What does not go together. */
export const maskedRules: ReadonlyArray<(settings: MaskedSettings) => Contradiction | undefined> = [
  ...trainRules,
  freshAreTrained,
  ({ trajectoryMode, trajectoryResponse }) =>
    trajectoryMode === "decoded" && trajectoryResponse !== "own"
      ? {
          fields: ["trajectory_mode"],
          why: "a teacher decodes responses of its own alone; set trajectory_response to own, or choose scheduled, entropy, lr or random"
        }
      : undefined,
  ({ trajectoryMaxMaskRatio: most, trajectoryMinMaskRatio: least, trajectoryMode }) =>
    trajectoryMode === "none" || least <= most
      ? undefined
      : {
          fields: ["trajectory_min_mask_ratio", "trajectory_max_mask_ratio"],
          why: "the lowest share of masks is above the highest"
        },
  ({ mdmLoss, trajectoryMode }) =>
    trajectoryMode === "none" || mdmLoss !== "elbo"
      ? undefined
      : { fields: ["trajectory_mode", "mdm_loss"], why: "losses bound the likelihood only with random masks" },
  ({ trajectoryMode, trajectoryProgressiveBlockSizes: sizes, trajectoryUseBlockwise: blockwise }) =>
    trajectoryMode === "none" || !blockwise || sizes.length > 0
      ? undefined
      : {
          fields: ["trajectory_use_blockwise", "trajectory_progressive_block_sizes"],
          why: "there is no length of a block"
        },
  ...alignmentRules
]

/** Parameters of the stage `train` with this method. */
export const MaskedParameters = snakeKeys(
  Schema.Struct({
    /**
     * How the diffusion model is made: by masks alone, by latent diffusion beside a frozen model (`ldlm`), with a noise adapter (`vfm`), by masks with a latent model
     * beside them (`cola`), or by masks in blocks, each behind clean ones (`bd3lm`)
     */
    method: setting(Schema.Literal("masked"), "masked"),
    ...maskedFields,
    /** Trains adapters of low rank (LoRA) and nothing else; fields as below. In files of the field it is `model.qlorafy_config` */
    adapter: Schema.optionalKey(AdapterParameters)
  }),
  trainNames
).check(
  consistent(...maskedRules, ({ adapter, pretrained }) =>
    adapter === undefined || pretrained
      ? undefined
      : { fields: ["adapter", "pretrained"], why: "what is adapted would stay as it was drawn" }
  )
)

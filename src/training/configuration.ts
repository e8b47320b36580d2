/**
 * The configuration of a training, `configs/compare_50x_*.yaml`: the groups and names of the field's own files (Open-dLLM and its forks), as far as this
 * program takes them. A field that it does not take is refused with the reason, never passed over. docs/configuration.md is made from this.
 */
import { Schema } from "effect"
import { numberList } from "../data/commaList.ts"
import { DataType } from "../data/records.ts"
import { ChatTemplate } from "../data/sequences.ts"
import { Count, optional, PositiveInt, required, setting } from "../data/setting.ts"
import { snakeKeys } from "../data/snakeKeys.ts"
import { modes } from "../diffusion/trajectory.ts"
import { methodNames } from "../models/latent/latentModel.ts"
import { trainNames, TrainSettings } from "./model.ts"
import { AlignmentSettings } from "./objectives/alignmentSettings.ts"
import { DiffusionSettings } from "./objectives/diffusion.ts"
import { ObserverSettings } from "./observers.ts"
import { TrajectorySettings } from "./objectives/trajectoryTerms.ts"
import { ColaSettings } from "./objectives/cola.ts"
import { LdlmSettings } from "./objectives/ldlm.ts"
import { VfmSettings } from "./objectives/vfm.ts"
import { unsupportedData, unsupportedLdlm, unsupportedModel, unsupportedTrain } from "./unsupported.ts"

/** Fields of the group `train`, by what they are about. */
export const trainSections = {
  "The training": {
    method: setting(
      Schema.Literals(methodNames),
      "masked",
      "How the diffusion model is made: by masks alone, by latent diffusion beside a frozen model (`ldlm`), with a noise adapter (`vfm`), or by masks with a latent model beside them (`cola`)"
    ),
    ...TrainSettings.fields,
    seedOffset: setting(Count, 0, "Added to the seed: which of several trainings of one row this is (`--seeds`)"),
    pretrained: setting(
      Schema.Boolean,
      true,
      "Whether training starts from the weights of the autoregressive model; false (a control) from fresh ones of its architecture"
    ),
    attentionBlockSize: optional(
      PositiveInt,
      "Block-causal attention (a control): a token sees those of its own block of so many and of earlier blocks of its document. By default as the model's `config.json` says, which is all of the document where it says nothing"
    ),
    evalDraws: setting(
      PositiveInt,
      8,
      "Draws of masks per held-out sequence for the bound that is measured during training"
    ),
    evalSequences: optional(PositiveInt, "Held-out sequences that it is measured on, at even distances; by default all")
  },
  "What is looked at": ObserverSettings.fields,
  "Masked diffusion": DiffusionSettings.fields,
  "Representation alignment": {
    ...AlignmentSettings.fields,
    alignLayers: optional(
      numberList(Count),
      "Layers that are aligned, `7,14,21,28` or a list: 0 is the embedding, 1 the output of the first layer; by default 1 to the last"
    ),
    layersOf: optional(
      PositiveInt,
      "Layers of the model that `align_layers` is written for; in a model of N layers, layer l becomes round(l N / this). By default the model's own"
    ),
    shuffleTeacher: setting(
      Schema.Boolean,
      false,
      "Control: each token is aligned with the teacher's state of a token of another document"
    )
  },
  Cola: ColaSettings.fields,
  Trajectories: {
    trajectoryMode: setting(
      Schema.Literals(["none", ...modes]),
      "none",
      "Masks follow trajectories of this kind (`random` is the control) instead of chance"
    ),
    ...TrajectorySettings.fields,
    trajectoryProgressiveBlockSizes: setting(
      numberList(PositiveInt),
      [16, 24, 32],
      "Lengths of blocks, tokens, `16,24,32` or a list: over the training one after the other, with straight lines between"
    )
  }
} as const

/** Groups within the group `train`, of one method each. */
export const methodFields = { ldlm: LdlmSettings.fields, vfm: VfmSettings.fields } as const

/** What a training does. */
export const TrainConfig = Schema.Struct({
  ...trainSections.Cola,
  ldlm: optional(
    snakeKeys(Schema.Struct({ ...LdlmSettings.fields, ...unsupportedLdlm })),
    "Of the method `ldlm`; fields as below"
  ),
  vfm: optional(snakeKeys(VfmSettings), "Of the method `vfm`; fields as below"),
  ...trainSections["The training"],
  ...trainSections["What is looked at"],
  ...trainSections["Masked diffusion"],
  ...trainSections["Representation alignment"],
  ...trainSections.Trajectories
})
export type TrainConfig = typeof TrainConfig.Type

/** Settings of one method: none of them changes a training by another, and the method itself needs them. */
const ofMethod = Schema.makeFilter(({ colaWt, ldlm, method, vfm }: TrainConfig) => {
  const settings = [
    { owner: "ldlm", field: "ldlm", given: ldlm !== undefined, needed: "its group: `ldlm: {}` takes all defaults" },
    { owner: "vfm", field: "vfm", given: vfm !== undefined, needed: "its group: `vfm: {}` takes all defaults" },
    { owner: "cola", field: "cola_wt", given: colaWt !== 0, needed: "a weight: set cola_wt above 0" }
  ] as const
  return settings.flatMap(({ field, given, needed, owner }) => {
    if (given === (method === owner)) return []
    return given
      ? [{ path: [field], issue: `belongs to the method ${owner}, but method is ${method}; leave it out` }]
      : [{ path: ["method"], issue: `${owner} needs ${needed}` }]
  })
})

/** What the stage `train` takes: the group `train`. */
export const TrainParameters = snakeKeys(
  Schema.Struct({ ...TrainConfig.fields, ...unsupportedTrain }),
  trainNames
).check(ofMethod)

/** Fields of the group `model`. */
export const modelFields = {
  modelPath: required(
    Schema.String,
    "The autoregressive model: `org/name` on the hub, `hf://models/org/name@revision`, `file:DIRECTORY`, or `embedded:teacher`"
  ),
  ...unsupportedModel
} as const

/** Fields of the group `data`. */
export const dataFields = {
  trainPath: required(
    Schema.String,
    "Documents: `hf://datasets/org/name@revision/path`, `file:PATH`, an https address, or `embedded:NAME`"
  ),
  trainSize: optional(PositiveInt, "Only so many documents, the first ones"),
  dataType: setting(DataType, "plaintext", "What a record is"),
  textKeys: optional(Schema.String, "The field that holds the text or the turns; by default `text`, or `messages`"),
  chatTemplate: optional(ChatTemplate, "How a conversation is written as text"),
  maxSeqLen: required(PositiveInt, "Longest sequence, in tokens; a longer document becomes several"),
  ...unsupportedData
} as const

/** A row of the grid. */
export const RowConfig = Schema.Struct({
  model: snakeKeys(Schema.Struct(modelFields)),
  data: snakeKeys(Schema.Struct(dataFields)),
  train: TrainParameters
})
export type RowConfig = typeof RowConfig.Type

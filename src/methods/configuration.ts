/**
 * The configuration of a row of the grid, `configs/compare_50x_*.yaml`: the groups and names of the field's own files (Open-dLLM and its forks), as far as this
 * program takes them. A field that it does not take is refused with the reason, never passed over. docs/configuration.md is made from this.
 */
import { Schema } from "effect"
import { DataType } from "../formats/records.ts"
import { refusing } from "../config/refusing.ts"
import { quantisationFields } from "../config/quantisation.ts"
import { AdapterSettings } from "./shared/adapterSettings.ts"
import { consistent } from "../config/consistent.ts"
import { ChatTemplate, LongResponses } from "../tokens/sequences.ts"
import { PositiveInt, setting } from "../config/setting.ts"
import { snakeKeys } from "../config/snakeKeys.ts"
import { byMethod } from "../config/byMethod.ts"
import { settings } from "./settings.ts"
import { unsupportedData, unsupportedModel, unsupportedTrain } from "./unsupported.ts"

/** Of QLoRA: how the base is quantised, and its adapters. */
export const QlorafySettings = Schema.Struct({
  ...AdapterSettings.fields,
  ...quantisationFields
})

/** Fields of the group `model`. */
export const modelFields = {
  /** The autoregressive model: `org/name` on the hub, `hf://models/org/name@revision`, `file:DIRECTORY`, or `embedded:teacher` */
  modelPath: Schema.String,
  /** An adapter in the layout of PEFT over that model, named in the same way; the training continues it instead of a new one */
  adapterPath: Schema.optionalKey(Schema.String),
  /** QLoRA: the weights of the layers' linear maps are quantised to NF4 once, stay as they are, and adapters of low rank are trained over them */
  enableQlorafy: setting(Schema.Boolean, false),
  /** Settings of QLoRA; the fields are below */
  qlorafyConfig: Schema.optionalKey(snakeKeys(QlorafySettings))
} as const

/** Fields of the group `data`. */
export const dataFields = {
  /** Documents: `hf://datasets/org/name@revision/path`, `file:PATH`, an https address, or `embedded:NAME` */
  trainPath: Schema.String,
  /** Only this many documents, the first ones */
  trainSize: Schema.optionalKey(PositiveInt),
  /** Documents to evaluate on, disjoint from those of `train_path`, for `convert`; the rows of a grid have their profile's */
  evalPath: Schema.optionalKey(Schema.String),
  /** Only this many of them, the first ones */
  evalSize: Schema.optionalKey(PositiveInt),
  /** What a record is */
  dataType: setting(DataType, "plaintext"),
  /** The field that holds the text or the turns, by default `text`, or `messages`; for a prompt and its response two fields, by default `prompt,response` */
  textKeys: Schema.optionalKey(Schema.String),
  /** How a conversation is written as text */
  chatTemplate: Schema.optionalKey(ChatTemplate),
  /** What happens to a response that does not fit into `max_seq_len` behind its prompt: `refuse` (the default), an error that names it; or `cut`, its beginning is learnt */
  longResponses: Schema.optionalKey(LongResponses),
  /** Longest sequence, in tokens; a longer document becomes several */
  maxSeqLen: PositiveInt
} as const

/** A row of the grid. */
export const RowConfig = Schema.Struct({
  model: refusing(
    snakeKeys(Schema.Struct(modelFields)).check(
      consistent(({ enableQlorafy, qlorafyConfig }) =>
        enableQlorafy || qlorafyConfig === undefined
          ? undefined
          : { fields: ["enable_qlorafy", "qlorafy_config"], why: "without QLoRA its settings say nothing" }
      )
    ),
    unsupportedModel
  ),
  data: refusing(snakeKeys(Schema.Struct(dataFields)), unsupportedData),
  train: refusing(byMethod("method", "masked", settings), unsupportedTrain)
})
export type RowConfig = typeof RowConfig.Type

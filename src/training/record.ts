/** `training.json`, the record of a training that lies beside the model's files, as reports read it. The stage adds what it knows of its data. */
import { Schema } from "effect"
import { Count } from "../config/setting.ts"

export const recordFile = "training.json"

export const TrainingRecord = Schema.Struct({
  /** Numeric class. */
  engine: Schema.String,
  /** Of the model, and those of them that were trained. */
  parameters: Count,
  trainedParameters: Count,
  /** Steps, and those of them that changed nothing. */
  step: Count,
  skipped: Count,
  /** Tokens that were read. */
  tokens: Count,
  /** Those whose prediction counted in the loss. */
  labelled: Count
})
export type TrainingRecord = typeof TrainingRecord.Type

/** The schema of a profile's configuration file, `configs/NAME.yaml`. */
import { Schema } from "effect"
import { DataType } from "./records.ts"
import { PositiveInt } from "./setting.ts"

/** A source of documents, as the stage `download-documents` takes it. */
const Corpus = Schema.Struct({
  source: Schema.String,
  sha256: Schema.optionalKey(Schema.String),
  dataType: Schema.optionalKey(DataType),
  textKey: Schema.optionalKey(Schema.String),
  rows: Schema.optionalKey(PositiveInt)
})
export type Corpus = typeof Corpus.Type

/** Parameters of a stage, which decodes them itself. */
const Parameters = Schema.Record(Schema.String, Schema.Unknown)

export const ProfileConfig = Schema.Struct({
  data: Schema.Struct({
    /** What all rows are evaluated on; disjoint from what they are trained on. */
    heldOut: Corpus,
    /** Problems with answers that a program can check. */
    reasoning: Schema.optionalKey(Corpus),
    tokenizer: Schema.Struct({ source: Schema.String, sha256: Schema.optionalKey(Schema.String) })
  }),
  /** Laid on the configuration of every row: what depends on the size of the model and the machine. null takes a field away. */
  rows: Schema.Struct({
    model: Schema.optionalKey(Parameters),
    data: Schema.optionalKey(Parameters),
    train: Schema.optionalKey(Parameters)
  }),
  /** Of the stages of these names. */
  trajectories: Schema.optionalKey(Parameters),
  evaluate: Schema.optionalKey(Parameters),
  benchmark: Schema.optionalKey(Parameters)
})
export type ProfileConfig = typeof ProfileConfig.Type

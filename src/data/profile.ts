/** The schema of a profile's configuration file, `configs/NAME.yaml`. */
import { Schema } from "effect"
import { DataType } from "./records.ts"
import { ChatTemplate } from "./sequences.ts"

const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))

/** A source of documents, as the stage `download-documents` takes it. */
const Corpus = Schema.Struct({
  source: Schema.String,
  sha256: Schema.optionalKey(Schema.String),
  dataType: Schema.optionalKey(DataType),
  textKey: Schema.optionalKey(Schema.String),
  rows: Schema.optionalKey(PositiveInt)
})

export const ProfileConfig = Schema.Struct({
  data: Schema.Struct({
    /** What the rows of the grid are trained on. */
    corpus: Corpus,
    /** What they are evaluated on; disjoint. */
    heldOut: Corpus,
    /** Problems with answers that a program can check. */
    reasoning: Schema.optionalKey(Corpus),
    tokenizer: Schema.Struct({ source: Schema.String, sha256: Schema.optionalKey(Schema.String) }),
    /** Longest sequence, in tokens. */
    maxSeqLen: PositiveInt,
    chatTemplate: Schema.optionalKey(ChatTemplate)
  })
})
export type ProfileConfig = typeof ProfileConfig.Type

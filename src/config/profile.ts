/** The schema of a profile's configuration file, `configs/NAME.yaml`. */
import { Schema } from "effect"
import { DataType } from "../formats/records.ts"
import { PositiveInt } from "./setting.ts"

const Source = Schema.Struct({ source: Schema.String, sha256: Schema.optionalKey(Schema.String) })

/** A source of documents. */
const Corpus = Schema.Struct({
  ...Source.fields,
  dataType: Schema.optionalKey(DataType),
  textKey: Schema.optionalKey(Schema.String),
  /** Only the first so many documents. */
  documents: Schema.optionalKey(PositiveInt)
})
export type Corpus = typeof Corpus.Type

/** Parameters of a stage, which decodes them itself. */
const Parameters = Schema.Record(Schema.String, Schema.Unknown)

const Sizes = Schema.Struct({
  model: Schema.optionalKey(Parameters),
  data: Schema.optionalKey(Parameters),
  train: Schema.optionalKey(Parameters)
})

/** Of the stages of these names; of `decode-responses`, `evaluate-likelihood`, `evaluate-texts` and, by the task, `evaluate-TASK`. */
const stages = {
  trajectories: Schema.optionalKey(Parameters),
  responses: Schema.optionalKey(Parameters),
  evaluate: Schema.optionalKey(
    Schema.Struct({
      likelihood: Schema.optionalKey(Parameters),
      texts: Schema.optionalKey(Parameters),
      tasks: Schema.optionalKey(Schema.Record(Schema.String, Parameters))
    })
  ),
  /** Of `examine`: asks the teacher the same tasks, token by token; with `draftTokens` once more, with drafts of the first row's model. */
  teacher: Schema.optionalKey(Parameters),
  benchmark: Schema.optionalKey(Parameters)
} as const

/** What a profile says of any data. */
export const Measurements = Schema.Struct({
  /** Laid on the configuration of every row: what depends on the size of the model and the machine. null takes a field away. */
  rows: Sizes,
  /** Laid on that of single rows, by the row's name. */
  row: Schema.optionalKey(Schema.Record(Schema.String, Sizes)),
  /** How often each row is trained, with seeds of its own, where `--seeds` does not say it. */
  seeds: Schema.optionalKey(PositiveInt),
  ...stages,
  /** Laid on all of this for a first look: less of everything. */
  quick: Schema.optionalKey(
    Schema.Struct({
      rows: Sizes,
      data: Schema.optionalKey(Schema.Struct({ examples: Parameters })),
      ...stages
    })
  )
})
export type Measurements = typeof Measurements.Type

export const ProfileConfig = Schema.Struct({
  data: Schema.Struct({
    /** What all rows are evaluated on; disjoint from what they are trained on. */
    heldOut: Corpus,
    /**
     * What all rows are trained on beside the documents: prompts with their responses, from a source or made by `make-problems`. Where there are some, a teacher's own responses
     * are to these prompts alone
     */
    examples: Schema.optionalKey(Schema.Union([Corpus, Schema.Struct({ problems: Parameters })])),
    /** The problems of each task that all rows are asked: rows as the task reads them. */
    tasks: Schema.optionalKey(Schema.Record(Schema.String, Source)),
    tokenizer: Source
  }),
  ...Measurements.fields
})
export type ProfileConfig = typeof ProfileConfig.Type

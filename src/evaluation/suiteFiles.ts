/** What the stages of the pipeline `evaluate` hand to each other, and what they write: lines of JSON, and `score.json`. */
import { Schema } from "effect"
import { Count } from "../config/setting.ts"

/** A line of `questions.jsonl`. */
export const Question = Schema.Struct({
  id: Schema.NonEmptyString,
  prompt: Schema.String,
  /** What stands behind a gap, and a text that has as many tokens, where the gap's length is told. */
  gap: Schema.optionalKey(Schema.Struct({ suffix: Schema.String, lengthOf: Schema.optionalKey(Schema.String) })),
  /** Strings behind which nothing of an answer counts. */
  stops: Schema.optionalKey(Schema.Array(Schema.NonEmptyString))
})
export type Question = typeof Question.Type

/** What is known of a sample beside its text. */
export const SampleNote = Schema.Struct({
  task_id: Schema.String,
  /** From 0. */
  sample: Count,
  /** Tokens until the end of text, which is one of them, or those of the gap; and the forward passes that they took. */
  tokens: Count,
  forwards: Count,
  /** Its share of the time that its batch took. A measurement: the same sample made anew has another. */
  ms: Schema.Finite
})
export type SampleNote = typeof SampleNote.Type

/** A line of a file of samples, as OpenAI's and evalplus' tools write and read it. */
export const Completion = Schema.Struct({ task_id: Schema.NonEmptyString, completion: Schema.String })
export type Completion = typeof Completion.Type

/** A line of `attempts.jsonl`: in place of an outcome there may be a program. */
export const Attempt = Schema.Struct({
  ...Completion.fields,
  outcome: Schema.optionalKey(Schema.Literals(["right", "wrong", "missing"])),
  program: Schema.optionalKey(Schema.String)
})
export type Attempt = typeof Attempt.Type

/** A line of `samples.jsonl_results.jsonl`. */
export const Judged = Schema.Struct({ ...Completion.fields, result: Schema.String, passed: Schema.Boolean })
export type Judged = typeof Judged.Type

const Share = Schema.Struct({
  value: Schema.Finite,
  /** 95 % interval over problems, by the bootstrap. One problem alone has none. */
  low: Schema.optionalKey(Schema.Finite),
  high: Schema.optionalKey(Schema.Finite)
})
export type Share = typeof Share.Type

/** `score.json` of a task with answers to choose from. */
export const ChoicesResult = Schema.Struct({
  task: Schema.String,
  about: Schema.String,
  weights: Schema.String,
  /** Draws of masks for each choice: the bounds are estimates. */
  draws: Count,
  problems: Count,
  /** How often the right choice has the smallest bound, and the smallest for each byte of its text. */
  accuracy: Share,
  accuracyByLength: Share,
  byProblem: Schema.Array(
    Schema.Struct({
      id: Schema.String,
      answer: Count,
      chosen: Count,
      chosenByLength: Count,
      /** Bounds of the choices' negative log-likelihood behind the prompt. */
      nats: Schema.Array(Schema.Finite)
    })
  )
})
export type ChoicesResult = typeof ChoicesResult.Type

/** How samples were made. */
export const SampleSettings = Schema.Struct({
  /** Of the model, or `autoregressive`: token by token. */
  method: Schema.String,
  newTokens: Count,
  /** Denoising steps; left out token by token. */
  steps: Schema.optionalKey(Count),
  seed: Schema.Int,
  decoding: Schema.Record(Schema.String, Schema.Unknown),
  /** Token by token, so many were drafted at once, by the model of that digest. */
  draftTokens: Schema.optionalKey(Count),
  drafter: Schema.optionalKey(Schema.String)
})
export type SampleSettings = typeof SampleSettings.Type

/** `score.json` of a task whose answers are written. */
export const SuiteResult = Schema.Struct({
  task: Schema.String,
  /** Which protocol was run, and what is known of it. */
  protocol: Schema.String,
  about: Schema.String,
  /** Digest of the model, and how it decoded. Left out for samples that were made elsewhere. */
  weights: Schema.optionalKey(Schema.String),
  settings: Schema.optionalKey(SampleSettings),
  /** Version of the Python that ran the programs. */
  python: Schema.optionalKey(Schema.String),
  /** How many problems were asked, of how many; a partial set is not the benchmark. */
  problems: Count,
  of: Schema.optionalKey(Count),
  partial: Schema.Boolean,
  /** By k, mean over problems. */
  passAtK: Schema.Array(Schema.Struct({ k: Count, ...Share.fields })),
  /** Tokens of the samples for each forward pass that they took, and for each second. */
  tokensPerForward: Schema.optionalKey(Schema.Finite),
  tokensPerSecond: Schema.optionalKey(Schema.Finite),
  /** Samples of each problem, how many are right, and what they took: as in `SampleNote`, summed. */
  byProblem: Schema.Array(
    Schema.Struct({
      task_id: Schema.String,
      samples: Count,
      right: Count,
      tokens: Schema.optionalKey(Count),
      forwards: Schema.optionalKey(Count)
    })
  ),
  /** How often each result was found, without what an exception said. */
  results: Schema.Record(Schema.String, Count)
})
export type SuiteResult = typeof SuiteResult.Type

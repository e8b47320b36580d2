/** What the stages that measure a model write, as reports read it: `likelihood.json`, `references.json`, `texts.json`, `score.json` and `benchmark.json`. */
import { Schema } from "effect"
import { Count } from "../config/setting.ts"
import { Threshold } from "../decoding/accepting.ts"
import { Mean } from "./parts.ts"

const Finite = Schema.Finite

/** What is known of one of some texts. */
export const ScoredText = Schema.Struct({
  /** New tokens up to and with the end of text. */
  tokens: Count,
  /** Their negative log-likelihood under the autoregressive teacher, and under an n-gram model that never saw a neural one. */
  teacherNats: Finite,
  ngramNats: Finite,
  /** See src/evaluation/diversity.ts. */
  pairs: Count,
  ownTokens: Count,
  ownPairs: Count,
  repetition: Finite,
  entropy: Finite
})
export type ScoredText = typeof ScoredText.Type

/** Some texts behind the same prompts, and what judges say of them. */
export const ScoredTexts = Schema.Struct({
  distinctTokens: Count,
  distinctPairs: Count,
  /** In the order of the prompts. */
  texts: Schema.NonEmptyArray(ScoredText)
})
export type ScoredTexts = typeof ScoredTexts.Type

/** The first of some texts. */
const sample = Schema.Struct({ prompt: Schema.String, text: Schema.String })

/** Texts made in some number of steps. */
export const Generation = Schema.Struct({
  /** Steps that were allowed, and forward passes that were made. */
  steps: Count,
  forwards: Count,
  /** Tokens of each text. */
  newTokens: Count,
  ...ScoredTexts.fields,
  sample
})
export type Generation = typeof Generation.Type

/** Upper bound of the negative log-likelihood of held-out text, estimated. */
export const Bound = Schema.Struct({
  /** Nats per token that may be masked, and its standard error by the draws of masks. */
  nats: Finite,
  standardError: Finite,
  tokens: Count,
  bitsPerByte: Finite,
  /** Which estimate this is. */
  estimator: Schema.String
})

/** Text through an auto-encoder's latents and back, without noise: cross-entropy, nats per token, and share of tokens that come back. */
export const Reconstruction = Schema.Struct({ loss: Mean, accuracy: Mean, tokens: Count })

/** Losses of masked tokens by the share of masks, over the draws whose share lies above `from` and up to `to`. */
export const LossAtRatio = Schema.Struct({
  /** The middle of the band, which names it. */
  ratio: Finite,
  from: Finite,
  to: Finite,
  ...Mean.fields
})
export type LossAtRatio = typeof LossAtRatio.Type

/** A held-out document under a model: nats of the tokens that may be masked, these tokens, and the bytes of text that they stand for. */
export const DocumentNats = Schema.Struct({ nats: Finite, tokens: Count, bytes: Count })
export type DocumentNats = typeof DocumentNats.Type

/** Digest of the model that was measured. */
const weights = Schema.String

export const LikelihoodResult = Schema.Struct({
  weights,
  /** Left out where the method has no bound. */
  bound: Schema.optionalKey(Bound),
  /** The bound's parts, one per held-out document in their order. */
  documents: Schema.Array(DocumentNats),
  /** Nats, by bands of equal width; their mean is an estimate of the bound, by the same draws. */
  lossAtRatio: Schema.Array(LossAtRatio),
  /** 1 minus the cosine of the model's hidden states under masks and the teacher's on clean text. Left out where no teacher is known. */
  teacherDistance: Schema.optionalKey(Mean),
  /** Of the held-out text. Left out where there is no auto-encoder. */
  reconstruction: Schema.optionalKey(Reconstruction),
  /** Of the same weights with a causal mask on clean text, nats per token. */
  autoregressiveLoss: Mean
})
export type LikelihoodResult = typeof LikelihoodResult.Type

/** A model that says how likely held-out text is, token by token: its negative log-likelihood is no bound. */
export const Reference = Schema.Struct({
  model: Schema.Literals(["teacher", "unigram"]),
  /** Nats per token. */
  nats: Finite,
  bitsPerByte: Finite,
  documents: Schema.Array(DocumentNats)
})
export type Reference = typeof Reference.Type

/** The same held-out text as of the rows of a grid, under models to compare them with. */
export const ReferencesResult = Schema.Struct({ references: Schema.Array(Reference) })
export type ReferencesResult = typeof ReferencesResult.Type

export const TextsResult = Schema.Struct({
  weights,
  /** In the order of steps. */
  generations: Schema.Array(Generation)
})
export type TextsResult = typeof TextsResult.Type

/** What the texts of models are read beside: behind the same prompts, under the same judges. */
export const ReferenceTexts = Schema.Struct({
  /** Of the teacher. */
  weights,
  /** The true continuations. */
  heldOut: ScoredTexts,
  /** The teacher's own texts, token by token. */
  teacher: Schema.Struct({ ...ScoredTexts.fields, sample }),
  /** Tokens drawn one by one as often as they occur in the corpus. */
  unigram: ScoredTexts
})
export type ReferenceTexts = typeof ReferenceTexts.Type

/** How a response does: `missing` where it gives no answer in the expected form. */
export const Outcome = Schema.Literals(["right", "wrong", "missing"])
export type Outcome = typeof Outcome.Type

/** How fast answers were decoded: in so many steps, or by revealing in each step what reaches a threshold. */
export const OperatingPoint = Schema.Union([Schema.Struct({ steps: Count }), Schema.Struct({ threshold: Threshold })])
export type OperatingPoint = typeof OperatingPoint.Type

/** Answers to the problems of a task, made at one operating point. */
export const Answers = Schema.Struct({
  point: OperatingPoint,
  /** In the order of the problems. */
  responses: Schema.NonEmptyArray(
    Schema.Struct({
      outcome: Outcome,
      /** Until the end of text, which is one of them, and the forward passes that they took. */
      tokens: Count,
      forwards: Count
    })
  ),
  /** The first problem. */
  sample: Schema.Struct({ prompt: Schema.String, text: Schema.String, answer: Schema.String })
})
export type Answers = typeof Answers.Type

/** Problems of a task, answered at some operating points. */
export const TaskResult = Schema.Struct({
  weights,
  task: Schema.String,
  problems: Count,
  /** Tokens that an answer had room for. */
  answerTokens: Count,
  answers: Schema.NonEmptyArray(Answers),
  /** Of answers that a model verified: so many tokens were drafted at once, by the model of these weights. */
  drafts: Schema.optionalKey(Schema.Struct({ tokens: Count, weights }))
})
export type TaskResult = typeof TaskResult.Type

/** How many of the answers are right. */
export const rightOf = ({ responses }: Answers): number => responses.filter(({ outcome }) => outcome === "right").length

const sumOf = (all: ReadonlyArray<Answers>, field: "tokens" | "forwards"): number =>
  all.reduce((sum, { responses }) => responses.reduce((found, response) => found + response[field], sum), 0)

/** Those that took the most forward passes. */
export const slowest = ({ answers }: TaskResult): Answers =>
  answers.reduce((most, each) => (sumOf([each], "forwards") > sumOf([most], "forwards") ? each : most))

/** Tokens of answers, of several runs together, for each forward pass that they took. */
export const tokensPerForward = (...runs: ReadonlyArray<Answers>): number =>
  sumOf(runs, "tokens") / sumOf(runs, "forwards")

/** An operating point in words. */
export const pointText = (point: OperatingPoint): string =>
  "steps" in point ? `${point.steps} ${point.steps === 1 ? "step" : "steps"}` : `threshold ${point.threshold}`

/** One number of denoising steps. Times in milliseconds. */
export const Timing = Schema.Struct({
  steps: Count,
  newTokens: Count,
  /** Passes of the model in a call. */
  forwards: Count,
  /** Of each timed call, ascending. */
  milliseconds: Schema.Array(Finite),
  median: Finite,
  p10: Finite,
  p90: Finite,
  msPerForward: Finite,
  /** All tokens that were decoded, and those before the first end-of-text token alone. */
  tokensPerSecond: Finite,
  usefulTokensPerSecond: Finite,
  tokensPerForward: Finite,
  /** Operations of the forward passes in their time, as a share of the speed of a matrix product. */
  shareOfPeak: Finite
})
export type Timing = typeof Timing.Type

export const BenchmarkResult = Schema.Struct({
  /** Numeric class, and threads. */
  engine: Schema.String,
  threads: Count,
  weights,
  /** Texts per call. */
  batch: Count,
  /** Calls before the first that was timed, and timed ones of each number of steps at least. */
  warmUp: Count,
  repeats: Count,
  /** Largest resident memory of the process, MiB. */
  peakMiB: Finite,
  /** Speed of a large matrix product, measured in the same process, operations per second. */
  matmulPeak: Finite,
  /** Where and when, milliseconds since 1970; unknown in results of earlier versions. */
  machine: Schema.optionalKey(Schema.Struct({ processor: Schema.String, processors: Count, at: Finite })),
  results: Schema.Array(Timing)
})
export type BenchmarkResult = typeof BenchmarkResult.Type

/** The kinds of artifacts that stages exchange. */
import { Schema } from "effect"
import * as Artifact from "../pipeline/Artifact.ts"

/** Orders in which a response is revealed; see the stages `trajectories` and, for `decoded`, `decode-responses`. */
export const trajectoryModes = ["scheduled", "entropy", "lr", "random", "decoded"] as const

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** Text documents, prompts with responses, or conversations, as JSON Lines, JSON or Parquet files. */
export const Documents = Artifact.kind("documents", {
  metadata: Schema.Struct({
    documents: Count,
    /** UTF-8 bytes of their text. */
    bytes: Count
  })
})

/** `pins.json`: which texts a corpus consists of, by package, file and SHA-256; see assets/README.md. */
export const CorpusPins = Artifact.kind("corpus-pins", {
  metadata: Schema.Struct({ texts: Count, bytes: Count, tokens: Count })
})

/** `tokenizer.json`, with `tokenizer_config.json` where there is one. */
export const Tokenizer = Artifact.kind("tokenizer", {
  metadata: Schema.Struct({ vocabSize: Count })
})

/** The files of a model repository: configuration, safetensors, tokenizer. */
export const ModelFiles = Artifact.kind("model-files", {
  metadata: Schema.Struct({
    files: Count,
    /** Tensors in the safetensors files. */
    tensors: Count,
    parameters: Count
  })
})

/** An adapter in the layout of PEFT, beside it what a diffusion model is read by: `adapter_model.safetensors`, `adapter_config.json`, `diffusion_config.json`, the tokenizer, and `README.md`. */
export const PeftAdapter = Artifact.kind("peft-adapter", {
  metadata: Schema.Struct({ files: Count, parameters: Count })
})

/** `metrics.jsonl`, one line per step with its time, and the same as an event file for TensorBoard; where they were asked for, `generations.jsonl` and `panels.jsonl`. */
export const TrainingLog = Artifact.kind("training-log", {
  timed: true,
  metadata: Schema.Struct({ steps: Count })
})

/** One item per document, encoded by src/tokens/sequenceCodec.ts; the unit by which every later stage is keyed. */
export const TokenSequences = Artifact.chunkSet("token-sequences", {
  summary: ["documents", "sequences", "tokens"],
  metadata: Schema.Struct({
    documents: Count,
    sequences: Count,
    tokens: Count,
    /** Tokens that are learnt (may be masked, count in the loss). */
    learnt: Count,
    vocabSize: Count,
    maxSeqLen: Count
  })
})

/**
 * One item per sequence and layer: the teacher's states as bfloat16 [tokens, hiddenSize], little-endian; and one per sequence with its ids. See
 * src/methods/shared/anchors/anchors.ts.
 */
export const Anchors = Artifact.chunkSet("anchors", {
  summary: ["sequences", "tokens"],
  metadata: Schema.Struct({
    sequences: Count,
    tokens: Count,
    hiddenSize: Count,
    /** How many layers the teacher has. */
    numHiddenLayers: Count,
    /** Of these layers; 0 is the embedding. */
    layers: Schema.Array(Count)
  })
})

/** One item per sequence: the order in which a model reveals its response; see src/methods/shared/trajectories/trajectories.ts. */
export const Trajectories = Artifact.chunkSet("trajectories", {
  summary: ["trajectories", "tokens"],
  metadata: Schema.Struct({
    trajectories: Count,
    /** Sequences that have none: they are too short, or their response is not kept. */
    skipped: Count,
    /** Of the responses. */
    tokens: Count,
    /** Forward passes, summed over sequences. */
    forwards: Count,
    mode: Schema.Literals(trajectoryModes),
    maskId: Count,
    /** `vocabularyDigest` of the teacher's tokenizer; see src/tokens/vocabulary.ts. */
    vocabulary: Schema.String
  })
})

/** `likelihood.json`: what a diffusion model is worth on held-out text. */
export const Likelihood = Artifact.kind("likelihood", {
  metadata: Schema.Struct({
    /** Nats per token; left out where the method has no bound. */
    nllBound: Schema.optionalKey(Schema.Finite),
    standardError: Schema.optionalKey(Schema.Finite)
  })
})

/** `references.json`: what held-out text is worth under models that diffusion models are compared with. */
export const References = Artifact.kind("references", {
  metadata: Schema.Struct({ documents: Count, tokens: Count })
})

/** `texts.json`: what a diffusion model wrote, and what judges say of it. */
export const JudgedTexts = Artifact.kind("judged-texts", {
  metadata: Schema.Struct({
    /** Of each number of denoising steps. */
    texts: Count
  })
})

/** `references.json`: what texts of models are read beside, and what the same judges say of it. */
export const ReferenceTexts = Artifact.kind("reference-texts", {
  metadata: Schema.Struct({ texts: Count })
})

/** `score.json`: how many problems of a task a model solved. */
export const TaskScore = Artifact.kind("task-score", {
  summary: ["exact", "problems"],
  metadata: Schema.Struct({ task: Schema.String, problems: Count, exact: Count })
})

/** `questions.jsonl`: what a protocol of a task asks, problem by problem; see src/evaluation/suiteFiles.ts. */
export const Questions = Artifact.kind("questions", {
  summary: ["problems"],
  metadata: Schema.Struct({ task: Schema.String, protocol: Schema.String, problems: Count })
})

/** One item for each problem and sample: what a model wrote, as UTF-8, and beside it the problem, the sample's number, and what it took. */
export const Samples = Artifact.chunkSet("samples", {
  timed: true,
  summary: ["problems", "samples"],
  metadata: Schema.Struct({
    task: Schema.String,
    protocol: Schema.String,
    problems: Count,
    /** Of each problem. */
    samples: Count,
    /** Digest of the model. */
    weights: Schema.String,
    /** How it decoded. */
    settings: Schema.Unknown
  })
})

/** `attempts.jsonl`: what of each sample counts, and what says whether it is right: an outcome, or a program that must run to its end. */
export const Attempts = Artifact.kind("attempts", {
  summary: ["problems", "attempts"],
  metadata: Schema.Struct({
    task: Schema.String,
    protocol: Schema.String,
    /** What is known of the protocol. */
    about: Schema.String,
    problems: Count,
    /** Problems of the whole set, where that is known. */
    of: Schema.optionalKey(Count),
    attempts: Count,
    /** Of them programs, and the modules that these import beside Python's own. */
    programs: Count,
    modules: Schema.Array(Schema.String)
  })
})

/** One item for each question with answers to choose from: how likely a model finds each, as bounds in nats. */
export const ChoiceBounds = Artifact.chunkSet("choice-bounds", {
  summary: ["problems", "choices"],
  metadata: Schema.Struct({ problems: Count, choices: Count })
})

/** One item for each program that was run, by its SHA-256: `passed`, `timed out`, or `failed: …`. */
export const Verdicts = Artifact.chunkSet("verdicts", {
  summary: ["programs", "passed"],
  metadata: Schema.Struct({
    programs: Count,
    passed: Count,
    /** Version of the Python that ran them. */
    python: Schema.String
  })
})

/** `score.json`, `samples.jsonl` and `samples.jsonl_results.jsonl`: what share of a task's problems a model solves. */
export const SuiteScore = Artifact.kind("suite-score", {
  summary: ["right", "attempts", "problems"],
  metadata: Schema.Struct({
    task: Schema.String,
    protocol: Schema.String,
    problems: Count,
    attempts: Count,
    right: Count
  })
})

/** `benchmark.json`: how fast a model decodes. */
export const Benchmark = Artifact.kind("benchmark", {
  timed: true,
  metadata: Schema.Struct({
    /** Digest of the model that was timed. */
    weights: Schema.String
  })
})

/** Files for people: `report.md`, `report.html`, `report.json`. */
export const Report = Artifact.kind("report", {
  metadata: Schema.Struct({ title: Schema.String })
})

/** What stages write of a row of a grid, made up: by the schemas of src/evaluation/results.ts, as values and as stages. */
import { Array as Arr, Effect, Schema } from "effect"
import type {
  Answers,
  BenchmarkResult,
  Generation,
  LikelihoodResult,
  ReferenceTexts,
  ScoredTexts,
  TaskResult,
  TextsResult,
  Timing
} from "../../src/evaluation/results.ts"
import { type Mean, ratio } from "../../src/evaluation/parts.ts"
import type { GridRow, Run } from "../../src/report/rows.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { readLines } from "../../src/training/log.ts"
import type { PanelLine } from "../../src/training/panelFile.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import {
  Benchmark,
  JudgedTexts,
  Likelihood,
  ModelFiles,
  TaskScore,
  TrainingLog,
  Trajectories
} from "../../src/artifacts/kinds.ts"

/** Held-out documents of different lengths, all needing about 4 nats per token, `shift` more than the baseline's. */
export const documentsWith = (shift: number, spread: number, seed = 1): LikelihoodResult["documents"] => {
  const hardness = normals(randomKey(1, "hardness"), 50)
  const own = normals(randomKey(seed, "own"), 50)
  return Array.from(hardness, (hard, i) => {
    const tokens = 100 + 37 * i
    return { nats: tokens * (4 + 0.3 * hard + shift + spread * own[i]!), tokens, bytes: 3 * tokens }
  })
}

/** Texts of 64 tokens behind 20 prompts, half of which are this factor more likely than perplexities say, and half as much less. */
export const scoredTexts = (
  { ngram, teacher }: { readonly teacher: number; readonly ngram: number },
  varied = 0
): ScoredTexts => ({
  distinctTokens: 512,
  distinctPairs: 20 * 44 + 20 * varied,
  texts: Arr.makeBy(20, i => ({
    tokens: 64,
    teacherNats: 64 * (Math.log(teacher) + (i % 2 === 0 ? 0.3 : -0.3)),
    ngramNats: 64 * (Math.log(ngram) + (i % 2 === 0 ? 0.3 : -0.3)),
    pairs: 63,
    ownTokens: 2,
    ownPairs: 19 + varied + 2 * (i % 2),
    repetition: 0.2 - 0.01 * varied + (i % 2 === 0 ? 0.05 : -0.05),
    entropy: 3.5 + 0.05 * varied + (i % 2 === 0 ? 0.1 : -0.1)
  }))
})

const meanWith = (documents: LikelihoodResult["documents"], sumOf: (nats: number, tokens: number) => number): Mean => {
  const parts = documents.map(({ nats, tokens }) => ({ sum: sumOf(nats, tokens), weight: tokens }))
  return { value: ratio(parts), documents: parts }
}

const generation = (steps: number): Generation => ({
  steps,
  forwards: steps,
  newTokens: 64,
  ...scoredTexts({ teacher: 1500 / steps, ngram: 2500 / steps }, Math.log2(steps)),
  sample: { prompt: "The people of the", text: ` <b>United</b> States & "others", in ${steps} steps` }
})

export const likelihoodResult = (
  weights: string,
  { shift = 0, spread = 0 }: { readonly shift?: number; readonly spread?: number } = {}
): LikelihoodResult => {
  const documents = documentsWith(shift, spread)
  const nats = documents.reduce((sum, each) => sum + each.nats, 0)
  const tokens = documents.reduce((sum, each) => sum + each.tokens, 0)
  return {
    weights,
    bound: {
      nats: nats / tokens,
      standardError: 0.01,
      tokens,
      estimator: "k-subset form, 16 draws",
      bitsPerByte: nats / Math.LN2 / (3 * tokens)
    },
    documents,
    lossAtRatio: [0.1, 0.5, 0.9].map(ratio => ({
      ratio,
      from: Math.max(0, ratio - 0.1),
      to: ratio + 0.1,
      ...meanWith(documents, nats => nats * (0.5 + ratio))
    })),
    teacherDistance: meanWith(documents, (_, tokens) => 0.3 * tokens + shift),
    autoregressiveLoss: meanWith(documents, nats => 1.1 * nats)
  }
}

export const textsResult = (weights: string): TextsResult => ({
  weights,
  generations: [8, 16, 32, 64].map(steps => generation(steps))
})

export const referenceTexts = (weights: string): ReferenceTexts => ({
  weights,
  heldOut: scoredTexts({ teacher: 24.25, ngram: 61.5 }, 8),
  teacher: {
    ...scoredTexts({ teacher: 7, ngram: 50 }, 7),
    sample: { prompt: "The people of the", text: " <i>teacher</i>" }
  },
  unigram: scoredTexts({ teacher: 900, ngram: 700 }, 9)
})

export const taskResult = (weights: string): TaskResult => ({
  weights,
  task: "equations",
  problems: 50,
  answerTokens: 32,
  answers: [answersWith(32, 3)]
})

/** Answers of 10 tokens to 50 problems, in so many steps, or with a threshold in so many passes. */
export const answersWith = (forwards: number, right: number, threshold?: number): Answers => ({
  point: threshold === undefined ? { steps: forwards } : { threshold },
  responses: Arr.makeBy(50, i => ({
    outcome: i < right ? "right" : i < 41 ? "wrong" : "missing",
    tokens: 10,
    forwards
  })),
  sample: { prompt: "2x = 6", text: " x = <3>", answer: "x = 3" }
})

const timing = (steps: number, msPerForward: number): Timing => {
  const median = steps * msPerForward
  return {
    steps,
    newTokens: 64,
    forwards: steps,
    milliseconds: [0.97 * median, median, 1.03 * median],
    median,
    p10: 0.97 * median,
    p90: 1.03 * median,
    msPerForward,
    tokensPerSecond: 64_000 / median,
    usefulTokensPerSecond: 50_000 / median,
    tokensPerForward: 64 / steps,
    shareOfPeak: 0.31
  }
}

export const benchmarkResult = (weights: string, msPerForward: number): BenchmarkResult => ({
  engine: "ort/cpu/f32",
  threads: 2,
  weights,
  batch: 1,
  warmUp: 3,
  repeats: 20,
  peakMiB: 412.5,
  matmulPeak: 5.1e10,
  machine: { processor: "A processor <of one kind>", processors: 2, at: Date.UTC(2026, 0, 2) },
  results: [8, 16, 32, 64, 128].map(steps => timing(steps, msPerForward))
})

export interface LogOptions {
  /** What the loss ends near, nats. */
  readonly floor?: number
  readonly aligned?: boolean
  readonly seed?: number
  /** Of a step, in 10^12 operations. */
  readonly teraflops?: number
  /** Whether the held-out bound was measured: every 50 steps. */
  readonly bounded?: boolean
}

/** `metrics.jsonl` of 200 steps of 2,000 tokens and half a second. */
export const metricsText = ({
  aligned = true,
  bounded = true,
  floor = 2,
  seed = 0,
  teraflops = 0.01
}: LogOptions = {}): string =>
  Array.from({ length: 200 }, (_, i) => {
    const noise = normals(randomKey(seed, "noise", i), 1)[0]!
    const loss = floor + 3 * Math.exp(-i / 40) + 0.2 * noise
    const line = {
      step: i + 1,
      // An evaluation takes time, too.
      time: 1_700_000_000 + 0.5 * i + 3 * Math.floor((i + 1) / 50),
      "training/loss": loss,
      "losses/mdm": loss,
      ...(aligned ? { "losses/repr_align": 0.1 + 0.5 * Math.exp(-i / 60) } : {}),
      "consume_tokens(B)": (2000 * (i + 1)) / 1e9,
      "consume_flops(T)": teraflops * (i + 1),
      ...(bounded && (i + 1) % 50 === 0 ? { "eval/nll_bound": floor + 3 * Math.exp(-i / 40) } : {})
    }
    return `${JSON.stringify(line)}\n`
  }).join("")

export const trainingRecord = {
  engine: "ort/cpu/f32",
  parameters: 3_641_280,
  trainedParameters: 3_248_064,
  step: 200,
  skipped: 0,
  tokens: 400_000,
  labelled: 200_000
}

/** A look at a training that follows trajectories. */
const look = (step: number): PanelLine => ({
  step,
  prediction: { positions: ["not masked", "right", "wrong"], confidences: [null, 0.75, 0.25] },
  trajectory: { masked: ["011", "001", "000"], entropies: [2, 1, 0] }
})

export interface FixtureRow {
  readonly name: string
  readonly shift?: number
  readonly spread?: number
  readonly msPerForward?: number
  readonly architecture?: string
  readonly log?: LogOptions
}

/** A row of one run that has everything. */
export const fixtureRow = ({
  architecture = "transformer",
  log = {},
  msPerForward = 10,
  name,
  shift = 0,
  spread = 0
}: FixtureRow): Omit<GridRow, "runs"> & { readonly runs: readonly [Required<Run>] } => {
  const weights = sha256(name)
  return {
    name,
    label: `row ${name}`,
    notApplicable: {},
    runs: [
      {
        name,
        model: { digest: weights, content: { training: trainingRecord, architecture } },
        likelihood: { digest: sha256(`likelihood ${name}`), content: likelihoodResult(weights, { shift, spread }) },
        texts: { digest: sha256(`texts ${name}`), content: textsResult(weights) },
        tasks: [{ digest: sha256(`task ${name}`), content: taskResult(weights) }],
        benchmark: { digest: sha256(`benchmark ${name}`), content: benchmarkResult(weights, msPerForward) },
        log: { digest: sha256(`log ${name}`), content: { lines: readLines(metricsText(log)), panels: [] } }
      }
    ]
  }
}

export const fixtureModel = Stage.make("fixture-model", {
  inputs: {},
  parameters: Schema.Struct({ row: Schema.String, config: Schema.Record(Schema.String, Schema.Unknown) }),
  outputs: { model: ModelFiles, log: TrainingLog },
  run: Effect.fn("fixture-model")(function* ({ outputs: { log, model }, parameters }) {
    yield* model.write("config.json", JSON.stringify(parameters.config))
    yield* model.write("training.json", JSON.stringify({ stage: "train", ...trainingRecord }))
    yield* model.write("weights.txt", parameters.row)
    yield* model.metadata({ files: 3, tensors: 0, parameters: trainingRecord.parameters })
    yield* log.write("metrics.jsonl", metricsText({ aligned: parameters.row !== "baseline" }))
    yield* log.write("panels.jsonl", [100, 200].map(step => `${JSON.stringify(look(step))}\n`).join(""))
    yield* log.metadata({ steps: 200 })
  })
})

export const fixtureEvaluation = Stage.make("fixture-evaluation", {
  inputs: { model: ModelFiles },
  parameters: Schema.Struct({ shift: Schema.Finite, spread: Schema.Finite }),
  outputs: { likelihood: Likelihood, texts: JudgedTexts, score: TaskScore },
  run: Effect.fn("fixture-evaluation")(function* ({ inputs, outputs: { likelihood, score, texts }, parameters }) {
    const { digest } = inputs.model
    const result = likelihoodResult(digest, parameters)
    yield* likelihood.write("likelihood.json", JSON.stringify(result))
    yield* likelihood.metadata({ nllBound: result.bound!.nats, standardError: result.bound!.standardError })
    yield* texts.write("texts.json", JSON.stringify(textsResult(digest)))
    yield* texts.metadata({ texts: 12 })
    yield* score.write("score.json", JSON.stringify(taskResult(digest)))
    yield* score.metadata({ task: "equations", problems: 50, exact: 3 })
  })
})

export const fixtureBenchmark = Stage.make("fixture-benchmark", {
  inputs: { model: ModelFiles },
  parameters: Schema.Struct({ msPerForward: Schema.Finite }),
  outputs: { benchmark: Benchmark },
  run: Effect.fn("fixture-benchmark")(function* ({ inputs, outputs: { benchmark }, parameters }) {
    const result = benchmarkResult(inputs.model.digest, parameters.msPerForward)
    yield* benchmark.write("benchmark.json", JSON.stringify(result))
    yield* benchmark.metadata({ weights: result.weights })
  })
})

/** Two items of 10 and 20 bytes. */
export const fixtureTrajectories = Stage.make("fixture-trajectories", {
  inputs: {},
  parameters: Schema.Struct({}),
  outputs: { trajectories: Trajectories },
  items: { inputs: [] },
  run: Effect.fn("fixture-trajectories")(function* ({ outputs: { trajectories } }) {
    const keys = [10, 20].map(size => trajectories.key(String(size)))
    for (const [i, key] of keys.entries()) yield* trajectories.put(key, new Uint8Array(10 * (i + 1)))
    yield* trajectories.finish(keys, {
      trajectories: 2,
      skipped: 1,
      tokens: 60,
      forwards: 24,
      mode: "scheduled",
      maskId: 7,
      vocabulary: "0".repeat(64)
    })
  })
})

/** The score of some samples: pass@k with intervals over problems, beside what the samples took; and the samples with their results, as OpenAI's tools write them. */
import { Effect, Schema, Stream } from "effect"
import { Attempts, Samples, SuiteScore, Verdicts } from "../src/artifacts/kinds.ts"
import { PositiveInt } from "../src/config/setting.ts"
import { passAtK } from "../src/evaluation/passAtK.ts"
import { Attempt, Completion, Judged, SampleNote, SampleSettings, SuiteResult } from "../src/evaluation/suiteFiles.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import { sha256 } from "../src/pipeline/Digest.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import type { ChunkReader } from "../src/pipeline/StageContext.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { meanOver } from "./evaluate/meanOver.ts"
import { readLines, writeLines } from "./evaluate/suiteRows.ts"
import { writeResult } from "./evaluate/writeResult.ts"

export const score = Stage.make("score", {
  inputs: {
    attempts: Attempts,
    /** Where attempts are programs. */
    verdicts: Artifact.optional(Verdicts),
    /** Where they were made here: what they took. */
    samples: Artifact.optional(Samples)
  },
  parameters: Schema.Struct({
    /** The k of pass@k. Each needs as many samples of every problem */
    ks: Schema.Array(PositiveInt).check(Schema.isMinLength(1), Schema.isUnique())
  }),
  outputs: { score: SuiteScore },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("score")(function* ({ inputs, metric, outputs, parameters }) {
    const { about, attempts: count, of, problems, protocol, task } = inputs.attempts.metadata
    const attempts = yield* readLines(inputs.attempts, "attempts.jsonl", Attempt)
    const verdicts = inputs.verdicts === undefined ? new Map<string, string>() : yield* resultsOf(inputs.verdicts)
    const judged = yield* Effect.forEach(attempts, ({ completion, outcome, program, task_id }) =>
      Effect.gen(function* () {
        const result = outcome ?? verdicts.get(sha256(program ?? ""))
        if (result === undefined)
          return yield* permanent(
            `a program of ${task_id} was not run`,
            "give the stage the verdicts on these attempts"
          )
        return { task_id, completion, result, passed: result === "passed" || result === "right" } satisfies Judged
      })
    )
    const costs = inputs.samples === undefined ? undefined : yield* costsOf(inputs.samples)
    const byProblem = [...Map.groupBy(judged, ({ task_id }) => task_id)].map(([task_id, own]) => {
      const { forwards, tokens } = costs?.get(task_id) ?? {}
      return {
        task_id,
        samples: own.length,
        right: own.filter(({ passed }) => passed).length,
        ...(tokens === undefined || forwards === undefined ? {} : { tokens, forwards })
      }
    })
    const fewest = byProblem.reduce((least, each) => (each.samples < least.samples ? each : least), byProblem[0]!)
    const above = parameters.ks.find(k => k > fewest.samples)
    if (above !== undefined)
      return yield* permanent(
        `pass@${above} needs ${above} samples of each problem, and ${fewest.task_id} has ${fewest.samples}`,
        "lower score.ks, or make more samples (sample.samples)"
      )
    const spent = costs === undefined ? undefined : sumOf([...costs.values()])
    const result: SuiteResult = {
      task,
      protocol,
      about,
      ...(inputs.samples === undefined
        ? {}
        : {
            weights: inputs.samples.metadata.weights,
            settings: yield* Effect.mapError(decodeSettings(inputs.samples.metadata.settings), asStageError)
          }),
      ...(inputs.verdicts === undefined ? {} : { python: inputs.verdicts.metadata.python }),
      problems,
      ...(of === undefined ? {} : { of }),
      partial: of !== undefined && problems < of,
      passAtK: parameters.ks.map(k => ({
        k,
        ...meanOver(byProblem.map(({ right, samples }) => passAtK({ n: samples, c: right, k })))
      })),
      ...(spent === undefined
        ? {}
        : { tokensPerForward: spent.tokens / spent.forwards, tokensPerSecond: (1000 * spent.tokens) / spent.ms }),
      byProblem,
      results: counted(judged)
    }
    for (const { k, value } of result.passAtK) yield* metric(`eval/pass@${k}`, value)
    for (const [name, value] of [
      ["tokens_per_forward", result.tokensPerForward],
      ["tokens_per_second", result.tokensPerSecond]
    ] as const)
      if (value !== undefined) yield* metric(`eval/${name}`, value)
    yield* writeResult(outputs.score, "score.json", SuiteResult, result)
    yield* writeLines(
      outputs.score,
      "samples.jsonl",
      Completion,
      judged.map(({ completion, task_id }) => ({ task_id, completion }))
    )
    yield* writeLines(outputs.score, "samples.jsonl_results.jsonl", Judged, judged)
    const right = judged.filter(({ passed }) => passed).length
    yield* outputs.score.metadata({ task, protocol, problems, attempts: count, right })
  }, Effect.mapError(asStageError))
})

const decodeSettings = Schema.decodeUnknownEffect(SampleSettings)

const Verdict = Schema.Struct({ program: Schema.String, result: Schema.String })

/** By the SHA-256 of programs. */
const resultsOf = (verdicts: ChunkReader<unknown>) =>
  Effect.map(
    Stream.runCollect(
      Stream.mapEffect(verdicts.items, ({ note }) =>
        Effect.mapError(Schema.decodeUnknownEffect(Verdict)(note), asStageError)
      )
    ),
    found => new Map(Array.from(found, ({ program, result }) => [program, result]))
  )

type Cost = Pick<SampleNote, "tokens" | "forwards" | "ms">

const sumOf = (all: ReadonlyArray<Cost>): Cost =>
  all.reduce(
    (sum, { forwards, ms, tokens }) => ({
      tokens: sum.tokens + tokens,
      forwards: sum.forwards + forwards,
      ms: sum.ms + ms
    }),
    { tokens: 0, forwards: 0, ms: 0 }
  )

/** What the samples of each problem took. */
const costsOf = (samples: ChunkReader<unknown>) =>
  Effect.map(
    Stream.runCollect(
      Stream.mapEffect(samples.items, ({ note }) =>
        Effect.mapError(Schema.decodeUnknownEffect(SampleNote)(note), asStageError)
      )
    ),
    notes => new Map([...Map.groupBy(notes, ({ task_id }) => task_id)].map(([id, own]) => [id, sumOf(own)] as const))
  )

/** How often each result was found; of a failure the exception's name. */
const counted = (judged: ReadonlyArray<Judged>): SuiteResult["results"] => {
  const counts = new Map<string, number>()
  for (const { result } of judged) {
    const [, failed] = /^(failed: [A-Za-z_][\w]*)(?::|$)/.exec(result) ?? []
    const name = failed ?? result
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return Object.fromEntries([...counts].toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

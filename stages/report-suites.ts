/** Reports what a model scores on benchmarks: pass@k, right answers by tokens per forward pass, what was written for each problem, and how it was asked. */
import { Effect, Schema } from "effect"
import { Questions, Report, SuiteScore } from "../src/artifacts/kinds.ts"
import { setting } from "../src/config/setting.ts"
import { ChoicesResult, Judged, Question, SuiteResult } from "../src/evaluation/suiteFiles.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import type { ArtifactReader } from "../src/pipeline/StageContext.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { readResult } from "../src/report/readRuns.ts"
import { suiteMarkdown } from "../src/report/suiteMarkdown.ts"
import {
  type ChosenEntry,
  type Decoded,
  makeSuiteReport,
  suiteJson,
  type SuiteEntry
} from "../src/report/suiteReport.ts"
import { readLines } from "./evaluate/suiteRows.ts"

const Suite = Schema.Struct({
  name: Schema.String,
  /** In the order of the tables; none where one alone has no name */
  decodings: setting(Schema.Array(Schema.String), []),
  /** What was not run, and why */
  notRun: setting(Schema.Array(Schema.String), [])
})

export const reportSuites = Stage.make("report-suites", {
  inputs: {
    /** By the benchmark, and the decoding where there are several: `humaneval/fast`. */
    scores: Artifact.named(SuiteScore),
    /** By the benchmark: what was asked. */
    questions: Artifact.named(Questions)
  },
  parameters: Schema.Struct({
    title: Schema.String,
    /** The command that makes this report, as a user types it. */
    command: Schema.String,
    suites: Schema.Array(Suite),
    /** Of the bootstrap's draws */
    seed: setting(Schema.Int, 0)
  }),
  outputs: { report: Report },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("report-suites")(function* ({ inputs, metric, outputs, parameters }) {
    const { suites, ...settings } = parameters
    const scoreOf = (name: string) =>
      inputs.scores[name] === undefined
        ? Effect.fail(permanent(`there is no score of ${name}`))
        : Effect.succeed(inputs.scores[name])
    const entries = yield* Effect.forEach(suites, ({ decodings, name, notRun }) =>
      Effect.gen(function* () {
        const asked = inputs.questions[name]
        if (asked === undefined) {
          const score = yield* scoreOf(name)
          const chosen = yield* readResult(score, "score.json", ChoicesResult)
          return { name, digest: score.digest, chosen, notRun } satisfies ChosenEntry
        }
        const questions = yield* readLines(asked, "questions.jsonl", Question)
        return {
          name,
          prompts: new Map(
            questions.map(({ gap, id, prompt }) => [id, gap === undefined ? prompt : `${prompt}▯${gap.suffix}`])
          ),
          decodings:
            decodings.length === 0
              ? [yield* readDecoded(yield* scoreOf(name), undefined)]
              : yield* Effect.forEach(decodings, decoding =>
                  Effect.flatMap(scoreOf(`${name}/${decoding}`), score => readDecoded(score, decoding))
                ),
          notRun
        } satisfies SuiteEntry
      })
    )
    const found = makeSuiteReport(entries, settings)
    for (const entry of found.entries)
      if (!("chosen" in entry))
        for (const { aup, label } of entry.curves)
          yield* metric(`${entry.name}/aup/${label.replaceAll(/\W+/g, "_")}`, aup.value)
    // The library of the charts is loaded when it is needed, not by everyone who plans.
    const { suiteHtml } = yield* Effect.promise(() => import("../src/report/suitePage.ts"))
    const { report } = outputs
    yield* report.write("report.md", suiteMarkdown(found))
    yield* report.write("report.html", suiteHtml(found))
    yield* report.write("report.json", suiteJson(found))
    yield* report.metadata({ title: settings.title })
  }, Effect.mapError(asStageError))
})

const readDecoded = (score: ArtifactReader<unknown>, name: string | undefined) =>
  Effect.gen(function* () {
    const decoded: Decoded = {
      ...(name === undefined ? {} : { name }),
      digest: score.digest,
      result: yield* readResult(score, "score.json", SuiteResult),
      judged: yield* readLines(score, "samples.jsonl_results.jsonl", Judged)
    }
    return decoded
  })

/** The set of samples of a stage that lets a model answer: what of it is missing, and its end. */
import { Effect } from "effect"
import type { Questions, Samples } from "../../src/artifacts/kinds.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { Question, type SampleNote } from "../../src/evaluation/suiteFiles.ts"
import type { ArtifactReader, ChunkWriter, StageContext } from "../../src/pipeline/StageContext.ts"
import type { StageError } from "../../src/pipeline/StageError.ts"
import { Schema } from "effect"
import type { Sampling, Wanted } from "./sampling.ts"
import { readLines } from "./suiteRows.ts"

/** What is asked of all ways to decode. */
export const sampleFields = {
  /** Of each problem */
  samples: setting(PositiveInt, 1),
  /** Tokens that are made behind a prompt; of a gap whose length is not told */
  newTokens: setting(PositiveInt, 128),
  /** Of what is drawn */
  seed: setting(Schema.Int, 0)
} as const

interface SampleSet extends Pick<StageContext<never, never, never>, "metric" | "progress"> {
  readonly questions: ArtifactReader<(typeof Questions)["metadata"]["Type"]>
  readonly output: ChunkWriter<(typeof Samples)["metadata"]["Type"]>
  /** Of each problem. */
  readonly samples: number
  /** Digest of the model, and how it decodes: stands beside the score. */
  readonly weights: string
  readonly settings: object
}

/** Makes the samples that neither an earlier set has nor an attempt that was cut off, and finishes the set. `make` keeps each as it comes, and is not called where none is missing. */
export const makeSampleSet = <E, R>(
  { metric, output, progress, questions, samples, settings, weights }: SampleSet,
  make: (missing: ReadonlyArray<Wanted>, keep: Sampling<never>["keep"], task: string) => Effect.Effect<void, E, R>
) =>
  Effect.gen(function* () {
    const { problems, protocol, task } = questions.metadata
    const asked = (yield* readLines(questions, "questions.jsonl", Question)).flatMap(question =>
      Array.from({ length: samples }, (_, sample): Wanted => ({ question, sample }))
    )
    const keyOf = ({ question, sample }: Wanted) => output.key(JSON.stringify([question, sample]))
    const missing = asked.filter(each => !output.has(keyOf(each)))
    yield* metric("samples/new", missing.length)
    yield* metric("samples/reused", asked.length - missing.length)
    let done = asked.length - missing.length
    const keep: Sampling<never>["keep"] = (wanted, { forwards, ms, text, tokens }): Effect.Effect<void, StageError> =>
      Effect.gen(function* () {
        const note: SampleNote = {
          task_id: wanted.question.id,
          sample: wanted.sample,
          tokens,
          forwards,
          ms: Number(ms.toFixed(3))
        }
        yield* output.put(keyOf(wanted), Buffer.from(text, "utf8"), { ...note })
        yield* progress({ done: ++done, total: asked.length, unit: "samples" })
      })
    if (missing.length > 0) yield* make(missing, keep, task)
    yield* output.finish(asked.map(keyOf), { task, protocol, problems, samples, weights, settings })
  })

/** Tells what of each sample counts, and what says whether it is right: an outcome, or a program that another stage runs. Nothing is decoded for a check that changed. */
import { Effect, Result, Schema, Stream } from "effect"
import { Attempts, Documents, Samples } from "../src/artifacts/kinds.ts"
import { recordsOfArtifact } from "../src/artifacts/records.ts"
import { Attempt, Completion, SampleNote } from "../src/evaluation/suiteFiles.ts"
import type { Item } from "../src/evaluation/tasks/Task.ts"
import { decodeBy, type DecodeRow, reading } from "../src/formats/records.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import type { ArtifactReader, ChunkReader } from "../src/pipeline/StageContext.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { readItems, suiteMethods, writeLines } from "./evaluate/suiteRows.ts"
import { asked } from "./questions.ts"

/** A text of a problem, as it was written, or as others cut it. */
interface Written {
  readonly item: Item
  readonly completion: string
}

/** Problems that are named in messages. */
const shownProblems = 3

export const judge = Stage.make("judge", {
  inputs: {
    /** The rows that the questions were made of. */
    dataset: Documents,
    /** One of the two: what `sample` made, or completions that were made elsewhere, in the format of OpenAI's tools. */
    samples: Artifact.optional(Samples),
    completions: Artifact.optional(Documents)
  },
  parameters: Schema.Struct(asked),
  outputs: { attempts: Attempts },
  methods: suiteMethods,
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("judge")(function* ({ inputs, outputs, parameters }) {
    const { about, items, protocol, suite } = yield* readItems(parameters, inputs.dataset)
    const known = new Map(items.map(item => [item.id, item]))
    const { completions, samples } = inputs
    if ((samples === undefined) === (completions === undefined))
      return yield* permanent("exactly one of the inputs samples and completions is judged")
    const written =
      samples === undefined
        ? yield* givenCompletions(completions!, known, suite.name)
        : yield* ownSamples(samples, known)
    const attempts = written.map(({ completion, item }): Attempt => {
      return { task_id: item.id, completion, ...item.judge(completion) }
    })
    yield* writeLines(outputs.attempts, "attempts.jsonl", Attempt, attempts)
    yield* outputs.attempts.metadata({
      task: suite.name,
      protocol,
      about,
      problems: new Set(attempts.map(({ task_id: id }) => id)).size,
      of: suite.problems ?? items.length,
      attempts: attempts.length,
      programs: attempts.filter(({ program }) => program !== undefined).length,
      modules: suite.modules ?? []
    })
  }, Effect.mapError(asStageError))
})

const decodeNote = Schema.decodeUnknownEffect(SampleNote)

/** Samples in order, cut as the protocol does. */
const ownSamples = (samples: ChunkReader<unknown>, known: ReadonlyMap<string, Item>) =>
  Effect.map(
    Stream.runCollect(
      Stream.mapEffect(samples.items, ({ bytes, note }) =>
        Effect.gen(function* () {
          const { task_id: id } = yield* Effect.mapError(decodeNote(note), asStageError)
          const item = known.get(id)
          if (item === undefined)
            return yield* permanent(`there is a sample of ${id}, but the data has no such problem`)
          const response = Buffer.from(yield* bytes).toString("utf8")
          return { item, completion: item.completion(response) } satisfies Written
        })
      )
    ),
    found => Array.from(found)
  )

/** Completions of a file, as they stand: each of a problem that there is, and of every problem at least one. */
const givenCompletions = Effect.fnUntraced(function* (
  completions: ArtifactReader<unknown>,
  known: ReadonlyMap<string, Item>,
  task: string
) {
  const decode = decodeBy(Completion)
  const ofProblem: DecodeRow<Written> = reading(
    row =>
      Result.flatMap(decode(row), ({ completion, task_id: id }) => {
        const item = known.get(id)
        return item === undefined
          ? Result.fail({ path: ["task_id"], what: `is ${JSON.stringify(id)}, which is no problem of ${task}` })
          : Result.succeed({ item, completion })
      }),
    decode.fields
  )
  const written = Array.from(yield* Stream.runCollect(recordsOfArtifact(completions, ofProblem)))
  const attempted = new Set(written.map(({ item }) => item.id))
  const lacking = [...known.keys()].filter(id => !attempted.has(id))
  if (lacking.length > 0)
    return yield* permanent(
      `${completions.files.map(({ path }) => path).join(", ")}: ${lacking.length} of ${known.size} problems of ${task} have no sample: ${lacking.slice(0, shownProblems).join(", ")}${lacking.length > shownProblems ? ", …" : ""}`,
      "a score is over all problems; add samples of these, or take them from the data"
    )
  return written
})

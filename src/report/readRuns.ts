/** Reads what was given for the rows of a grid, and holds every measurement to the weights that it names. */
import { Effect, Schema, Stream } from "effect"
import {
  BenchmarkResult,
  LikelihoodResult,
  ReferencesResult,
  ReferenceTexts,
  TaskResult,
  TextsResult
} from "../evaluation/results.ts"
import type { Kind } from "../pipeline/Artifact.ts"
import { canonical, short } from "../pipeline/Digest.ts"
import type { ArtifactReader, ChunkReader } from "../pipeline/StageContext.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import { metricsFile, readLines } from "../training/log.ts"
import { decodePanels, panelsFile } from "../training/panelFile.ts"
import { recordFile, TrainingRecord } from "../training/record.ts"
import type { Cached, Run, TeacherScores } from "./rows.ts"

type Named = { readonly [name: string]: ArtifactReader<unknown> }

export interface Sources {
  readonly likelihoods: Named
  readonly texts: Named
  /** By the run and the task: `no_align/equations`. */
  readonly tasks: Named
  readonly benchmarks: Named
  readonly models: Named
  readonly logs: Named
}

/** The run that an artifact of a port belongs to. */
export const runOf = (name: string): string => name.split("/", 1)[0]!

/** What the ports hold of a run. Fails where a measurement is of other weights than the model's. */
export const readRun = Effect.fn("readRun")(function* (sources: Sources, name: string) {
  const all = <A>(port: keyof Sources, content: (artifact: ArtifactReader<unknown>) => Effect.Effect<A, StageError>) =>
    Effect.forEach(
      Object.entries(sources[port]).filter(([of]) => runOf(of) === name),
      ([, artifact]) => Effect.map(content(artifact), found => ({ digest: artifact.digest, content: found }))
    )
  const [model] = yield* all("models", readModel)
  const [log] = yield* all("logs", readLog)
  const [likelihood] = yield* all("likelihoods", json("likelihood.json", LikelihoodResult))
  const [texts] = yield* all("texts", json("texts.json", TextsResult))
  const tasks = yield* all("tasks", readScore)
  const [benchmark] = yield* all("benchmarks", json("benchmark.json", BenchmarkResult))
  const measured = [
    ["likelihood", likelihood],
    ["texts", texts],
    ...tasks.map(task => [`task ${task.content.task}`, task] as const),
    ["benchmark", benchmark]
  ] as const
  const own = model?.digest ?? measured.find(([, each]) => each !== undefined)?.[1]?.content.weights
  for (const [what, each] of measured)
    if (each !== undefined && each.content.weights !== own)
      return yield* permanent(
        `the ${what} of ${name} is of the model ${short(each.content.weights)}, the row's own is ${short(own!)}`,
        "a row's numbers must come from the weights that were trained for it"
      )
  const run: Run = {
    name,
    tasks,
    ...(model === undefined ? {} : { model }),
    ...(likelihood === undefined ? {} : { likelihood }),
    ...(texts === undefined ? {} : { texts }),
    ...(benchmark === undefined ? {} : { benchmark }),
    ...(log === undefined ? {} : { log })
  }
  return run
})

/** What a file of an artifact says, by its schema. */
export const readResult = <S extends Schema.Codec<unknown, unknown>>(
  artifact: ArtifactReader<unknown>,
  file: string,
  schema: S
): Effect.Effect<S["Type"], StageError> =>
  Effect.flatMap(artifact.text(file), text =>
    Effect.mapError(Schema.decodeUnknownEffect(Schema.fromJsonString(schema))(text), ({ message }) =>
      permanent(`${file} of ${short(artifact.digest)}: ${message}`)
    )
  )
const json =
  <S extends Schema.Codec<unknown, unknown>>(file: string, schema: S) =>
  (artifact: ArtifactReader<unknown>) =>
    readResult(artifact, file, schema)

const readScore = json("score.json", TaskResult)

/** What texts are read beside. */
export const readReferenceTexts = json("references.json", ReferenceTexts)

/** Scores of a teacher, by task. */
export const readScores = (scores: Named): Effect.Effect<TeacherScores, StageError> =>
  Effect.forEach(Object.values(scores), score =>
    Effect.map(readScore(score), content => ({ digest: score.digest, content }))
  )

/** The held-out text under models that rows are compared with. */
export const readReferences = (artifact: ArtifactReader<unknown>) =>
  Effect.map(readResult(artifact, "references.json", ReferencesResult), ({ references }) => references)

const readModel = (artifact: ArtifactReader<unknown>) =>
  Effect.gen(function* () {
    const training = yield* json(recordFile, TrainingRecord)(artifact)
    const config = yield* json("config.json", Schema.Record(Schema.String, Schema.Unknown))(artifact)
    return { training, architecture: canonical(config) }
  })

const readLog = (artifact: ArtifactReader<unknown>) =>
  Effect.gen(function* () {
    const lines = readLines(yield* artifact.text(metricsFile))
    const looks = artifact.files.some(({ path }) => path === panelsFile)
      ? readLines(yield* artifact.text(panelsFile))
      : []
    const panels = yield* Effect.mapError(decodePanels(looks), ({ message }) =>
      permanent(`${panelsFile} of ${short(artifact.digest)}: ${message}`)
    )
    return { lines, panels }
  })

/** Size and counts of a chunk set. */
export const readCached = (
  name: string,
  kind: Pick<Kind.Any, "name" | "summary">,
  set: ChunkReader<{ readonly [field: string]: unknown }>
): Effect.Effect<Cached, StageError> =>
  Effect.map(
    Stream.runFold(
      set.items,
      () => 0,
      (sum, { size }) => sum + size
    ),
    bytes => ({
      name,
      kind: kind.name,
      digest: set.digest,
      items: set.count,
      bytes,
      counts: countsOf(kind.summary, set.metadata)
    })
  )

/** What says most about a set, and of lists (of layers, say) how long they are. */
const countsOf = (
  summary: ReadonlyArray<string>,
  metadata: { readonly [field: string]: unknown }
): Cached["counts"] => {
  const lists = Object.keys(metadata).filter(field => Array.isArray(metadata[field]))
  return Object.fromEntries(
    [...summary, ...lists].flatMap(field => {
      const value = metadata[field]
      const number = Array.isArray(value) ? value.length : value
      return typeof number === "number" ? [[field, number]] : []
    })
  )
}

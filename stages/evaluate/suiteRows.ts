/** Reads the data of a suite, and the files that its stages write. */
import { Effect, Result, Schema, Stream } from "effect"
import { recordsOfArtifact, recordsOfFile } from "../../src/artifacts/records.ts"
import { loadSuite, type SuiteName, suiteModules } from "../../src/evaluation/tasks/suites.ts"
import { type AnySuite, type Item, RowsError } from "../../src/evaluation/tasks/Task.ts"
import { decodeBy, type DecodeRow, reading } from "../../src/formats/records.ts"
import type { ArtifactReader, ArtifactWriter } from "../../src/pipeline/StageContext.ts"
import { asStageError, permanent, type StageError } from "../../src/pipeline/StageError.ts"

/** For `methods` of `Stage.make`, in a stage that chooses by its parameter `task`: the key holds the code of one benchmark alone. */
export const suiteMethods = {
  by: "task",
  dispatch: ["../src/evaluation/tasks/suites.ts"],
  modules: Object.fromEntries(
    Object.entries(suiteModules).map(([name, module]) => [name, [`../src/evaluation/tasks/${module}.ts` as const]])
  )
} as const

/** Refuses a row whose name another row has. */
export const withoutTwins = (decode: DecodeRow<unknown>, unique: string | undefined): DecodeRow<unknown> => {
  if (unique === undefined) return decode
  const seen = new Set<string>()
  return reading(
    row =>
      Result.flatMap(decode(row), found => {
        const name = String((found as { readonly [field: string]: unknown })[unique])
        if (seen.has(name))
          return Result.fail({ path: [unique], what: `is ${JSON.stringify(name)}, which another row has already` })
        seen.add(name)
        return Result.succeed(found)
      }),
    decode.fields
  )
}

/** A suite, and the problems of its data as a protocol asks them. */
export const readItems = Effect.fn("readItems")(function* (
  { protocol: named, task }: { readonly task: SuiteName; readonly protocol?: string | undefined },
  dataset: ArtifactReader<unknown>
) {
  const suite: AnySuite = yield* Effect.promise(() => loadSuite(task))
  const names = Object.keys(suite.protocols)
  const protocol = named ?? names[0]!
  if (!Object.hasOwn(suite.protocols, protocol))
    return yield* permanent(`${task} has no protocol ${protocol}`, `its protocols: ${names.join(", ")}`)
  const decode = withoutTwins(decodeBy(suite.row as Schema.Codec<unknown, unknown>), suite.unique)
  const rows = Array.from(yield* Stream.runCollect(recordsOfArtifact(dataset, decode)))
  const items = yield* Effect.try({
    try: (): ReadonlyArray<Item> => suite.protocols[protocol]!.items(rows as unknown as ReadonlyArray<never>),
    catch: cause =>
      cause instanceof RowsError ? permanent(cause.message, cause.advice) : permanent(`${task}: ${String(cause)}`)
  })
  if (items.length === 0) return yield* permanent(`the data has no problems of the task ${task}`)
  return { suite, protocol, about: suite.protocols[protocol]!.about, items }
})

/** Refuses to ask more problems than there are. */
export const mustHave = (wanted: number | "all", count: number, where: string): Effect.Effect<void, StageError> =>
  wanted === "all" || wanted <= count
    ? Effect.void
    : Effect.fail(
        permanent(
          `problems is ${wanted}, but there are ${count} in ${where}`,
          "ask at most as many, or leave problems out for all"
        )
      )

/** Writes values as lines of JSON. */
export const writeLines = <A, I>(
  output: Pick<ArtifactWriter<never>, "write">,
  file: string,
  schema: Schema.Codec<A, I>,
  values: ReadonlyArray<A>
) => {
  const encode = Schema.encodeSync(schema)
  return output.write(file, values.map(value => `${JSON.stringify(encode(value))}\n`).join(""))
}

/** The lines of such a file. */
export const readLines = <A>(
  input: ArtifactReader<unknown>,
  file: string,
  schema: Schema.Codec<A, unknown>
): Effect.Effect<ReadonlyArray<A>, StageError> =>
  Effect.mapError(
    Effect.flatMap(input.path(file), path =>
      Effect.map(Stream.runCollect(recordsOfFile(path, file, decodeBy(schema))), found => Array.from(found))
    ),
    asStageError
  )

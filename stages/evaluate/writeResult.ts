/** Writes what was measured, as its schema says. */
import { Effect, Schema } from "effect"
import { rightOf, slowest, TaskResult } from "../../src/evaluation/results.ts"
import type { TaskScore } from "../../src/artifacts/kinds.ts"
import type { ArtifactWriter } from "../../src/pipeline/StageContext.ts"
import { permanent } from "../../src/pipeline/StageError.ts"

export const writeResult = Effect.fn("writeResult")(function* <A, I>(
  output: Pick<ArtifactWriter<never>, "write">,
  file: string,
  schema: Schema.Codec<A, I>,
  result: A
) {
  const encoded = yield* Effect.mapError(Schema.encodeEffect(schema)(result), ({ message }) =>
    permanent(`what was measured is not all numbers: ${message}`, "weights that are not finite do that")
  )
  yield* output.write(file, `${JSON.stringify(encoded, null, 2)}\n`)
})

/** Writes what came of asking a task; in short, what came of the most steps. */
export const writeScore = Effect.fn("writeScore")(function* (
  output: Pick<ArtifactWriter<(typeof TaskScore)["metadata"]["Type"]>, "write" | "metadata">,
  result: TaskResult,
  metric: (name: string, value: number) => Effect.Effect<void>
) {
  const { problems, task } = result
  const exact = rightOf(slowest(result))
  yield* metric("eval/exact_match", exact / problems)
  yield* writeResult(output, "score.json", TaskResult, result)
  yield* output.metadata({ task, problems, exact })
})

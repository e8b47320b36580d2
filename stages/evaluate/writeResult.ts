/** Writes what was measured, as its schema says. */
import { Effect, Schema } from "effect"
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

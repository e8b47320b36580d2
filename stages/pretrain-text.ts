/** Makes the teacher's pre-training text from its pins. */
import { Effect, Schema } from "effect"
import { jsonLines, Pins, pretrainTexts } from "../src/corpora/pretrain.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent, StageError } from "../src/pipeline/StageError.ts"
import { CorpusPins, Documents } from "../src/artifacts/kinds.ts"

export const pretrainText = Stage.make("pretrain-text", {
  inputs: { pins: CorpusPins },
  parameters: Schema.Struct({}),
  outputs: { documents: Documents },
  resources: { cpus: 1, memoryMiB: 1024 },
  retries: { transient: 2 },
  run: Effect.fn("pretrain-text")(function* ({ inputs, outputs, progress }) {
    const pins = yield* Effect.mapError(Schema.decodeUnknownEffect(Pins)(yield* inputs.pins.text("pins.json")), error =>
      permanent(`pins.json: ${error.message}`)
    )
    let packages = 0
    const texts = yield* Effect.tryPromise({
      try: () =>
        pretrainTexts(pins, {
          onPackage: name => Effect.runSync(progress({ done: packages++, unit: "packages", note: name }))
        }),
      catch: cause =>
        new StageError({
          // The npm client's own failures are those of the network; a wrong digest never mends itself.
          class: cause instanceof Error && "stderr" in cause ? "transient" : "permanent",
          message: `the pre-training text cannot be made: ${cause instanceof Error ? cause.message : String(cause)}`,
          advice: "its packages come from the npm registry: `npm ping` tells whether it can be reached"
        })
    })
    yield* outputs.documents.write("documents.jsonl", jsonLines(texts))
    yield* outputs.documents.metadata({
      documents: texts.length,
      bytes: texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
    })
  })
})

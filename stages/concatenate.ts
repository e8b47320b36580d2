/** One set of token sequences from several, one after the other: what is trained on text and on examples of tasks alike. */
import { Effect, Schema, Stream } from "effect"
import { TokenSequences } from "../src/artifacts/kinds.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import type { Digest } from "../src/pipeline/Digest.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent } from "../src/pipeline/StageError.ts"

export const concatenate = Stage.make("concatenate", {
  /** In the order of their names. */
  inputs: { parts: Artifact.named(TokenSequences) },
  parameters: Schema.Struct({}),
  outputs: { sequences: TokenSequences },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("concatenate")(function* ({ inputs, outputs: { sequences } }) {
    const parts = Object.entries(inputs.parts)
    const [first] = parts
    if (first === undefined) return yield* permanent("there is nothing to concatenate")
    const { maxSeqLen, vocabSize } = first[1].metadata
    const order: Array<Digest> = []
    const sums = { documents: 0, sequences: 0, tokens: 0, learnt: 0 }
    for (const [name, part] of parts) {
      for (const [field, wanted] of Object.entries({ maxSeqLen, vocabSize }) as ReadonlyArray<
        ["maxSeqLen" | "vocabSize", number]
      >)
        if (part.metadata[field] !== wanted)
          return yield* permanent(
            `${name} has a ${field} of ${part.metadata[field]}, ${first[0]} one of ${wanted}`,
            "sequences of one set are cut by the same tokenizer at the same length"
          )
      yield* Stream.runForEach(part.items, item =>
        Effect.gen(function* () {
          const key = sequences.key(item.key)
          order.push(key)
          if (!sequences.has(key)) yield* sequences.put(key, yield* item.bytes, item.note)
        })
      )
      for (const sum of Object.keys(sums) as ReadonlyArray<keyof typeof sums>) sums[sum] += part.metadata[sum]
    }
    yield* sequences.finish(order, { ...sums, maxSeqLen, vocabSize })
  })
})

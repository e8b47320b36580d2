/** Makes problems that a program can check: prompts, the responses to learn, and both as one text. */
import { Effect, Schema } from "effect"
import { Documents } from "../src/artifacts/kinds.ts"
import { Count, PositiveInt, setting } from "../src/config/setting.ts"
import { jsonLines } from "../src/corpora/pretrain.ts"
import { families, makeProblems, seed } from "../src/corpora/problems.ts"
import * as Stage from "../src/pipeline/Stage.ts"

export const makeProblemSet = Stage.make("make-problems", {
  inputs: {},
  parameters: Schema.Struct({
    /** Which families of problems */
    families: setting(Schema.NonEmptyArray(Schema.Literals(families)), families),
    /** Problems of each family */
    count: PositiveInt,
    /** Where they begin in the family's list; ranges that do not overlap share no problem */
    first: setting(Count, 0),
    /** Of the lists */
    seed: setting(Schema.Int, seed)
  }),
  outputs: { documents: Documents },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("make-problems")(function* ({ outputs, parameters: { families, ...range }, progress }) {
    const problems = yield* Effect.forEach(families, (family, done) =>
      Effect.as(progress({ done, total: families.length, unit: "families", note: family }), makeProblems(family, range))
    )
    const all = problems.flat()
    const rows = all.map(({ prompt, response }) => ({ prompt, response, text: prompt + response }))
    yield* outputs.documents.write("problems.jsonl", jsonLines(rows))
    yield* outputs.documents.metadata({
      documents: all.length,
      bytes: all.reduce((sum, { prompt, response }) => sum + Buffer.byteLength(prompt) + Buffer.byteLength(response), 0)
    })
  })
})

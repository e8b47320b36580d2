/** What a protocol asks about the problems of a task. Its result is text alone: where a benchmark's code changes and its questions do not, nothing is decoded anew. */
import { Effect, Schema } from "effect"
import { Documents, Questions } from "../src/artifacts/kinds.ts"
import { setting } from "../src/config/setting.ts"
import { evenly } from "../src/evaluation/selection.ts"
import { Question } from "../src/evaluation/suiteFiles.ts"
import { suiteNames } from "../src/evaluation/tasks/suites.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError } from "../src/pipeline/StageError.ts"
import { HowMany, limit } from "./evaluate/heldOut.ts"
import { mustHave, readItems, suiteMethods, writeLines } from "./evaluate/suiteRows.ts"

/** Which benchmark, and whose way of running it. */
export const asked = {
  task: Schema.Literals(suiteNames),
  /** By default the first of the task's */
  protocol: Schema.optionalKey(Schema.String)
} as const

export const questions = Stage.make("questions", {
  inputs: { dataset: Documents },
  parameters: Schema.Struct({
    ...asked,
    /** How many problems are asked, at even distances, or `all`. Fewer than all are not the benchmark, and the score says so */
    problems: setting(HowMany, "all")
  }),
  outputs: { questions: Questions },
  methods: suiteMethods,
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("questions")(function* ({ inputs, outputs, parameters }) {
    const { items, protocol, suite } = yield* readItems(parameters, inputs.dataset)
    yield* mustHave(parameters.problems, items.length, `the data of ${suite.name}`)
    const chosen = evenly(items, limit(parameters.problems))
    const lines = chosen.map(({ gap, id, prompt, stops }) => ({
      id,
      prompt,
      ...(gap === undefined ? {} : { gap }),
      ...(stops === undefined ? {} : { stops })
    }))
    yield* writeLines(outputs.questions, "questions.jsonl", Question, lines)
    yield* outputs.questions.metadata({ task: suite.name, protocol, problems: chosen.length })
  }, Effect.mapError(asStageError))
})

/** Puts together the scores of a benchmark at several operating points, as those of a task are: what a grid reports. */
import { Array as Arr, Effect, Schema } from "effect"
import { Documents, SuiteScore, TaskScore } from "../src/artifacts/kinds.ts"
import { PositiveInt } from "../src/config/setting.ts"
import { type Answers, OperatingPoint, type TaskResult } from "../src/evaluation/results.ts"
import { Judged, SuiteResult } from "../src/evaluation/suiteFiles.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { readResult } from "../src/report/readRuns.ts"
import { readItems, readLines, suiteMethods } from "./evaluate/suiteRows.ts"
import { writeScore } from "./evaluate/writeResult.ts"
import { asked } from "./questions.ts"

export const collectAnswers = Stage.make("collect-answers", {
  inputs: {
    /** The rows that the questions were made of. */
    dataset: Documents,
    /** One sample of each problem, by the point's name. */
    scores: Artifact.named(SuiteScore)
  },
  parameters: Schema.Struct({
    ...asked,
    /** Tokens that an answer had room for */
    answerTokens: PositiveInt,
    points: Schema.NonEmptyArray(Schema.Struct({ score: Schema.String, point: OperatingPoint }))
  }),
  outputs: { score: TaskScore },
  methods: suiteMethods,
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("collect-answers")(function* ({ inputs, metric, outputs, parameters }) {
    const { items, suite } = yield* readItems(parameters, inputs.dataset)
    const read = yield* Effect.forEach(parameters.points, ({ point, score: name }) =>
      Effect.gen(function* () {
        const score = inputs.scores[name]
        if (score === undefined) return yield* permanent(`there is no score ${name}`)
        const result = yield* readResult(score, "score.json", SuiteResult)
        const [first] = yield* readLines(score, "samples.jsonl_results.jsonl", Judged)
        const responses = yield* Effect.forEach(result.byProblem, ({ forwards, right, samples, task_id, tokens }) =>
          samples === 1 && tokens !== undefined && forwards !== undefined
            ? Effect.succeed({ outcome: right === 1 ? ("right" as const) : ("wrong" as const), tokens, forwards })
            : Effect.fail(permanent(`${name}: ${task_id} must have one sample that was made here, it has ${samples}`))
        )
        const item = items.find(({ id }) => id === first?.task_id)
        if (!Arr.isReadonlyArrayNonEmpty(responses) || first === undefined || item === undefined)
          return yield* permanent(`${name} is not of the problems of ${suite.name}`)
        const answers: Answers = {
          point,
          responses,
          sample: { prompt: item.prompt, text: first.completion, answer: item.answer }
        }
        return { answers, result }
      })
    )
    const [{ result: first }] = read
    const other = read.find(({ result }) => result.weights !== first.weights || result.problems !== first.problems)
    if (first.weights === undefined || other !== undefined)
      return yield* permanent("the scores must be of one model, and of the same problems")
    const { draftTokens, drafter } = first.settings ?? {}
    const found: TaskResult = {
      weights: first.weights,
      task: suite.name,
      problems: first.problems,
      answerTokens: parameters.answerTokens,
      answers: Arr.map(read, ({ answers }) => answers),
      ...(draftTokens === undefined || drafter === undefined
        ? {}
        : { drafts: { tokens: draftTokens, weights: drafter } })
    }
    yield* writeScore(outputs.score, found, metric)
  }, Effect.mapError(asStageError))
})

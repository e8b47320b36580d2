/** What a stage that asks the problems of a task is declared with. */
import { Array as Arr, Effect, Schema, Stream } from "effect"
import { byMethod } from "../../src/config/byMethod.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { recordsOfArtifact } from "../../src/artifacts/records.ts"
import { makeEngine } from "../../src/engines/make.ts"
import { exactMatch } from "../../src/evaluation/tasks/exactMatch.ts"
import type { Task } from "../../src/evaluation/tasks/Task.ts"
import type { TaskResult } from "../../src/evaluation/results.ts"
import { evenly } from "../../src/evaluation/selection.ts"
import { decodeBy } from "../../src/formats/records.ts"
import { filesOf } from "../../src/models/artifact.ts"
import type { Stage } from "../../src/pipeline/Stage.ts"
import type { StageContext } from "../../src/pipeline/StageContext.ts"
import { asStageError, permanent } from "../../src/pipeline/StageError.ts"
import { Documents, ModelFiles, TaskScore } from "../../src/artifacts/kinds.ts"
import * as latents from "../decoding/byLatents.ts"
import * as masks from "../decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "../decodingMethods.ts"
import { writeScore } from "./writeResult.ts"

/** The likeliest token is taken; `topP` bears on how sure the model counts as, by which masks are revealed. */
const greedy = { temperature: 0, topP: 0.95 } as const

export const taskMethods = (answerTokens = 96) =>
  parametersOf(
    {
      /** Problems that are asked, at even distances */
      problems: setting(PositiveInt, 8),
      /** Tokens of an answer */
      answerTokens: setting(PositiveInt, answerTokens),
      /** Denoising steps of an answer: all are answered in each of these numbers */
      answerSteps: setting(Schema.NonEmptyArray(PositiveInt).check(Schema.isUnique()), [8]),
      /** Of texts, where `decoding` draws tokens */
      seed: setting(Schema.Int, 0)
    },
    () => ({ decoding: masks.decoding(greedy) }),
    () => ({ decoding: latents.decoding(greedy) })
  )

const inputs = {
  model: ModelFiles,
  /** Rows that the task reads. */
  dataset: Documents
}
const outputs = { score: TaskScore }

export type TaskStage = Stage<string, typeof inputs, ReturnType<typeof parametersFor>, typeof outputs>

const parametersFor = (answerTokens: number) => byMethod("method", "masked", taskMethods(answerTokens))

/** The options of `Stage.make` for a stage that asks the problems of a task and counts the right answers. */
export const asking = <P>(task: Task<P>) => {
  const parameters = parametersFor(task.answerTokens)
  return {
    inputs,
    parameters,
    outputs,
    methods: { ...decodingMethods, dispatch: [...decodingMethods.dispatch, "./evaluate/asking.ts"] as const },
    engine: true,
    run: Effect.fn("asking")(
      function* (context: StageContext<typeof inputs, (typeof parameters)["Type"], typeof outputs>) {
        const { engine: numericClass, metric, slots } = context
        const { answerSteps, answerTokens, decoding, method, problems: most, seed } = context.parameters
        const { dataset, model: files } = context.inputs
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const { model, own } = yield* modelOf(method, engine, yield* filesOf(files))
        const all = yield* Stream.runCollect(recordsOfArtifact(dataset, decodeBy(task.problem)))
        const problems = evenly(Array.from(all), most)
        if (!Arr.isReadonlyArrayNonEmpty(problems))
          return yield* permanent(`there are no problems of the task ${task.name}`)
        const { tokenizer } = model
        const result: TaskResult = {
          weights: files.digest,
          ...(yield* exactMatch({ task, problems, tokenizer, steps: answerSteps, seed }, shape =>
            own.generator(engine, model, { ...shape, newTokens: answerTokens }, decoding)
          ))
        }
        yield* writeScore(context.outputs.score, result, metric)
      },
      Effect.scoped,
      Effect.mapError(asStageError)
    )
  }
}

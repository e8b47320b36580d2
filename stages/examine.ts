/** Asks a causal language model the problems of a task, token by token, and counts the right answers. */
import { Array as Arr, Effect, Schema, Stream } from "effect"
import { Documents, ModelFiles, TaskScore } from "../src/artifacts/kinds.ts"
import { recordsOfArtifact } from "../src/artifacts/records.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import type { Sampling } from "../src/decoding/sampling.ts"
import { makeEngine } from "../src/engines/make.ts"
import type { TaskResult } from "../src/evaluation/results.ts"
import { evenly } from "../src/evaluation/selection.ts"
import { exactMatch } from "../src/evaluation/tasks/exactMatch.ts"
import { promptedTasks } from "../src/evaluation/tasks/tasks.ts"
import { decodeBy } from "../src/formats/records.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { causalGenerator } from "../src/sessions/autoregressive.ts"
import { HowMany, limit } from "./evaluate/heldOut.ts"
import { writeScore } from "./evaluate/writeResult.ts"

/** Whether the stage asks the task. */
export const isExamined = (task: string): task is keyof typeof promptedTasks => Object.hasOwn(promptedTasks, task)

const TaskName = Schema.Literals(Object.keys(promptedTasks) as ReadonlyArray<keyof typeof promptedTasks>)

export const examine = Stage.make("examine", {
  inputs: {
    model: ModelFiles,
    dataset: Documents,
    /** A diffusion model that drafts; left out where `draftTokens` is given, the model itself does. */
    drafter: Artifact.optional(ModelFiles)
  },
  parameters: Schema.Struct({
    task: TaskName,
    /** Problems that are asked, at even distances */
    problems: setting(HowMany, "all"),
    /** Tokens of an answer; by default those of the task */
    answerTokens: Schema.optionalKey(PositiveInt),
    /** Tokens that are drafted at once by diffusion and verified: the answers are the same, in fewer passes. By default none */
    draftTokens: Schema.optionalKey(PositiveInt),
    /** Of drawn tokens */
    seed: setting(Schema.Int, 0)
  }),
  outputs: { score: TaskScore },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("examine")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, slots }) {
      const task = promptedTasks[parameters.task]
      const newTokens = parameters.answerTokens ?? task.answerTokens
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const model = yield* loadModel(engine, yield* filesOf(inputs.model))
      const all = yield* Stream.runCollect(recordsOfArtifact(inputs.dataset, decodeBy(task.problem)))
      const problems = evenly(Array.from(all), limit(parameters.problems))
      if (!Arr.isReadonlyArrayNonEmpty(problems))
        return yield* permanent(`there are no problems of the task ${task.name}`)
      const { seed } = parameters
      const asked = { task, problems, tokenizer: model.tokenizer, points: [{ steps: newTokens }] as const, seed }
      const { draftTokens } = parameters
      const { drafter } = inputs
      if (drafter !== undefined && draftTokens === undefined)
        return yield* permanent("there is a drafter, but nothing says how much it drafts", "set draftTokens")
      const speculation =
        draftTokens === undefined
          ? undefined
          : {
              drafter: drafter === undefined ? model : yield* loadModel(engine, yield* filesOf(drafter)),
              draftTokens: Math.min(draftTokens, newTokens)
            }
      const result: TaskResult = {
        weights: inputs.model.digest,
        ...(yield* exactMatch(asked, shape =>
          causalGenerator(engine, model, { ...shape, newTokens }, greedy, speculation)
        )),
        ...(speculation === undefined
          ? {}
          : { drafts: { tokens: speculation.draftTokens, weights: (drafter ?? inputs.model).digest } })
      }
      yield* writeScore(outputs.score, result, metric)
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})

/** The likeliest token is taken. */
const greedy: Sampling = { temperature: 0 }

/** What a stage that asks the problems of a task is declared with. */
import { Array as Arr, Effect, Schema, Stream } from "effect"
import { byMethod } from "../../src/config/byMethod.ts"
import { consistent, type Contradiction } from "../../src/config/consistent.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { blockFault, type MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { Threshold } from "../../src/decoding/accepting.ts"
import { recordsOfArtifact } from "../../src/artifacts/records.ts"
import type { Sampling } from "../../src/decoding/sampling.ts"
import { makeEngine } from "../../src/engines/make.ts"
import { exactMatch } from "../../src/evaluation/tasks/exactMatch.ts"
import type { Task } from "../../src/evaluation/tasks/Task.ts"
import type { OperatingPoint, TaskResult } from "../../src/evaluation/results.ts"
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

const steps = Schema.Array(PositiveInt).check(Schema.isUnique())

/** By masks, answers are made in numbers of steps, by thresholds, or both. */
const ofMasks = {
  answerSteps: setting(steps, [8]),
  /**
   * Thresholds of a token's probability: all are answered with each of these, too, revealing in a step whatever reaches it, at least the surest token. They ask for `decoding.alg` to be `maskgit_plus`;
   * `answerSteps` may then be empty
   */
  thresholds: setting(Schema.Array(Threshold).check(Schema.isUnique()), []),
  decoding: masks.decoding(greedy)
}

interface MaskSettings {
  readonly answerSteps: ReadonlyArray<number>
  readonly thresholds: ReadonlyArray<number>
  readonly decoding: MaskDecoding
}

const rules: ReadonlyArray<(settings: MaskSettings) => Contradiction | undefined> = [
  ({ answerSteps, thresholds }) =>
    answerSteps.length + thresholds.length === 0
      ? { fields: ["answerSteps", "thresholds"], why: "one of them must say how answers are made" }
      : undefined,
  ({ decoding, thresholds }) =>
    thresholds.length === 0 || blockFault({ ...decoding, threshold: 1 }) === undefined
      ? undefined
      : {
          fields: ["thresholds", "decoding"],
          why: "thresholds are those of the probability by which the alg maskgit_plus reveals, with algTemp 0 and the schedule quota"
        },
  ({ decoding: { threshold } }) =>
    threshold === undefined
      ? undefined
      : { fields: ["decoding.threshold"], why: "a task is asked with several: say thresholds, a list" }
]

export const taskMethods = (answerTokens = 96) =>
  parametersOf(
    {
      /** Problems that are asked, at even distances */
      problems: setting(PositiveInt, 8),
      /** Tokens of an answer */
      answerTokens: setting(PositiveInt, answerTokens),
      /** Denoising steps of an answer: all are answered in each of these numbers */
      answerSteps: setting(steps.check(Schema.isMinLength(1)), [8]),
      /** Of texts, where `decoding` draws tokens */
      seed: setting(Schema.Int, 0)
    },
    () => ofMasks,
    () => ({ decoding: latents.decoding(greedy) }),
    consistent(...rules)
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
    // Rows of a grid are measured side by side.
    resources: { cpus: 1, memoryMiB: 2048 },
    run: Effect.fn("asking")(
      function* (context: StageContext<typeof inputs, (typeof parameters)["Type"], typeof outputs>) {
        const { engine: numericClass, metric, slots } = context
        const { answerTokens, method, problems: most, seed } = context.parameters
        const points = pointsOf(context.parameters)
        const { dataset, model: files } = context.inputs
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const { model, own } = yield* modelOf(method, engine, yield* filesOf(files))
        const all = yield* Stream.runCollect(recordsOfArtifact(dataset, decodeBy(task.problem)))
        const problems = evenly(Array.from(all), most)
        if (!Arr.isReadonlyArrayNonEmpty(problems))
          return yield* permanent(`there are no problems of the task ${task.name}`)
        if (!Arr.isReadonlyArrayNonEmpty(points)) return yield* permanent("nothing says how answers are made")
        const { tokenizer } = model
        const result: TaskResult = {
          weights: files.digest,
          ...(yield* exactMatch({ task, problems, tokenizer, points, seed }, shape =>
            own.generator(
              engine,
              model,
              { ...shape, newTokens: answerTokens },
              decodingOf(context.parameters, own.blockLength?.(model))
            )
          ))
        }
        yield* writeScore(context.outputs.score, result, metric)
      },
      Effect.scoped,
      Effect.mapError(asStageError)
    )
  }
}

interface Asked {
  readonly answerSteps: ReadonlyArray<number>
  readonly thresholds?: ReadonlyArray<number>
  readonly answerTokens: number
  readonly decoding: Sampling | MaskDecoding
}

/** The operating points that are asked for. */
export const pointsOf = ({
  answerSteps,
  thresholds = []
}: Pick<Asked, "answerSteps" | "thresholds">): ReadonlyArray<OperatingPoint> => [
  ...answerSteps.map(allowed => ({ steps: allowed })),
  ...thresholds.map(threshold => ({ threshold }))
]

/**
 * Where that can be, answers are decoded in blocks, those of the model or one of all tokens if nothing else is said: what is done does not wait for what comes behind its end.
 */
export const decodingOf = (
  { answerTokens, decoding }: Pick<Asked, "answerTokens" | "decoding">,
  ofModel: number = answerTokens
): Asked["decoding"] => {
  if (!("alg" in decoding)) return decoding
  const inBlocks = { blockLength: ofModel, ...decoding }
  return blockFault(inBlocks) === undefined ? inBlocks : decoding
}

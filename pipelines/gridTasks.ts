/** How the rows of a comparison, and their teacher, are asked its tasks: by a stage of the task's own, or, benchmarks of code, by the stages of the pipeline `evaluate` at each operating point. */
import type { Documents, ModelFiles, SuiteScore, TaskScore } from "../src/artifacts/kinds.ts"
import { byMethod, type Methods } from "../src/config/byMethod.ts"
import { decodeAssembled } from "../src/config/configFile.ts"
import type { OperatingPoint } from "../src/evaluation/results.ts"
import type { SuiteName } from "../src/evaluation/tasks/suites.ts"
import type { MethodName } from "../src/methods/Method.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { collectAnswers } from "../stages/collect-answers.ts"
import { pointsOf, taskMethods, type TaskStage } from "../stages/evaluate/asking.ts"
import { examine, isExamined } from "../stages/examine.ts"
import { judge } from "../stages/judge.ts"
import { questions } from "../stages/questions.ts"
import { runPrograms } from "../stages/run-programs.ts"
import { sample } from "../stages/sample.ts"
import { sampleCausal } from "../stages/sample-causal.ts"
import { score } from "../stages/score.ts"
import { follows } from "./follows.ts"
import { given } from "./given.ts"
import { meantFor, type Settings } from "./grid.ts"
import { suites } from "./suites.ts"

/** A task with its problems. */
export interface AskedTask {
  readonly name: string
  readonly ask: TaskStage | SuiteName
  readonly dataset: Ref<typeof Documents>
}

/** A stage that measures a model of some method. */
export interface Measuring {
  readonly name: string
  readonly settings: (given: Settings & { readonly name: string }) => { readonly method: string }
}

interface Row {
  readonly name: string
  readonly method: MethodName
  readonly model: Ref<typeof ModelFiles>
  /** The settings of a stage, with what is said of it; the method is the training's. */
  readonly measuring: (stage: Measuring, methods: Methods, said?: Settings) => Settings & { readonly name: string }
}

interface Teacher {
  /** How its stages are called. */
  readonly label: string
  readonly model: Ref<typeof ModelFiles>
  readonly drafter?: Ref<typeof ModelFiles>
}

export interface GridTask {
  readonly name: string
  readonly ofRow: (row: Row) => Ref<typeof TaskScore>
  /** Token by token, with the settings of `examine`. Left out where nobody asks the teacher. */
  readonly ofTeacher?: (settings: Settings, teacher: Teacher) => Ref<typeof TaskScore>
}

/** `said`: what a profile says of the task, as `evaluate.tasks`. */
export const gridTask = ({ ask, dataset, name }: AskedTask, said: Settings = {}): GridTask =>
  typeof ask === "string" ? bySuite(ask, { dataset, name }, said) : byStage(ask, { dataset, name }, said)

type Asked = Pick<AskedTask, "dataset" | "name">

const byStage = (ask: TaskStage, { dataset, name: task }: Asked, said: Settings): GridTask => ({
  name: task,
  ofRow: ({ measuring, model }) =>
    ask(Origin.overlay(measuring(ask, taskMethods(), said), { model, dataset }) as never),
  ...(isExamined(task)
    ? {
        ofTeacher: (settings, { drafter, label, model }) =>
          // The problems that the rows are asked.
          examine(
            Origin.overlay(Origin.overlay(given({ problems: said["problems"] }), settings), {
              name: label,
              task,
              model,
              dataset,
              ...given({ drafter })
            }) as Parameters<typeof examine>[0]
          )
      }
    : {})
})

/** What a benchmark has beside the settings of a task. */
const ofSuite = ["protocol"]

const bySuite = (suite: SuiteName, { dataset, name: task }: Asked, said: Settings): GridTask => {
  const { problems, protocol } = said
  const asked = { task: suite, ...given({ protocol }) } as Parameters<typeof questions.settings>[0]
  const { protocol: chosen } = questions.settings({ ...asked, name: task })
  const { protocols, runs } = suites[suite]
  const known = chosen === undefined ? Object.values(protocols)[0] : protocols[chosen]
  if (known === undefined)
    throw new ConfigError({
      at: `evaluate.tasks.${task}.protocol`,
      message: `${suite} has no protocol ${chosen}`,
      advice: `its protocols: ${Object.keys(protocols).join(", ")}`
    })
  const judging = { ...asked, ...given({ protocol: chosen }) }
  const prompts = questions({ ...judging, name: task, dataset, ...(given({ problems }) as object) })
  const methods = taskMethods(known.settings.newTokens)
  const settings = byMethod("method", "masked", methods)
  const fields = Origin.without(said, [...ofSuite, "problems"])
  const settingsOf = (method: MethodName) => {
    const own = Origin.overlay(meantFor(methods, method, fields), { method })
    return decodeAssembled(settings, own, `evaluate.tasks.${task}`)
  }
  const scored = (name: string, samples: ReturnType<typeof sample>): Ref<typeof SuiteScore> => {
    const attempts = judge({ ...judging, name, dataset, samples })
    const verdicts = runs ? runPrograms({ name, attempts }) : undefined
    return score({ name, attempts, samples, ks: [1], ...given({ verdicts }) })
  }
  return {
    name: task,
    ofRow: ({ method, model, name }) => {
      const own = settingsOf(method)
      const { answerTokens: newTokens, decoding, seed } = own
      const points = pointsOf(own).map(point => {
        const [label, how] = decodedAt(point, newTokens)
        const called = `${name}-${task}-${label}`
        const over = {
          name: called,
          method,
          newTokens,
          seed,
          steps: how.steps,
          decoding: { ...decoding, ...how.decoding }
        }
        const drawing = over as Parameters<typeof sample.settings>[0]
        follows(`sample/${called}.method`, sample.settings(drawing).method, method, "method")
        return { label, point, score: scored(called, sample({ ...drawing, model, questions: prompts })) }
      })
      return collected({ judging, dataset, name: `${name}-${task}`, newTokens }, points)
    },
    ofTeacher: (examining, { drafter, label, model }) => {
      const { answerTokens, seed } = settingsOf("masked")
      const { answerTokens: room } = examining
      const newTokens = typeof room === "number" ? room : answerTokens
      const own = Origin.overlay({ seed }, Origin.without(examining, ["answerTokens", "problems"]))
      const ports = { name: label, newTokens, model, questions: prompts, ...given({ drafter }) }
      const samples = sampleCausal(Origin.overlay(own, ports) as Parameters<typeof sampleCausal>[0])
      const point = { label: "whole", point: { steps: newTokens }, score: scored(label, samples) }
      return collected({ judging, dataset, name: label, newTokens }, [point])
    }
  }
}

/** What an operating point is called in names of stages, and the settings that make it. */
const decodedAt = (point: OperatingPoint, newTokens: number) =>
  "steps" in point
    ? ([String(point.steps), { steps: point.steps, decoding: {} }] as const)
    : ([`t${point.threshold}`, { steps: newTokens, decoding: { threshold: point.threshold } }] as const)

interface Collecting {
  readonly judging: Parameters<typeof questions.settings>[0]
  readonly dataset: Ref<typeof Documents>
  readonly name: string
  readonly newTokens: number
}

const collected = (
  { dataset, judging, name, newTokens }: Collecting,
  points: ReadonlyArray<{
    readonly label: string
    readonly point: OperatingPoint
    readonly score: Ref<typeof SuiteScore>
  }>
): Ref<typeof TaskScore> =>
  collectAnswers({
    ...judging,
    name,
    dataset,
    answerTokens: newTokens,
    points: points.map(({ label, point }) => ({ score: label, point })),
    scores: Object.fromEntries(points.map(each => [each.label, each.score]))
  } as unknown as Parameters<typeof collectAnswers>[0])

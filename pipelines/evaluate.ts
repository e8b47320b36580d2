/** A model on the field's benchmarks, and on tasks that ship with the program: samples, what says whether they are right, and pass@k (docs/evaluation.md). */
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { Schema } from "effect"
import type { ModelFiles, Questions, Samples } from "../src/artifacts/kinds.ts"
import { decodeAssembled } from "../src/config/configFile.ts"
import { type ChoiceTaskName, choiceTaskNames } from "../src/evaluation/tasks/choices.ts"
import { type SuiteName, suiteNames } from "../src/evaluation/tasks/suites.ts"
import type { ProtocolSettings } from "../src/evaluation/tasks/Task.ts"
import { decodes, type MethodName } from "../src/methods/Method.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadModel } from "../stages/download.ts"
import { evaluateChoices } from "../stages/evaluate-choices.ts"
import { judge } from "../stages/judge.ts"
import { questions } from "../stages/questions.ts"
import { runPrograms } from "../stages/run-programs.ts"
import { sample } from "../stages/sample.ts"
import { score } from "../stages/score.ts"
import { pathOf, readRow } from "./config.ts"
import { follows } from "./follows.ts"
import { given } from "./given.ts"
import { shipped, suites } from "./suites.ts"

const Source = { source: Schema.String, sha256: Schema.optionalKey(Schema.String) } as const

/** Parameters of a stage, which decodes them itself. */
const Parameters = Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))

const taskNames = [...suiteNames, ...choiceTaskNames]

/** A benchmark, and how it is asked. */
const Asked = Schema.Struct({
  /** Which one, where the name of the entry is another. */
  task: Schema.optionalKey(Schema.Literals(taskNames)),
  protocol: Schema.optionalKey(Schema.String),
  /** Where its problems are; left out where they ship with the program. */
  source: Schema.optionalKey(Schema.String),
  sha256: Schema.optionalKey(Schema.String),
  /** How many problems are asked, or `all`. */
  problems: Schema.optionalKey(Schema.Union([Schema.Literal("all"), Schema.Int])),
  /** Completions that were made elsewhere, which are scored in place of the model's. */
  completions: Schema.optionalKey(Schema.Struct(Source)),
  sample: Parameters,
  "run-programs": Parameters,
  score: Parameters,
  /** Of tasks with answers to choose from, in place of the others. */
  "evaluate-choices": Parameters
})
type Asked = typeof Asked.Type

const Evaluation = Schema.Struct({
  /** Left out where all completions were made elsewhere. */
  model: Schema.optionalKey(Schema.Struct(Source)),
  tasks: Schema.Record(Schema.String, Asked)
})

/** What is asked where nothing is said: a task that ships, of the model that ships. */
const usual = { model: { source: "embedded:teacher" }, tasks: { sort: { problems: 8 } } } as const

export default Pipeline.make(
  "evaluate",
  {
    description:
      "Asks a model the field's benchmarks and scores it: HumanEval, MBPP, infilling, GSM8K, MATH-500, own tasks",
    variants: ["config"],
    profiles: {
      usual: {
        description:
          "one task, as --set says (questions.task, download-documents.source, download-model.source), or the tasks of --config",
        needs: "what is named; bubblewrap and Python for tasks that run programs",
        make: () => ({})
      }
    }
  },
  ({ variant: { config } }) => {
    if (config !== undefined) {
      const url = pathToFileURL(resolve(config))
      const written = readRow(url)
      decodeAssembled(Evaluation, written, pathOf(url))
      // As it is written: it knows of every field where it stands.
      const { model, tasks } = written as typeof Evaluation.Type
      const names = Object.keys(tasks)
      if (names.length === 0)
        throw new ConfigError({
          at: `${config}: tasks`,
          message: "no task is named",
          advice: `tasks: ${taskNames.join(", ")}`
        })
      const weights = model === undefined ? undefined : downloadModel(model)
      return Object.fromEntries(names.map(name => [name, asking(name, tasks[name]!, weights, { name })]))
    }
    const { problems, task } = questions.settings({ task: "sort" })
    const own = task === "sort" && problems === "all" ? usual.tasks.sort : {}
    return asking(task, own, downloadModel(usual.model), {})
  }
)

interface Label {
  readonly name?: string
}

/** The stages of a task. `label`: how they are named, where there are several tasks. */
const asking = (entry: string, asked: Asked, model: Ref<typeof ModelFiles> | undefined, label: Label) => {
  const task = taskNamed(asked.task ?? entry)
  if (!isChoice(task)) return sampling({ ...asked, entry, task }, model, label)
  if (model === undefined) throw nobodyAnswers(entry)
  const dataset = dataOf(asked, { entry, task, label })
  const said = { ...label, task, model, dataset, ...given({ problems: asked.problems }) }
  return evaluateChoices(Origin.overlay(asked["evaluate-choices"] ?? {}, said) as Parameters<typeof evaluateChoices>[0])
}

const isChoice = (task: SuiteName | ChoiceTaskName): task is ChoiceTaskName =>
  choiceTaskNames.some(name => name === task)

const nobodyAnswers = (entry: string) =>
  new ConfigError({
    at: `tasks.${entry}`,
    message: "there is neither a model that answers nor a file of completions",
    advice: "name a model (model.source), or completions.source"
  })

/** The rows of a task. */
const dataOf = (
  { sha256, source }: Pick<Asked, "sha256" | "source">,
  { entry, label, task }: { readonly entry: string; readonly task: string; readonly label: Label }
) => {
  const from = source ?? downloadDocuments.written(label)["source"]
  if (from === undefined && !shipped.has(task))
    throw new ConfigError({
      at: label.name === undefined ? "--set download-documents.source" : `tasks.${entry}.source`,
      message: `where are the problems of ${task}?`,
      advice:
        "name a file (file:PATH, .jsonl, .json, .parquet or .jsonl.gz), an https address, or hf://datasets/ORG/NAME@REVISION/PATH"
    })
  const found = typeof from === "string" ? from : `embedded:${task}`
  return downloadDocuments({ ...label, source: found, dataType: "fields", ...given({ sha256 }) })
}

type Sampled = Omit<Asked, "task"> & { readonly entry: string; readonly task: SuiteName }

/** The stages of a task whose answers are written. */
const sampling = (
  { completions, entry, protocol: named, sha256, source, task: asked, ...settings }: Sampled,
  model: Ref<typeof ModelFiles> | undefined,
  label: Label
) => {
  const first = {
    ...label,
    task: asked,
    ...given({ protocol: named, problems: settings.problems })
  }
  const { protocol, task } = questions.settings(first)
  const suite = suites[task]
  const [name, chosen] = protocolOf(task, protocol)
  const dataset = dataOf(given({ sha256, source }), { entry, task, label })
  const checked = { ...label, task, protocol: name }
  const judgedBy = judge.settings(checked)
  follows("judge.task", judgedBy.task, task, "questions.task")
  follows("judge.protocol", judgedBy.protocol, name, "questions.protocol")
  const scoredBy = Origin.overlay(Origin.overlay({ ks: chosen.settings.ks }, settings.score ?? {}), label)
  const ranBy = Origin.overlay(settings["run-programs"] ?? {}, label)
  const scored = (attempts: ReturnType<typeof judge>, samples?: Ref<typeof Samples>) => {
    const verdicts = suite.runs ? runPrograms(Origin.overlay(ranBy, { attempts })) : undefined
    return score(Origin.overlay(scoredBy, { attempts, ...given({ samples, verdicts }) }) as Parameters<typeof score>[0])
  }
  if (completions !== undefined) {
    const made = downloadDocuments({ name: `${entry}-completions`, ...completions, dataType: "fields" })
    return scored(judge({ ...checked, dataset, completions: made }))
  }
  if (model === undefined) throw nobodyAnswers(entry)
  const samples = sampled(
    questions({ ...first, dataset }),
    chosen.settings,
    Origin.overlay(settings.sample ?? {}, label),
    model
  )
  return scored(judge({ ...checked, dataset, samples }), samples)
}

/** Samples as the protocol says, with what was said otherwise laid on it. */
const sampled = (
  asked: Ref<typeof Questions>,
  { decoding, newTokens, samples, steps }: ProtocolSettings,
  over: { readonly [field: string]: unknown },
  model: Ref<typeof ModelFiles>
): Ref<typeof Samples> => {
  const { method = "masked" } = sample.written(over as { readonly name?: string })
  const { temperature, topK, topP } = decoding
  const drawn = decodes[method as MethodName] === "latents" ? { temperature, ...given({ topK, topP }) } : decoding
  const settings = Origin.overlay({ samples, newTokens, steps, decoding: drawn }, over)
  return sample(Origin.overlay(settings, { model, questions: asked }) as Parameters<typeof sample>[0])
}

const taskNamed = (task: string) => {
  const found = taskNames.find(name => name === task)
  if (found !== undefined) return found
  throw new ConfigError({
    at: `tasks.${task}`,
    message: "there is no such task",
    advice: `the tasks: ${taskNames.join(", ")}`
  })
}

/** A protocol by its name, or a task's first. */
const protocolOf = (task: (typeof suiteNames)[number], name: string | undefined) => {
  const all = Object.entries(suites[task].protocols)
  const found = name === undefined ? all[0] : all.find(([known]) => known === name)
  if (found !== undefined) return found
  throw new ConfigError({
    at: "questions.protocol",
    message: `${task} has no protocol ${name}`,
    advice: `its protocols: ${all.map(([known]) => known).join(", ")}`
  })
}

/** How the pipeline `evaluate` asks a model a benchmark: the stages of an entry of its configuration, one after the other, for each way to decode. */
import { Schema } from "effect"
import type { ModelFiles, Questions, Samples, SuiteScore } from "../src/artifacts/kinds.ts"
import { type ChoiceTaskName, choiceTaskNames } from "../src/evaluation/tasks/choices.ts"
import { type SuiteName, suiteNames } from "../src/evaluation/tasks/suites.ts"
import type { ProtocolSettings } from "../src/evaluation/tasks/Task.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { downloadDocuments } from "../stages/download.ts"
import { evaluateChoices } from "../stages/evaluate-choices.ts"
import { judge } from "../stages/judge.ts"
import { questions } from "../stages/questions.ts"
import { runPrograms } from "../stages/run-programs.ts"
import { score } from "../stages/score.ts"
import { faulty } from "./faulty.ts"
import { follows } from "./follows.ts"
import { given } from "./given.ts"
import { drawn, type Settings, waysOf } from "./sampled.ts"
import { mustBeThere, shipped, suites } from "./suites.ts"

export const Source = { source: Schema.String, sha256: Schema.optionalKey(Schema.String) } as const

/** Parameters of a stage, which decodes them itself. */
const Parameters = Schema.Record(Schema.String, Schema.Unknown)

export const taskNames = [...suiteNames, ...choiceTaskNames]

/** A benchmark, and how it is asked. */
export const Asked = Schema.Struct({
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
  sample: Schema.optionalKey(Parameters),
  /** Ways to decode, by name: each is laid on `sample`. One with `autoregressive: true` goes token by token, with `draftTokens` by drafts. Left out, there is one way, that of `sample`. */
  decodings: Schema.optionalKey(Schema.Record(Schema.String, Parameters)),
  "run-programs": Schema.optionalKey(Parameters),
  score: Schema.optionalKey(Parameters),
  /** Of tasks with answers to choose from, in place of the others. */
  "evaluate-choices": Schema.optionalKey(Parameters)
})
export type Asked = typeof Asked.Type

/** Who answers. */
export interface Models {
  readonly model: Ref<typeof ModelFiles> | undefined
  /** Token by token. */
  readonly causal: Ref<typeof ModelFiles> | undefined
  /** Drafts for it, where that is another one. */
  readonly drafter?: Ref<typeof ModelFiles> | undefined
}

/** What came of an entry. */
export interface Entry {
  readonly name: string
  /** One without a name where nothing tells several apart. */
  readonly decodings: ReadonlyArray<{ readonly name?: string; readonly score: Ref<typeof SuiteScore> }>
  /** Left out of tasks with answers to choose from. */
  readonly questions?: Ref<typeof Questions>
  /** What was not run, and why. */
  readonly notRun: ReadonlyArray<string>
}

export interface Asking {
  readonly name: string
  readonly asked: Asked
  readonly models: Models
  /** How its stages are named, where there are several entries. */
  readonly label: { readonly name?: string }
  /** The file, for places in messages. */
  readonly root: object
}

/** The stages of an entry. */
export const entryOf = (asking: Asking): Entry => {
  const { asked, label, models, name } = asking
  const task = asked.task ?? name
  if (isSuite(task)) return sampling(asking, task)
  if (!isChoice(task))
    throw faulty(asking.root, ["tasks", name], {
      message: "there is no such task",
      advice: `the tasks: ${taskNames.join(", ")}`,
      part: "key"
    })
  if (models.model === undefined) throw nobodyAnswers(asking)
  const said = { ...label, task, model: models.model, dataset: dataOf(asking, task) }
  const settings = Origin.overlay(
    Origin.overlay(only(asked, ["problems"]), asked["evaluate-choices"] ?? {}),
    said
  ) as Parameters<typeof evaluateChoices>[0]
  return {
    name,
    decodings: [{ score: evaluateChoices(settings).score }],
    notRun: ["decoding: an answer is chosen by its likelihood, so that there are no tokens per forward pass"]
  }
}

const isSuite = (task: string): task is SuiteName => suiteNames.some(name => name === task)
const isChoice = (task: string): task is ChoiceTaskName => choiceTaskNames.some(name => name === task)

/** Some of the fields, each still known where it stands. */
const only = (fields: object, names: ReadonlyArray<string>): Settings =>
  Origin.without(
    fields as Settings,
    Object.keys(fields).filter(name => !names.includes(name))
  )

const nobodyAnswers = ({ name, root }: Asking) =>
  faulty(root, ["tasks", name], {
    message: "there is neither a model that answers nor a file of completions",
    advice: "name a model (model.source), or completions.source",
    part: "key"
  })

/** The rows of a task. */
const dataOf = ({ asked: { sha256, source }, label, name, root }: Asking, task: string) => {
  const from = source ?? downloadDocuments.written(label)["source"]
  if (from === undefined && !shipped.has(task)) {
    const message = `where are the problems of ${task}?`
    const advice =
      "name a file (file:PATH, .jsonl, .json, .parquet or .jsonl.gz), an https address, or hf://datasets/ORG/NAME@REVISION/PATH"
    throw label.name === undefined
      ? new ConfigError({ at: "--set download-documents.source", message, advice })
      : faulty(root, ["tasks", name, "source"], { message, advice, part: "key" })
  }
  const found = typeof from === "string" ? from : `embedded:${task}`
  const settings = { ...label, source: found, dataType: "fields" as const, ...given({ sha256 }) }
  mustBeThere(task, downloadDocuments.settings(settings).source, problem =>
    faulty(root, ["tasks", name, "source"], problem)
  )
  return downloadDocuments(settings)
}

/** The stages of a task whose answers are written. */
const sampling = (asking: Asking, written: SuiteName): Entry => {
  const { asked, label, models, name: entry, root } = asking
  const { completions } = asked
  const first = Origin.overlay({ ...label, task: written }, only(asked, ["protocol", "problems"]))
  const { protocol: named, task } = questions.settings(first as Parameters<typeof questions.settings>[0])
  const suite = suites[task]
  const [protocol, chosen] = protocolOf(asking, task, named)
  const dataset = dataOf(asking, task)
  const prompts = questions({ ...first, dataset } as Parameters<typeof questions>[0])
  /** The stages behind some attempts; `own` is how they are called. `most`: as many samples there are of each problem, where that is known. */
  const scored = (
    own: Asking["label"],
    attempted:
      | { readonly samples: Ref<typeof Samples> }
      | { readonly completions: ReturnType<typeof downloadDocuments> },
    most?: number
  ) => {
    const checked = { ...own, task, protocol }
    const judgedBy = judge.settings(checked)
    follows("judge.task", judgedBy.task, task, "questions.task")
    follows("judge.protocol", judgedBy.protocol, protocol, "questions.protocol")
    const attempts = judge({ ...checked, dataset, ...attempted })
    const verdicts = suite.runs
      ? runPrograms(Origin.overlay(Origin.overlay(asked["run-programs"] ?? {}, own), { attempts }))
      : undefined
    const ports = { attempts, ...given({ samples: "samples" in attempted ? attempted.samples : undefined, verdicts }) }
    const ks = ksOf(asking, own, chosen.settings, most)
    const settings = Origin.overlay(Origin.overlay(ks, asked.score ?? {}), own)
    return score(Origin.overlay(settings, ports) as Parameters<typeof score>[0])
  }
  if (completions !== undefined) {
    const made = downloadDocuments({ name: `${entry}-completions`, ...completions, dataType: "fields" })
    return {
      name: entry,
      decodings: [{ score: scored(label, { completions: made }) }],
      questions: prompts,
      notRun: ["decoding: the completions were made elsewhere, so that tokens and forward passes are not known"]
    }
  }
  const ways = waysOf(asking)
  const decodings = ways.map(way => {
    const own = way.name === undefined ? label : { name: `${label.name}-${way.name}` }
    if (way.autoregressive && suite.gaps === true)
      throw faulty(root, ["tasks", entry, "decodings", way.name!, "autoregressive"], {
        message: `${task} has gaps in its texts, which are not filled token by token`,
        advice: "leave the decoding out",
        part: "key"
      })
    const by = way.autoregressive ? models.causal : models.model
    if (by === undefined) throw nobodyAnswers(asking)
    const { most, samples } = drawn(way, { label: own, prompts, protocol: chosen.settings, models: { ...models, by } })
    return { ...given({ name: way.name }), score: scored(own, { samples }, most) }
  })
  return {
    name: entry,
    decodings,
    questions: prompts,
    notRun: [
      ...(suite.gaps === true
        ? ["token by token: gaps are not filled from left to right"]
        : ways.some(({ autoregressive }) => autoregressive)
          ? []
          : ["token by token: no decoding has autoregressive: true"]),
      ...(suite.gaps === true || ways.some(({ drafts }) => drafts)
        ? []
        : ["by drafts: no decoding has autoregressive: true and draftTokens"])
    ]
  }
}

/** The k of pass@k: those that were said, none of which may be above the number of samples; or those of the protocol that are not. */
const ksOf = (
  { asked, name, root }: Asking,
  own: Asking["label"],
  { ks }: ProtocolSettings,
  most: number | undefined
): { readonly ks: ReadonlyArray<number> } => {
  const said = score.written(Origin.overlay(asked.score ?? {}, own))["ks"]
  const above = Array.isArray(said) && most !== undefined ? said.findIndex(k => typeof k === "number" && k > most) : -1
  if (above >= 0) {
    const k = (said as ReadonlyArray<number>)[above]!
    const fault = {
      message: `pass@${k} needs ${k} samples of each problem, and there ${most === 1 ? "is 1" : `are ${most}`}`,
      advice: "lower it, or set sample.samples"
    }
    throw asked.score?.["ks"] === undefined || JSON.stringify(asked.score["ks"]) !== JSON.stringify(said)
      ? new ConfigError({ at: "--set score.ks", ...fault })
      : faulty(root, ["tasks", name, "score", "ks", above], fault)
  }
  const fitting = most === undefined ? [] : ks.filter(k => k <= most)
  return { ks: fitting.length > 0 ? fitting : [1] }
}

/** A protocol by its name, or a task's first. */
const protocolOf = ({ asked, name: entry, root }: Asking, task: SuiteName, name: string | undefined) => {
  const all = Object.entries(suites[task].protocols)
  const found = name === undefined ? all[0] : all.find(([known]) => known === name)
  if (found !== undefined) return found
  const fault = {
    message: `${task} has no protocol ${name}`,
    advice: `its protocols: ${all.map(([known]) => known).join(", ")}`
  }
  throw asked.protocol === name
    ? faulty(root, ["tasks", entry, "protocol"], fault)
    : new ConfigError({ at: "--set questions.protocol", ...fault })
}

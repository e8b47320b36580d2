/** A model on the field's benchmarks, and on tasks that ship with the program: samples, what says whether they are right, pass@k, and what is left of it as tokens are decoded more at a time (docs/evaluation.md). */
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { Schema } from "effect"
import { decodeAssembled } from "../src/config/configFile.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadModel } from "../stages/download.ts"
import { questions } from "../stages/questions.ts"
import { reportSuites } from "../stages/report-suites.ts"
import { Asked, type Entry, entryOf, type Models, Source, taskNames } from "./asking.ts"
import { pathOf, readRow } from "./config.ts"

const Evaluation = Schema.Struct({
  /** Left out where all completions were made elsewhere. */
  model: Schema.optionalKey(Schema.Struct(Source)),
  /** Who answers token by token; by default the model itself. */
  teacher: Schema.optionalKey(Schema.Struct(Source)),
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
  ({ command, variant: { config } }) => {
    if (config !== undefined) {
      const url = pathToFileURL(resolve(config))
      const written = readRow(url)
      decodeAssembled(Evaluation, written, pathOf(url))
      // As it is written: it knows of every field where it stands.
      const { model: student, tasks, teacher } = written as typeof Evaluation.Type
      const names = Object.keys(tasks)
      if (names.length === 0)
        throw new ConfigError({
          at: `${config}: tasks`,
          message: "no task is named",
          advice: `tasks: ${taskNames.join(", ")}`
        })
      const model = student === undefined ? undefined : downloadModel(student)
      const models: Models =
        teacher === undefined
          ? { model, causal: model }
          : { model, causal: downloadModel({ ...teacher, name: "teacher" }), drafter: model }
      return reported(
        command,
        names.map(name => entryOf({ name, asked: tasks[name]!, models, label: { name }, root: written }))
      )
    }
    const { problems, task } = questions.settings({ task: "sort" })
    const asked = task === "sort" && problems === "all" ? usual.tasks.sort : {}
    const model = downloadModel(usual.model)
    return reported(command, [entryOf({ name: task, asked, models: { model, causal: model }, label: {}, root: {} })])
  }
)

/** The scores, and their report. */
const reported = (command: string, entries: ReadonlyArray<Entry>): Pipeline.Targets => {
  const scores = Object.fromEntries(
    entries.flatMap(({ decodings, name }) =>
      decodings.map(({ name: decoding, score }) => [decoding === undefined ? name : `${name}/${decoding}`, score])
    )
  )
  return {
    scores,
    report: reportSuites({
      title: "evaluate",
      command,
      suites: entries.map(({ decodings, name, notRun }) => ({
        name,
        decodings: decodings.flatMap(({ name: decoding }) => decoding ?? []),
        notRun
      })),
      scores,
      questions: Object.fromEntries(
        entries.flatMap(({ name, questions: asked }) => (asked === undefined ? [] : [[name, asked]]))
      )
    })
  }
}

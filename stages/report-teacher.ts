/** Reports what a causal language model can do: its perplexity by domain, and the problems that it solves. */
import { Effect, Schema } from "effect"
import { Report, TaskScore } from "../src/artifacts/kinds.ts"
import { rightOf, slowest, TaskResult } from "../src/evaluation/results.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent } from "../src/pipeline/StageError.ts"
import { markdownTable, plain } from "../src/report/markdown.ts"
import { wilson } from "../src/report/statistics.ts"

const decodeScore = Schema.decodeUnknownEffect(Schema.fromJsonString(TaskResult))
const decodeEvaluation = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

export const reportTeacher = Stage.make("report-teacher", {
  inputs: {
    /** Of `evaluate-causal`. */
    evaluation: Report,
    /** Of `examine`, by task. */
    scores: Artifact.named(TaskScore)
  },
  parameters: Schema.Struct({ title: Schema.String }),
  outputs: { report: Report },
  resources: { cpus: 1, memoryMiB: 256 },
  run: Effect.fn("report-teacher")(
    function* ({ inputs, outputs: { report }, parameters: { title } }) {
      const evaluation = yield* decodeEvaluation(yield* inputs.evaluation.text("report.json"))
      const text = yield* inputs.evaluation.text("report.md")
      const tasks = yield* Effect.forEach(Object.values(inputs.scores), score =>
        Effect.flatMap(score.text("score.json"), decodeScore)
      )
      const shown = tasks.map(result => {
        const { problems, task } = result
        const answers = slowest(result)
        const exact = rightOf(answers)
        const { high, low } = wilson(exact, problems)
        return {
          task,
          problems,
          exact,
          share: exact / problems,
          low,
          high,
          sample: answers.sample
        }
      })
      yield* report.write("report.json", `${JSON.stringify({ ...evaluation, title, tasks: shown }, null, 2)}\n`)
      yield* report.write(
        "report.md",
        [
          `# ${plain(title)}`,
          "",
          ...text.split("\n").slice(2),
          "Problems solved, token by token at temperature 0, with Wilson's 95 % interval:",
          "",
          markdownTable(
            ["task", "problems", "right", "interval", "asked", "answered"],
            shown.map(({ high, low, problems, sample, share, task }) => [
              task,
              String(problems),
              percent(share),
              `${percent(low)} to ${percent(high)}`,
              sample.prompt,
              sample.text.trim()
            ])
          ),
          ""
        ].join("\n")
      )
      yield* report.metadata({ title })
    },
    Effect.mapError(error => (Schema.isSchemaError(error) ? permanent(error.message) : error))
  )
})

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

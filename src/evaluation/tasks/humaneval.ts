/** HumanEval (Chen et al. 2021, arXiv:2107.03374), and the same prompts with evalplus' tests (Liu et al. 2023, arXiv:2305.01210): the body of a function is written behind its head and description. */
import { Schema } from "effect"
import { checkProgram, cleanedProgram, Identifier, withoutFence } from "./python.ts"
import { cutAtStops, endsAt, type Protocol, type Suite } from "./Task.ts"

export const HumanEvalRow = Schema.Struct({
  task_id: Schema.NonEmptyString,
  prompt: Schema.NonEmptyString,
  canonical_solution: Schema.String,
  test: Schema.NonEmptyString,
  entry_point: Identifier
})
export type HumanEvalRow = typeof HumanEvalRow.Type

/** A body ends where something begins at the left margin. */
export const stops = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]

/** As in OpenAI's executor and lm-evaluation-harness: `samples.jsonl` can be scored by either. */
const verbatim = (rows: ReadonlyArray<HumanEvalRow>) =>
  rows.map(row => ({
    id: row.task_id,
    prompt: row.prompt,
    answer: row.canonical_solution,
    ...endsAt(stops),
    judge: (completion: string) => ({ program: checkProgram(row.prompt + completion, row) })
  }))

export const protocols: { readonly [name: string]: Protocol<HumanEvalRow> } = {
  "lm-eval": {
    about:
      "lm-evaluation-harness' humaneval: no examples, the likeliest tokens, one sample, 1,024 new tokens; the completion is cut at the first stop and tested behind the prompt as it stands",
    settings: {
      samples: 1,
      ks: [1],
      newTokens: 1024,
      steps: 1024,
      decoding: { temperature: 0, alg: "entropy" }
    },
    items: verbatim
  },
  "open-dllm": {
    about:
      "Open-dLLM's: 10 samples at temperature 0.8 from the 200 likeliest tokens (its top_p 0.95 is lost on the way), 128 new tokens in 128 steps by p2; of prompt and completion what can be run is tested",
    settings: {
      samples: 10,
      ks: [1, 10],
      newTokens: 128,
      steps: 128,
      decoding: { temperature: 0.8, topK: 200, alg: "p2" }
    },
    items: rows =>
      rows.map(row => ({
        id: row.task_id,
        prompt: row.prompt,
        answer: row.canonical_solution,
        completion: response => cutAtStops(withoutFence(response), stops),
        judge: completion => ({
          program: checkProgram(cleanedProgram(`${row.prompt}\n${completion}`, row.entry_point, row.test), row)
        })
      }))
  }
}

const shared = { row: HumanEvalRow, unique: "task_id", runs: true, problems: 164, protocols } as const

export const humaneval: Suite<HumanEvalRow> = { name: "humaneval", ...shared }

export const humanevalPlus: Suite<HumanEvalRow> = {
  name: "humaneval-plus",
  ...shared,
  // Its tests compare floating-point numbers by it.
  modules: ["numpy"]
}

export const suites = { humaneval, "humaneval-plus": humanevalPlus } as const

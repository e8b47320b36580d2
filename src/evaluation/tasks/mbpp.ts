/** MBPP (Austin et al. 2021, arXiv:2108.07732), and evalplus' selection of it with more tests: a function that passes some assertions, from a sentence and the assertions. */
import { Schema } from "effect"
import { untilFence } from "./python.ts"
import { cutAtStops, endsAt, type Protocol, RowsError, type Suite } from "./Task.ts"

const Tests = Schema.Array(Schema.String).check(Schema.isMinLength(3))

export const MbppRow = Schema.Struct({
  task_id: Schema.Int,
  text: Schema.NonEmptyString,
  code: Schema.String,
  test_list: Tests,
  test_setup_code: Schema.optionalKey(Schema.String)
})
export type MbppRow = typeof MbppRow.Type

export const MbppPlusRow = Schema.Struct({
  task_id: Schema.Union([Schema.Int, Schema.String]),
  prompt: Schema.NonEmptyString,
  code: Schema.String,
  test_list: Tests,
  test: Schema.NonEmptyString
})
export type MbppPlusRow = typeof MbppPlusRow.Type

/** Of the 974 problems those that are the test. */
const [firstTested, lastTested] = [11, 510]
/** The worked examples. */
const exampleIds = [2, 3, 4]

const stops = ["\nclass", "\n#", "\nif", "\nprint"]

/** What a problem of either set is to a protocol. */
interface Asked {
  readonly id: string
  readonly text: string
  readonly code: string
  readonly shown: ReadonlyArray<string>
  /** Behind the completion. */
  readonly tests: string
}

const mbppAsked = (row: MbppRow): Asked => ({
  id: `MBPP/${row.task_id}`,
  text: row.text,
  code: row.code,
  shown: row.test_list.slice(0, 3),
  tests: [row.test_setup_code ?? "", ...row.test_list].filter(line => line !== "").join("\n")
})

const plusAsked = (row: MbppPlusRow): Asked => ({
  id: String(row.task_id).startsWith("Mbpp/") ? String(row.task_id) : `Mbpp/${row.task_id}`,
  text: row.prompt,
  code: row.code,
  shown: row.test_list.slice(0, 3),
  tests: row.test
})

const tested = (rows: ReadonlyArray<MbppRow>): ReadonlyArray<MbppRow> =>
  rows.filter(({ task_id }) => task_id >= firstTested && task_id <= lastTested)

/** How lm-evaluation-harness asks, answered or not. */
const asked = ({ shown, text }: Asked): string =>
  `You are an expert Python programmer, and here is your task: ${text} Your code should pass these tests:\n\n${shown.join("\n")}\n[BEGIN]\n`

/** The examples stand in MBPP's file, which has them in a part of its own (ids 1 to 10). */
const examplesIn = (rows: ReadonlyArray<MbppRow>): string => {
  const found = exampleIds.map(id => rows.find(({ task_id }) => task_id === id))
  const lacking = exampleIds.filter((_, i) => found[i] === undefined)
  if (lacking.length > 0)
    throw new RowsError({
      message: `the data has no rows with task_id ${lacking.join(", ")}, the worked examples of this protocol`,
      advice: "use MBPP's whole file (mbpp.jsonl, 974 rows), or the protocol open-dllm, which shows none"
    })
  return found.map(row => `${asked(mbppAsked(row!))}${row!.code}\n[DONE]\n\n`).join("")
}

const greedy = {
  samples: 1,
  ks: [1],
  newTokens: 256,
  steps: 256,
  decoding: { temperature: 0, alg: "entropy" }
} as const

const sampled = {
  samples: 10,
  ks: [1, 10],
  newTokens: 128,
  steps: 128,
  decoding: { temperature: 0.8, topK: 200, alg: "p2" }
} as const

const inFence = (each: Asked) => ({
  id: each.id,
  prompt: `${each.text} Your code should pass these tests:\n\n${each.shown.join("\n")}\n\`\`\`python\n`,
  answer: each.code,
  completion: (response: string) => cutAtStops(untilFence(response), stops),
  judge: (completion: string) => ({ program: `${completion}\n${each.tests}` })
})

const withBrackets = (each: Asked, examples: string) => ({
  id: each.id,
  prompt: `${examples}${asked(each)}`,
  answer: each.code,
  ...endsAt(["[DONE]"]),
  judge: (completion: string) => ({ program: `${completion}\n${each.tests}` })
})

const seedAbout =
  "10 samples at temperature 0.8 from the 200 likeliest tokens, 128 new tokens in 128 steps by p2; the problem and three assertions, no examples, an opened code fence"

export const mbpp: Suite<MbppRow> = {
  name: "mbpp",
  row: MbppRow,
  unique: "task_id",
  runs: true,
  problems: 500,
  protocols: {
    "lm-eval": {
      about:
        "lm-evaluation-harness' mbpp: three worked examples between [BEGIN] and [DONE], the likeliest tokens, one sample, 256 new tokens",
      settings: greedy,
      items: rows => {
        const examples = examplesIn(rows)
        return tested(rows).map(row => withBrackets(mbppAsked(row), examples))
      }
    },
    "open-dllm": {
      about: `Open-dLLM's: ${seedAbout}`,
      settings: sampled,
      items: rows => tested(rows).map(row => inFence(mbppAsked(row)))
    }
  }
}

const plusProtocols: { readonly [name: string]: Protocol<MbppPlusRow> } = {
  "open-dllm": {
    about: `Open-dLLM's: ${seedAbout}`,
    settings: sampled,
    items: rows => rows.map(row => inFence(plusAsked(row)))
  },
  "zero-shot": {
    about:
      "lm-evaluation-harness' wording of mbpp_plus, without the worked examples (they are MBPP's, and not in this set), the likeliest tokens, one sample, 256 new tokens",
    settings: greedy,
    items: rows => rows.map(row => withBrackets(plusAsked(row), ""))
  }
}

export const mbppPlus: Suite<MbppPlusRow> = {
  name: "mbpp-plus",
  row: MbppPlusRow,
  unique: "task_id",
  runs: true,
  problems: 378,
  modules: ["numpy"],
  protocols: plusProtocols
}

export const suites = { mbpp, "mbpp-plus": mbppPlus } as const

/** A small task, as CONTRIBUTING.md says how to add one: sums, in digits or in words. */
import { Schema } from "effect"
import type { Task } from "../../src/evaluation/tasks/Task.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { asking } from "../../stages/evaluate/asking.ts"

const Problem = Schema.Struct({ question: Schema.String, answers: Schema.NonEmptyArray(Schema.String) })

export const sums: Task<typeof Problem.Type> = {
  name: "sums",
  problem: Problem,
  prompt: ({ question }) => `${question} = `,
  answers: ({ answers }) => answers,
  check: ({ answers }, response) => {
    const [first = ""] = response.trim().split(/\s/)
    return first === "" ? "missing" : answers.includes(first) ? "right" : "wrong"
  },
  answerTokens: 4
}

// In `stages/` this is `asking(sums)`: the modules of methods are named from there. Without them the key covers all methods.
const { methods: _methods, ...options } = asking(sums)

export const evaluateSums = Stage.make("evaluate-sums", options)

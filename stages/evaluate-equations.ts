/** The task `equations`: linear equations in one unknown, solved step by step. */
import { Result, Schema } from "effect"
import { answerOf, equationOf, holds } from "../src/evaluation/tasks/equations.ts"
import type { Task } from "../src/evaluation/tasks/Task.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

/** A prompt that ends in an equation, and a response whose last line is its answer. */
const Problem = Schema.Struct({
  prompt: Schema.String.check(
    Schema.makeFilter(prompt =>
      Result.match(equationOf(prompt), {
        onSuccess: () => undefined,
        onFailure: ({ message }) => `must end in an equation: ${message}`
      })
    )
  ),
  response: Schema.String
})

export const equations: Task<typeof Problem.Type> = {
  name: "equations",
  problem: Problem,
  prompt: ({ prompt }) => prompt,
  answers: ({ response }) => [response.trim().split("\n").at(-1)!],
  check: ({ prompt }, response) => {
    const equation = Result.getOrThrow(equationOf(prompt))
    const value = answerOf(response, equation.unknown)
    if (value === undefined) return "missing"
    return holds(equation, value) ? "right" : "wrong"
  },
  answerTokens: 96
}

export const evaluateEquations = Stage.make("evaluate-equations", asking(equations))

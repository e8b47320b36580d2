/** The task `solve`: linear equations with small numbers, in worked steps. */
import { Result } from "effect"
import { type Equation, holds, parseEquation, parseRational } from "./equations.ts"
import { promptedTask } from "./Task.ts"

const read = (prompt: string): Equation | undefined => {
  const text = /^Solve ([^\n]+):$/.exec(prompt)?.[1]
  const equation = text === undefined ? undefined : parseEquation(text)
  return equation === undefined || Result.isFailure(equation) ? undefined : equation.success
}

const term = String.raw`(?:\d+[a-z]?|[a-z])`
const side = `-?${term}(?: [+-] ${term})*`
/** Steps that are sums, and last the value. */
const form = new RegExp(`^(?:${side} = ${side}, )*[a-z] = [^,]+$`)

export const solve = promptedTask("solve", {
  example: "Solve 3x + 4 = x + 10:",
  read,
  /** The last step tells the value; it and every step before it must be true of it. */
  check: (question, response) => {
    if (!form.test(response)) return "missing"
    const steps = response.split(", ")
    const value = parseRational(new RegExp(`^${question.unknown} = (.+)$`).exec(steps.at(-1)!)?.[1] ?? "")
    if (value === undefined) return "missing"
    const isTrue = (step: string) => {
      const equation = parseEquation(step)
      return (
        Result.isSuccess(equation) && equation.success.unknown === question.unknown && holds(equation.success, value)
      )
    }
    return holds(question, value) && steps.slice(0, -1).every(isTrue) ? "right" : "wrong"
  },
  answerTokens: 28
})

/** The answer in a response: what is right, and what is not worth learning. */
import { Schema } from "effect"

/** `^` and `$` are the ends of lines. */
const compiled = (pattern: string): RegExp => new RegExp(pattern, "gm")

/** A regular expression that finds an answer. */
export const AnswerPattern = Schema.String.check(
  Schema.makeFilter(pattern => {
    try {
      compiled(pattern)
      return undefined
    } catch (cause) {
      return `must be a regular expression: ${cause instanceof Error ? cause.message : String(cause)}`
    }
  })
)

/** What the expression finds last: its first group, or where it has none the whole match, without blanks at the ends. */
export const answerIn = (pattern: string, response: string): string | undefined => {
  const last = [...response.matchAll(compiled(pattern))].at(-1)
  return last === undefined ? undefined : (last[1] ?? last[0]).trim()
}

/** Whether a response has the answer of another. Where that has none, nothing is right. */
export const hasAnswerOf = (pattern: string, response: string, right: string): boolean => {
  const answer = answerIn(pattern, right)
  return answer !== undefined && answerIn(pattern, response) === answer
}

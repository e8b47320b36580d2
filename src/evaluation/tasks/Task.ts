/** A task: problems whose answers a program can check. Each is a file of its own, `stages/evaluate-TASK.ts`, with the stage that asks a model. */
import type { Schema } from "effect"

/** How a response does: `missing` where it gives no answer in the expected form. */
export type Outcome = "right" | "wrong" | "missing"

export interface Task<Problem> {
  readonly name: string
  /** A row of the task's data; fields that it does not name are ignored. */
  readonly problem: Schema.Codec<Problem, unknown>
  /** The text that the model continues. */
  readonly prompt: (problem: Problem) => string
  /** The right answers as people write them; there may be several, any of which counts. The first stands in reports. */
  readonly answers: (problem: Problem) => readonly [string, ...ReadonlyArray<string>]
  /** Judges what a model wrote behind the prompt, until the end of text. */
  readonly check: (problem: Problem, response: string) => Outcome
  /** Tokens of an answer, by default. */
  readonly answerTokens: number
}

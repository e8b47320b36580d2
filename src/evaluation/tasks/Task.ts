/** A task: problems whose answers a program can check. A stage `evaluate-TASK` asks a model. */
import { Schema } from "effect"
import type { Outcome } from "../results.ts"

export type { Outcome }

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

/** A problem that is all in its prompt, with a right response. */
export interface Prompted {
  readonly prompt: string
  readonly response: string
}

/** A task whose problems are texts; `read` understands a prompt, and tells what it could not. */
export const promptedTask = <Question>(
  name: string,
  {
    answers,
    check,
    read,
    ...task
  }: {
    readonly read: (prompt: string) => Question | undefined
    /** What a prompt of the task looks like, for messages. */
    readonly example: string
    /** Judges a whole response: signs are plain, and no blank is at either end or beside another. */
    readonly check: (question: Question, response: string) => Outcome
    /** Other right answers than the response of the data. */
    readonly answers?: (question: Question, response: string) => ReadonlyArray<string>
    readonly answerTokens: number
  }
): Task<Prompted> => ({
  name,
  answerTokens: task.answerTokens,
  problem: Schema.Struct({
    prompt: Schema.String.check(
      Schema.makeFilter(prompt => (read(prompt) === undefined ? `must be like "${task.example}"` : undefined))
    ),
    response: Schema.String
  }),
  prompt: ({ prompt }) => prompt,
  answers: ({ prompt, response }) => [response.trim(), ...(answers?.(read(prompt)!, response.trim()) ?? [])],
  check: ({ prompt }, response) => check(read(prompt)!, plainText(response))
})

/** Minus signs as on a keyboard, and single blanks. */
export const plainText = (text: string): string => text.replaceAll("\u2212", "-").replaceAll(/ +/g, " ").trim()

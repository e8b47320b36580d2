/**
 * A task: problems whose answers a program can check. A stage `evaluate-TASK` asks a model one answer to each; the pipeline `evaluate` asks for samples, of these tasks and of the field's benchmarks
 * (docs/evaluation.md).
 */
import { Schema } from "effect"
import type { Outcome } from "../results.ts"

export type { Outcome }

/** What says whether an answer is right: a look at it, or a program that must run to its end. */
export type Judgement = { readonly outcome: Outcome } | { readonly program: string }

/** A problem as a protocol asks it. */
export interface Item {
  /** Unique in its set, as in `HumanEval/0`. */
  readonly id: string
  /** What the model continues, or what stands before the gap that it fills. */
  readonly prompt: string
  /** What stands behind the gap. The gap has as many tokens as the text `lengthOf`, or where there is none as the settings say. */
  readonly gap?: { readonly suffix: string; readonly lengthOf?: string }
  /** A right answer, for people. */
  readonly answer: string
  /** Nothing from the first of these on counts, so that decoding may end there. */
  readonly stops?: ReadonlyArray<string>
  /** What of a response counts. */
  readonly completion: (response: string) => string
  readonly judge: (completion: string) => Judgement
}

/** How a protocol decodes, where nothing else is said. The names are those of the stage `sample`. */
export interface ProtocolSettings {
  /** For each problem. */
  readonly samples: number
  /** The k of pass@k. */
  readonly ks: ReadonlyArray<number>
  readonly newTokens: number
  /** Denoising steps of a sample. */
  readonly steps: number
  readonly decoding: {
    readonly temperature: number
    readonly topP?: number
    readonly topK?: number
    readonly alg?: "origin" | "maskgit_plus" | "topk_margin" | "entropy" | "p2"
    readonly algTemp?: number
    readonly schedule?: "floor" | "quota" | "kappa"
  }
}

/** One of the ways in which a benchmark is run: prompts, stops, what is kept of a response, settings. Scores by different ones are not the same measurement. */
export interface Protocol<Row> {
  /** Whose way it is, and what is known of it: stands beside every score. */
  readonly about: string
  readonly settings: ProtocolSettings
  /** The problems of a data file; throws RowsError where it does not hold them. */
  readonly items: (rows: ReadonlyArray<Row>) => ReadonlyArray<Item>
}

/** A data file that lacks what a protocol needs. */
export class RowsError extends Schema.TaggedError<RowsError>()("RowsError", {
  message: Schema.String,
  advice: Schema.optionalKey(Schema.String)
}) {}

/** A benchmark: rows of a data file, and the ways in which models are asked about them. The first is the default. */
export interface Suite<Row> {
  readonly name: string
  /** A row of the data file; fields that it does not name are ignored. */
  readonly row: Schema.Codec<Row, unknown>
  /** The field by which rows are told apart: no two have the same. Left out where they have no names. */
  readonly unique?: keyof Row & string
  /** Whether completions are judged by running them. */
  readonly runs: boolean
  /** Whether its texts have gaps, which models that go from left to right do not fill. */
  readonly gaps?: boolean
  /** Problems of the whole set, as published: fewer are a partial set, and the score says so. Left out where there is no such number. */
  readonly problems?: number
  /** Modules beside Python's own that its programs import. */
  readonly modules?: ReadonlyArray<string>
  readonly protocols: { readonly [name: string]: Protocol<Row> }
}

/** One of whatever rows, which its own schema has read. */
export type AnySuite = Suite<never>

/** What stands before the first of some stops. */
export const cutAtStops = (text: string, stops: ReadonlyArray<string>): string =>
  text.slice(
    0,
    stops.reduce((first, stop) => {
      const at = text.indexOf(stop)
      return at < 0 ? first : Math.min(first, at)
    }, text.length)
  )

/** Of an item: a response counts until the first of some stops. */
export const endsAt = (stops: ReadonlyArray<string>) =>
  ({ stops, completion: response => cutAtStops(response, stops) }) satisfies Pick<Item, "stops" | "completion">

/** A task as a suite: its own prompt and check, one sample, the likeliest tokens. Problems have no names but their places. */
export const suiteOf = <Problem>(task: Task<Problem>): Suite<Problem> => ({
  name: task.name,
  row: task.problem,
  runs: false,
  protocols: {
    own: {
      about: "the task's own: the likeliest tokens until the end of text, judged whole",
      settings: {
        samples: 1,
        ks: [1],
        newTokens: task.answerTokens,
        steps: task.answerTokens,
        decoding: { temperature: 0 }
      },
      items: problems =>
        problems.map((problem, i) => ({
          id: `${task.name}/${i}`,
          prompt: task.prompt(problem),
          answer: task.answers(problem)[0],
          completion: response => response,
          judge: completion => ({ outcome: task.check(problem, completion) })
        }))
    }
  }
})

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

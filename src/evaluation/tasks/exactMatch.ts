/** Exact match on the problems of a task. */
import { Array as Arr, Effect } from "effect"
import type { Tokenizer } from "../../tokens/tokenizer.ts"
import { type Generator, type GeneratorShape, untilEnd } from "../../sessions/generator.ts"
import type { Answers, TaskResult } from "../results.ts"
import type { Task } from "./Task.ts"
import { greatest } from "../../pipeline/lists.ts"

export interface Exam<Problem> {
  readonly task: Task<Problem>
  readonly problems: Arr.NonEmptyReadonlyArray<Problem>
  readonly tokenizer: Tokenizer
  /** Numbers of steps, each of which the problems are answered in. */
  readonly steps: Arr.NonEmptyReadonlyArray<number>
  readonly seed: number
}

/** Lets a model answer problems, and tells which answers are right. `makeGenerator` is told how much room they need. */
export const exactMatch = <P, E, E2, R>(
  { problems, seed, steps, task, tokenizer }: Exam<P>,
  makeGenerator: (shape: Omit<GeneratorShape, "newTokens">) => Effect.Effect<Generator<E>, E2, R>
): Effect.Effect<Omit<TaskResult, "weights">, E | E2, R> =>
  Effect.gen(function* () {
    const prompts = problems.map(problem => tokenizer.encode(task.prompt(problem)))
    const generator = yield* makeGenerator({
      prompts: prompts.length,
      promptTokens: greatest(prompts.map(({ length }) => length))
    })
    const answers = yield* Effect.forEach(steps, allowed =>
      Effect.map(generator.generate({ prompts, steps: allowed, seed }), ({ forwards, sequences }): Answers => {
        const ids = sequences.map((sequence, i) => untilEnd(sequence.subarray(prompts[i]!.length), tokenizer.eosId))
        const responses = ids.map(own => tokenizer.decode(own, { skipSpecialTokens: true }))
        const [first] = problems
        return {
          steps: allowed,
          forwards,
          tokens: ids.reduce((sum, { length }) => sum + length, 0),
          outcomes: Arr.map(problems, (problem, i) => task.check(problem, responses[i]!)),
          sample: { prompt: task.prompt(first), text: responses[0]!, answer: task.answers(first)[0] }
        }
      })
    )
    return { task: task.name, problems: problems.length, answers }
  })

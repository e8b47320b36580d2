/** Exact match on the problems of a task. */
import { Effect } from "effect"
import type { Tokenizer } from "../../tokens/tokenizer.ts"
import { type Generator, type GeneratorShape, untilEnd } from "../../sessions/generator.ts"
import type { TaskResult } from "../results.ts"
import type { Task } from "./Task.ts"
import { greatest } from "../../pipeline/lists.ts"

export interface Exam<Problem> {
  readonly task: Task<Problem>
  /** At least one. */
  readonly problems: ReadonlyArray<Problem>
  readonly tokenizer: Tokenizer
  readonly steps: number
  readonly seed: number
}

/** Lets a model answer problems, and counts whose answers are right. `makeGenerator` is told how much room they need. */
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
    const { sequences } = yield* generator.generate({ prompts, steps, seed })
    const responses = sequences.map((ids, i) =>
      tokenizer.decode(untilEnd(ids.subarray(prompts[i]!.length), tokenizer.eosId), { skipSpecialTokens: true })
    )
    const outcomes = problems.map((problem, i) => task.check(problem, responses[i]!))
    return {
      task: task.name,
      problems: problems.length,
      exact: outcomes.filter(outcome => outcome === "right").length,
      answered: outcomes.filter(outcome => outcome !== "missing").length,
      steps,
      sample: { prompt: task.prompt(problems[0]!), text: responses[0]!, answer: task.answers(problems[0]!)[0] }
    }
  })

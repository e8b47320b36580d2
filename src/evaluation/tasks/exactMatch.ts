/** Exact match on the problems of a task. */
import { Array as Arr, Effect } from "effect"
import type { Tokenizer } from "../../tokens/tokenizer.ts"
import { type GeneratedTexts, type GeneratorShape, type Writer, untilEnd } from "../../sessions/generator.ts"
import type { Answers, OperatingPoint, TaskResult } from "../results.ts"
import type { Task } from "./Task.ts"
import { greatest } from "../../pipeline/lists.ts"

export interface Exam<Problem> {
  readonly task: Task<Problem>
  readonly problems: Arr.NonEmptyReadonlyArray<Problem>
  readonly tokenizer: Tokenizer
  /** At each of which the problems are answered. */
  readonly points: Arr.NonEmptyReadonlyArray<OperatingPoint>
  readonly seed: number
}

/** Lets a model answer problems, and tells which answers are right. `makeGenerator` is told how much room they need. */
export const exactMatch = <P, E, E2, R>(
  { points, problems, seed, task, tokenizer }: Exam<P>,
  makeGenerator: (shape: Omit<GeneratorShape, "newTokens">) => Effect.Effect<Writer<E>, E2, R>
): Effect.Effect<Omit<TaskResult, "weights">, E | E2, R> =>
  Effect.gen(function* () {
    const prompts = problems.map(problem => tokenizer.encode(task.prompt(problem)))
    const generator = yield* makeGenerator({
      prompts: prompts.length,
      promptTokens: greatest(prompts.map(({ length }) => length))
    })
    const { newTokens } = generator
    const made = new Map<string, GeneratedTexts>()
    /** Texts at a point. Threshold 1 reveals a token a step, as as many steps as tokens do. */
    const textsAt = (point: OperatingPoint) =>
      Effect.gen(function* () {
        const threshold = "threshold" in point && point.threshold < 1 ? { threshold: point.threshold } : {}
        const steps = generator.stepsThatCount("steps" in point ? point.steps : newTokens)
        const key = JSON.stringify([steps, threshold])
        const texts = made.get(key) ?? (yield* generator.generate({ prompts, steps, seed, reuse: true, ...threshold }))
        made.set(key, texts)
        return texts
      })
    const [first] = problems
    const answers = yield* Effect.forEach(points, point =>
      Effect.map(textsAt(point), ({ forwards, sequences }): Answers => {
        const ids = sequences.map((sequence, i) => untilEnd(sequence.subarray(prompts[i]!.length), tokenizer.ends))
        const texts = ids.map(own => tokenizer.decode(own, { skipSpecialTokens: true }))
        return {
          point,
          responses: Arr.map(problems, (problem, i) => ({
            outcome: task.check(problem, texts[i]!),
            // The end of text is a token that was found, too.
            tokens: Math.min(newTokens, ids[i]!.length + 1),
            forwards: forwards[i]!
          })),
          sample: { prompt: task.prompt(first), text: texts[0]!, answer: task.answers(first)[0] }
        }
      })
    )
    return { task: task.name, problems: problems.length, answerTokens: newTokens, answers }
  })

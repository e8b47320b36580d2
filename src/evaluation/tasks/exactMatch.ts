/** Exact match on problems with answers that a program can check. */
import { Effect } from "effect"
import { checkAnswer } from "./equations.ts"
import type { Sequence } from "../../tokens/sequences.ts"
import type { Tokenizer } from "../../tokens/tokenizer.ts"
import { type Generator, untilEnd } from "../../sessions/generator.ts"
import { permanent, type StageError } from "../../pipeline/StageError.ts"
import type { EvaluationResult } from "../results.ts"

/** The longest prompt, in tokens: what a generator has to have room for. */
export const longestPrompt = (problems: ReadonlyArray<Sequence>): number =>
  problems.reduce((most, { promptLength }) => Math.max(most, promptLength), 0)

/** Lets a model answer problems, each a prompt and its solution, and counts whose answer solves the equation of the prompt. */
export const exactMatch = <E>(
  generator: Generator<E>,
  problems: ReadonlyArray<Sequence>,
  tokenizer: Tokenizer,
  { seed, steps }: { readonly seed: number; readonly steps: number }
): Effect.Effect<NonNullable<EvaluationResult["reasoning"]>, E | StageError> =>
  Effect.gen(function* () {
    const text = (ids: Int32Array): string => tokenizer.decode(ids, { skipSpecialTokens: true })
    const prompts = problems.map(({ ids, promptLength }) => ids.subarray(0, promptLength))
    const { sequences } = yield* generator.generate({ prompts, steps, seed })
    const responses = sequences.map((ids, i) => text(untilEnd(ids.subarray(prompts[i]!.length), tokenizer.eosId)))
    let [exact, answered] = [0, 0]
    for (const [i, response] of responses.entries()) {
      const outcome = yield* Effect.mapError(
        Effect.fromResult(checkAnswer(text(prompts[i]!), response)),
        ({ message }) => permanent(`problem ${problems[i]!.document} of the reasoning set: ${message}`)
      )
      if (outcome !== "missing") answered++
      if (outcome === "right") exact++
    }
    const [first] = problems
    return {
      problems: problems.length,
      exact,
      answered,
      steps,
      sample: {
        prompt: first === undefined ? "" : text(prompts[0]!),
        text: responses[0] ?? "",
        // The last line of a solution is the answer.
        answer:
          first === undefined ? "" : (text(first.ids.subarray(first.promptLength)).trim().split("\n").at(-1) ?? "")
      }
    }
  })

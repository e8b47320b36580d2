/** Exact match on a small task, with a generator that is told what to write. */
import { Array as Arr, Effect } from "effect"
import { assert, describe, it } from "vitest"
import { exactMatch } from "../../../src/evaluation/tasks/exactMatch.ts"
import { rightOf, slowest, tokensPerForward } from "../../../src/evaluation/results.ts"
import type { GenerationRequest } from "../../../src/sessions/generator.ts"
import { sums } from "../../support/sumsTask.ts"
import { loadFrom, shippedDirectory } from "../../support/tokenizers.ts"

const problems = [
  { question: "2 + 2", answers: ["4", "four"] },
  { question: "20 + 3", answers: ["23"] },
  { question: "1 + 1", answers: ["2", "two"] },
  { question: "0 + 0", answers: ["0"] }
] as const

describe("exact match", () => {
  it("counts any of the right answers, up to the end of the text, and those that are in the expected form", async () => {
    const tokenizer = loadFrom(shippedDirectory)
    const asked: Array<GenerationRequest> = []
    const written = ["four", "24 or 23", "", "0 0"].map(text => tokenizer.encode(text))
    const after = tokenizer.encode("23")
    const shapes: Array<object> = []
    const result = await Effect.runPromise(
      exactMatch({ task: sums, problems, tokenizer, steps: [3, 1], seed: 7 }, shape => {
        shapes.push(shape)
        return Effect.succeed({
          newTokens: 20,
          stepsThatCount: (steps: number) => steps,
          generate: (request: GenerationRequest) => {
            asked.push(request)
            const sequences = request.prompts.map((prompt, i) =>
              Int32Array.from([...Array.from(prompt), ...written[i]!, tokenizer.eosId, ...after])
            )
            return Effect.succeed({ sequences, forwards: request.steps, forwardMs: 1, flops: 1 })
          }
        })
      })
    )
    const prompts = problems.map(({ question }) => tokenizer.encode(`${question} = `))
    assert.deepStrictEqual(shapes, [{ prompts: 4, promptTokens: Math.max(...prompts.map(({ length }) => length)) }])
    assert.deepInclude(asked[0]!, { prompts, steps: 3, seed: 7 })
    const tokens = written.reduce((sum, { length }) => sum + length, 0)
    assert.deepStrictEqual(result, {
      task: "sums",
      problems: 4,
      answers: Arr.map([3, 1] as const, steps => ({
        steps,
        forwards: steps,
        tokens,
        outcomes: ["right", "wrong", "missing", "right"] as const,
        sample: { prompt: "2 + 2 = ", text: "four", answer: "4" }
      }))
    })
    const [, fast] = result.answers
    assert.strictEqual(rightOf(fast!), 2)
    assert.strictEqual(slowest({ weights: "", ...result }).steps, 3)
    assert.strictEqual(tokensPerForward(fast!), tokens / 4)
  })
})

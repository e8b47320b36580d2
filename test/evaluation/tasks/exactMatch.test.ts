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

/** Tokens of an answer: the longest below has as many, and no end. */
const room = 3
const points = [{ steps: 2 }, { steps: 1 }, { steps: 9 }, { threshold: 0.9 }, { threshold: 1 }] as const

describe("exact match", () => {
  it("counts any of the right answers, up to the end of the text, and those that are in the expected form", async () => {
    const tokenizer = loadFrom(shippedDirectory)
    const asked: Array<GenerationRequest> = []
    const written = ["four", "24 or 23", "", "0 0"].map(text => tokenizer.encode(text))
    const after = tokenizer.encode("23")
    const shapes: Array<object> = []
    const result = await Effect.runPromise(
      exactMatch({ task: sums, problems, tokenizer, points, seed: 7 }, shape => {
        shapes.push(shape)
        return Effect.succeed({
          newTokens: room,
          stepsThatCount: (steps: number) => Math.min(room, steps),
          generate: (request: GenerationRequest) => {
            asked.push(request)
            const sequences = request.prompts.map((prompt, i) =>
              Int32Array.from([...Array.from(prompt), ...written[i]!, tokenizer.eosId, ...after])
            )
            const forwards = request.prompts.map((_, i) => request.steps + i)
            return Effect.succeed({ sequences, tokens: forwards, forwards, passes: 1, forwardMs: 1, flops: 1 })
          }
        })
      })
    )
    const prompts = problems.map(({ question }) => tokenizer.encode(`${question} = `))
    assert.deepStrictEqual(shapes, [{ prompts: 4, promptTokens: Math.max(...prompts.map(({ length }) => length)) }])
    // More steps than tokens, and a threshold that nothing reaches, are a step for each token: these texts are made once.
    assert.deepStrictEqual(
      asked.map(({ steps, threshold }) => [steps, threshold]),
      [
        [2, undefined],
        [1, undefined],
        [room, undefined],
        [room, 0.9]
      ]
    )
    for (const request of asked) assert.deepInclude(request, { prompts, seed: 7 })
    const outcomes = ["right", "wrong", "missing", "right"] as const
    // The end of text is a token that was found.
    const tokens = written.map(({ length }) => Math.min(room, length + 1))
    assert.include(
      written.map(({ length }) => length),
      room
    )
    assert.include(tokens, 1)
    const allowed = [2, 1, room, room, room]
    assert.deepStrictEqual(result, {
      task: "sums",
      problems: 4,
      answerTokens: room,
      answers: Arr.map(points, (point, p) => ({
        point,
        responses: Arr.map(outcomes, (outcome, i) => ({ outcome, tokens: tokens[i]!, forwards: allowed[p]! + i })),
        sample: { prompt: "2 + 2 = ", text: "four", answer: "4" }
      }))
    })
    const [, fast] = result.answers
    assert.strictEqual(rightOf(fast!), 2)
    assert.deepStrictEqual(slowest({ weights: "", ...result }).point, { steps: 9 })
    const sum = tokens.reduce((all, each) => all + each, 0)
    assert.strictEqual(tokensPerForward(fast!), sum / (1 + 2 + 3 + 4))
    assert.strictEqual(tokensPerForward(fast!, result.answers[0]), (2 * sum) / (1 + 2 + 3 + 4 + 2 + 3 + 4 + 5))
  })
})

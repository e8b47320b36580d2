/** What is watched costs more passes to the host and the probabilities of all masks: nothing of it is asked for where nobody watches. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { diffusion, type Task } from "../../src/cli/verbs/generate/texts.ts"
import type { GenerationRequest } from "../../src/sessions/generator.ts"

const asked: Array<GenerationRequest> = []
const task = {
  method: {
    generator: () =>
      Effect.succeed({
        stepsThatCount: (steps: number) => steps,
        generate: (request: GenerationRequest) =>
          Effect.sync(() => {
            asked.push(request)
            return { sequences: [Int32Array.of(1, 2)], forwards: [1] }
          })
      })
  },
  model: { tokenizer: { decode: () => "", ends: new Set<number>() } },
  prompts: [Int32Array.of(1)],
  newTokens: 1,
  seed: 0,
  stops: []
} as unknown as Task

const settings = { temperature: 0, alg: "maskgit_plus", algTemp: 0, schedule: "quota", eps: 1e-3, steps: 1 } as const

describe("texts from masks", () => {
  it.effect("are looked at step by step just where somebody watches", () =>
    Effect.gen(function* () {
      asked.length = 0
      yield* diffusion(task, settings, [])
      yield* diffusion(task, settings, [{ show: () => undefined, end: () => undefined }])
      expect(asked.map(({ onStep }) => onStep !== undefined)).toEqual([false, true])
    })
  )
})

/** Drafts by diffusion that an autoregressive model verifies: the same texts as without them, many side by side. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { causalGenerator } from "../../src/sessions/autoregressive.ts"
import { expertsConfig, hybridConfig, modelConfig } from "../support/tinyModel.ts"

const tokenizer = { ends: new Set([9]), maskId: 10, padId: 0 } as never
const prompts = [[1, 2, 3, 4, 5], [6, 7], [8, 1, 6], [5], [2, 2, 2]].map(ids => Int32Array.from(ids))
const newTokens = 11
const shape = { prompts: 3, promptTokens: 5, newTokens }

const models: { readonly [name: string]: ModelConfig } = {
  attention: modelConfig({ initializerRange: 0.5 }),
  hybrid: hybridConfig({ initializer_range: 0.5 }),
  "hybrid, both ways": hybridConfig({ hybrid_bidirectional: "two_scan", initializer_range: 0.5 }),
  experts: expertsConfig({ initializer_range: 0.5 })
}

describe("a generator token by token", () => {
  it.live.each(Object.keys(models))("of a model of %s writes the same in any company, and with drafts", name =>
    Effect.gen(function* () {
      const config = models[name]!
      const engine = yield* makeOrt()
      const weightsOf = (seed: number) =>
        Effect.gen(function* () {
          const parameters = yield* allocateParameters(engine, parameterSpecs(config))
          yield* initialise(engine, parameters, seed)
          return { config, parameters: parameters.views, tokenShift: true, tokenizer }
        })
      const [model, other] = [yield* weightsOf(5), yield* weightsOf(6)]
      for (const temperature of [0, 0.7]) {
        const plain = yield* causalGenerator(engine, model, shape, { temperature })
        const expected = yield* plain.generate({ prompts, steps: newTokens, seed: 3 })
        const alone = yield* Effect.forEach(prompts, prompt =>
          plain.generate({ prompts: [prompt], steps: newTokens, seed: 3 })
        )
        expect(alone.flatMap(({ sequences }) => sequences)).toEqual(expected.sequences)
        expect(alone.flatMap(({ forwards }) => forwards)).toEqual(expected.forwards)
        expect(expected.forwards).toEqual(expected.tokens)
        for (const drafter of [model, other]) {
          const speculation = { drafter, draftTokens: 3 }
          const { generate } = yield* causalGenerator(engine, model, shape, { temperature }, speculation)
          const { sequences, tokens } = yield* generate({ prompts, steps: newTokens, seed: 3 })
          expect(sequences).toEqual(expected.sequences)
          expect(tokens).toEqual(expected.tokens)
        }
      }
    }).pipe(Effect.scoped)
  )
})

import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { DiffusionDecoding, diffusionGenerate } from "../../src/decoding/diffusion.ts"
import { makeResidentDecoder, residentAlgorithms } from "../../src/sessions/resident.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { modelConfig } from "../support/tinyModel.ts"

const plain = modelConfig({ vocabSize: 29 })
const byBlocks = modelConfig({ vocabSize: 29, attentionBlockSize: 4 })
const mask = 28

describe("decoding on the device", () => {
  for (const algorithm of residentAlgorithms)
    it.live(`by ${algorithm} comes to the tokens of the decoder on the host`, () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* makeOrt({ threads: 1 })
          const parameters = yield* allocateParameters(engine, parameterSpecs(plain))
          yield* initialise(engine, parameters, 5)
          for (const [config, steps, newTokens, prompt] of [
            [plain, 4, 10, [3, 1, 4]],
            [plain, 1, 5, [9]],
            [plain, 12, 5, [2, 7, 1, 8]],
            [byBlocks, 4, 10, [3, 1, 4]]
          ] as const) {
            const length = prompt.length + newTokens
            const resident = yield* makeResidentDecoder(engine, config, parameters.views, {
              length,
              newTokens,
              steps,
              mask,
              algorithm
            })
            const denoiser = yield* makeDenoiser(engine, config, parameters.views, {
              rows: 1,
              length,
              places: newTokens
            })
            const expected = yield* diffusionGenerate(denoiser, {
              prompts: [prompt],
              maxNewTokens: newTokens,
              mask,
              pad: 0,
              seed: 0,
              settings: Schema.decodeUnknownSync(DiffusionDecoding)({ steps, temperature: 0, alg: algorithm })
            })
            // Twice: the second time begins anew.
            for (let i = 0; i < 2; i++) {
              const made = yield* resident(prompt)
              expect([...made]).toEqual([...expected.sequences[0]!])
              expect(made).not.toContain(mask)
            }
          }
        })
      )
    )
})

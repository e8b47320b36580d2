/** Decoding block by block as a generator: beside the whole canvas as one block, and what holds for any number of steps. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { blocksOf, inBlocks, type MaskDecoding } from "../../src/decoding/blocks.ts"
import { DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { maskedGenerator, untilEnd } from "../../src/sessions/generator.ts"
import { modelConfig } from "../support/tinyModel.ts"

const Settings = Schema.Struct({ ...DiffusionDecoding.fields, ...inBlocks.fields }).check(inBlocks.check)
const decoded = (settings: (typeof Settings)["Encoded"]): MaskDecoding => Schema.decodeUnknownSync(Settings)(settings)

const [eosId, maskId, padId] = [26, 28, 0]
const config = modelConfig({ vocabSize: 29 })
const newTokens = 9
const prompts = [[1, 2, 3], [4, 5], [6], [7, 8, 9, 10], [11, 12]]

describe("a generator in blocks", () => {
  it.live("writes what one without writes where all is one block, and ends of text behind the first", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt()
        const parameters = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, parameters, 5)
        const model = { config, parameters: parameters.views, tokenShift: true, tokenizer: { eosId, maskId, padId } }
        const generated = (settings: (typeof Settings)["Encoded"], steps: number) =>
          Effect.flatMap(
            maskedGenerator(engine, model, { prompts: prompts.length, promptTokens: 4, newTokens }, decoded(settings)),
            ({ generate }) => generate({ prompts, steps, seed: 3 })
          )
        for (const alg of ["entropy", "maskgit_plus", "topk_margin"] as const) {
          const whole = yield* generated({ alg, topP: 0.95 }, 4)
          const one = yield* generated({ alg, topP: 0.95, blockLength: 20 }, 4)
          expect(one.forwards).toBe(4)
          for (const [i, sequence] of whole.sequences.entries()) {
            const text = untilEnd(sequence.subarray(prompts[i]!.length), eosId)
            const own = one.sequences[i]!
            expect([...untilEnd(own.subarray(prompts[i]!.length), eosId)]).toEqual([...text])
            expect(own).toHaveLength(prompts[i]!.length + newTokens)
            expect(own.subarray(prompts[i]!.length + text.length).every(id => id === eosId)).toBe(true)
          }
          const leftToRight = yield* generated({ alg, blockLength: 1 }, newTokens)
          expect(leftToRight.forwards).toBeLessThanOrEqual(newTokens)
          expect(leftToRight.sequences.flatMap(ids => [...ids])).not.toContain(maskId)
          expect(leftToRight.sequences).not.toEqual(one.sequences)
        }
      })
    )
  )

  it("has a step at least for each block, and takes no more than are allowed", () => {
    const size = fc.integer({ min: 1, max: 70 })
    fc.assert(
      fc.property(size, size, size, (blockLength, tokens, steps) => {
        const { blockSize, stepsPerBlock } = blocksOf(decoded({ blockLength }), { newTokens: tokens, steps })
        expect(stepsPerBlock).toBeGreaterThanOrEqual(1)
        expect(stepsPerBlock * Math.ceil(tokens / blockSize)).toBeLessThanOrEqual(steps)
        if (steps * blockLength >= tokens) expect(blockSize).toBe(Math.min(blockLength, tokens))
      })
    )
  })

  it.each([
    [{ alg: "p2" }, /p2 does not go block by block/],
    [{ algTemp: 0.5 }, /does not go with blockLength/],
    [{ schedule: "kappa" }, /must be quota/]
  ] as const)("refuses %j", (settings, message) => {
    expect(() => decoded({ ...settings, blockLength: 4 })).toThrow(message)
  })
})

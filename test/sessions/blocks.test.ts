/** Decoding block by block as a generator: beside the whole canvas as one block, and what holds for any number of steps. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { blocksOf, inBlocks, type MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { untilEnd } from "../../src/sessions/generator.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { modelConfig } from "../support/tinyModel.ts"

const Settings = Schema.Struct({ ...DiffusionDecoding.fields, ...inBlocks.fields }).check(inBlocks.check)
const decoded = (settings: (typeof Settings)["Encoded"]): MaskDecoding => Schema.decodeUnknownSync(Settings)(settings)

const [eosId, maskId, padId] = [26, 28, 0]
const ends = new Set([eosId, 24])
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
        const model = {
          config,
          parameters: parameters.views,
          tokenShift: true,
          tokenizer: { ends, maskId, padId }
        }
        const generated = (settings: (typeof Settings)["Encoded"], steps: number) =>
          Effect.flatMap(
            maskedGenerator(engine, model, { prompts: prompts.length, promptTokens: 4, newTokens }, decoded(settings)),
            ({ generate }) => generate({ prompts, steps, seed: 3 })
          )
        for (const alg of ["entropy", "maskgit_plus", "topk_margin"] as const) {
          const whole = yield* generated({ alg, topP: 0.95 }, 4)
          const one = yield* generated({ alg, topP: 0.95, blockLength: 20 }, 4)
          expect(Math.max(...one.forwards)).toBe(4)
          for (const [i, sequence] of whole.sequences.entries()) {
            const text = untilEnd(sequence.subarray(prompts[i]!.length), ends)
            const own = one.sequences[i]!
            expect([...untilEnd(own.subarray(prompts[i]!.length), ends)]).toEqual([...text])
            expect(own).toHaveLength(prompts[i]!.length + newTokens)
            expect(own.subarray(prompts[i]!.length + text.length + 1).every(id => id === eosId)).toBe(true)
          }
          const leftToRight = yield* generated({ alg, blockLength: 1 }, newTokens)
          expect(Math.max(...leftToRight.forwards)).toBeLessThanOrEqual(newTokens)
          expect(leftToRight.sequences.flatMap(ids => [...ids])).not.toContain(maskId)
          expect(leftToRight.sequences).not.toEqual(one.sequences)
        }
      })
    )
  )

  it.live("gives the rows of texts that are done to the next prompts, and counts the passes of each", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt()
        // Surer than most of what is drawn.
        const config = modelConfig({ vocabSize: 29, initializerRange: 0.5 })
        const parameters = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, parameters, 5)
        const model = {
          config,
          parameters: parameters.views,
          tokenShift: true,
          tokenizer: { ends, maskId, padId }
        }
        // More than are decoded side by side.
        const many = Array.from({ length: 40 }, (_, i) => [1 + (i % 25), 1 + ((i * 7) % 23), 3].slice(0, 1 + (i % 3)))
        const settings = { alg: "maskgit_plus", blockLength: newTokens } as const
        const shape = { prompts: many.length, promptTokens: 4, newTokens }
        const { generate } = yield* maskedGenerator(engine, model, shape, decoded(settings))
        const request = { steps: newTokens, seed: 3 }
        const alone = (threshold: number) =>
          Effect.forEach(many, prompt => generate({ ...request, threshold, prompts: [prompt] }))
        for (const threshold of [0.3, 0.6, 1]) {
          const steps = new Map<number, number>()
          const together = yield* generate({
            ...request,
            threshold,
            prompts: many,
            onStep: (number, step) => Effect.sync(() => void steps.set(number, step))
          })
          const each = yield* alone(threshold)
          expect(together.sequences).toEqual(each.flatMap(({ sequences }) => sequences))
          expect(together.forwards).toEqual(each.flatMap(({ forwards }) => forwards))
          expect(together.forwards).toEqual(many.map((_, number) => steps.get(number)))
          const spent = together.forwards.reduce((sum, own) => sum + own, 0)
          expect(together.passes).toBeGreaterThanOrEqual(spent / 16)
          // A row is idle behind its last text alone.
          expect(together.passes).toBeLessThan(spent / 16 + Math.max(...together.forwards))
          expect(new Set(together.forwards).size).toBeGreaterThan(1)
        }
        // The setting is what a request says, and threshold 1 what a step for each token says.
        const ofSettings = yield* maskedGenerator(engine, model, shape, decoded({ ...settings, threshold: 0.6 }))
        expect((yield* ofSettings.generate({ ...request, prompts: many })).sequences).toEqual(
          (yield* alone(0.6)).flatMap(({ sequences }) => sequences)
        )
        const { passes: _passes, ...one } = yield* generate({ ...request, prompts: many })
        expect(one).toMatchObject({
          sequences: (yield* alone(1)).flatMap(({ sequences }) => sequences),
          forwards: (yield* alone(1)).flatMap(({ forwards }) => forwards)
        })
      })
    )
  )

  it("has a step at least for each block, and takes no more than are allowed", () => {
    const size = fc.integer({ min: 1, max: 70 })
    fc.assert(
      fc.property(size, size, size, (blockLength, tokens, steps) => {
        const { blockSize, stepsPerBlock } = blocksOf(decoded({ blockLength }), { newTokens: tokens, steps })
        expect(stepsPerBlock).toBeGreaterThanOrEqual(1)
        const sizes = Array.from({ length: Math.ceil(tokens / blockSize) }, (_, b) =>
          Math.min(blockSize, tokens - b * blockSize)
        )
        const taken = sizes.reduce((sum, tokensOf) => sum + Math.min(tokensOf, stepsPerBlock), 0)
        expect(taken).toBeLessThanOrEqual(steps)
        // Where each token may have a step, it has.
        if (steps >= tokens) expect(taken).toBe(tokens)
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

  it.each([
    ...(["origin", "p2", "entropy", "topk_margin"] as const).map(
      alg => [{ alg }, new RegExp(`${alg} does not go with threshold`)] as const
    ),
    [{}, /entropy does not go with threshold/],
    [{ alg: "maskgit_plus", algTemp: 0.5 }, /does not go with threshold/],
    [{ alg: "maskgit_plus", schedule: "floor" }, /must be quota where threshold/],
    [{ alg: "maskgit_plus", threshold: 0 }, /greater than 0/],
    [{ alg: "maskgit_plus", threshold: 1.1 }, /less than or equal to 1/]
  ] as const)("with a threshold refuses %j", (settings, message) => {
    expect(() => decoded({ threshold: 0.9, ...settings })).toThrow(message)
  })
})

/** How sure the model was of a token when it was revealed: what decoders tell beside the texts after each step, from the logits that they choose by. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { BlockDecoding } from "../../src/decoding/blockSettings.ts"
import { decodeBlocks } from "../../src/decoding/blocks.ts"
import { algorithms, type Denoiser, DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { wholeReader } from "../../src/decoding/textPass.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { makeTextReader } from "../../src/sessions/textReader.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"
import { diffusionGenerate } from "../support/diffusionGenerate.ts"
import { modelConfig } from "../support/tinyModel.ts"

const [vocabSize, eos, pad, mask, newTokens] = [13, 10, 11, 12, 8]
const prompt = [1, 2]
const length = prompt.length + newTokens

const logitsOf = (seed: number, row: ArrayLike<number>, place: number): ReadonlyArray<number> => {
  const own = randomKey(seed, "logits", place, ...Array.from(row))
  return Array.from({ length: vocabSize }, (_, id) => 4 * uniformAt(own, id))
}
const counted = (seed: number): Denoiser<never> & { readonly passes: () => number } => {
  let passes = 0
  return {
    passes: () => passes,
    vocabSize,
    length,
    logits: (canvas, _pads, places) =>
      Effect.sync(() => {
        passes++
        return Float32Array.from(places.flatMap(place => logitsOf(seed, canvas, place)))
      })
  }
}

interface State {
  readonly tokens: ReadonlyArray<number>
  readonly confidence: ReadonlyArray<number>
}

/** What each state must say: the softmax of the logits over the canvas before the step in which a token took the place of a mask. */
const checked = (states: ReadonlyArray<State>, seed: number): void => {
  let before: State = { tokens: Array<number>(newTokens).fill(mask), confidence: Array<number>(newTokens).fill(NaN) }
  for (const state of states) {
    for (const [i, token] of state.tokens.entries()) {
      const found = state.confidence[i]!
      if (token === mask) expect(found).toBeNaN()
      else if (before.tokens[i] !== mask) expect(found).toBe(before.confidence[i])
      else {
        const weights = logitsOf(seed, [...prompt, ...before.tokens], prompt.length + i).map(Math.exp)
        const total = weights.reduce((sum, weight, id) => (id === mask ? sum : sum + weight), 0)
        expect(Math.abs(found - weights[token]! / total)).toBeLessThan(1e-6)
      }
    }
    before = state
  }
}

describe("confidences of revealed tokens", () => {
  it("are the model's probabilities at temperature 1 without filters, by every algorithm; and cost no pass", () => {
    const given = fc.record({
      alg: fc.constantFrom(...algorithms),
      temperature: fc.constantFrom(0, 0.7),
      algTemp: fc.constantFrom(0, 0.5),
      steps: fc.integer({ min: 1, max: 10 })
    })
    const filters = fc.constantFrom({}, { topK: 1 }, { topP: 0.5 })
    fc.assert(
      fc.property(given, filters, fc.nat(), (some, filter, seed) => {
        const settings = Schema.decodeUnknownSync(DiffusionDecoding)({ ...some, ...filter })
        const request = {
          prompts: [prompt],
          maxNewTokens: newTokens,
          mask,
          pad,
          keys: [randomKey(3, "text")],
          settings
        }
        const states: Array<State> = []
        const [watched, quiet] = [counted(seed), counted(seed)]
        const shown = Effect.runSync(
          diffusionGenerate(watched, {
            ...request,
            onStep: (_number, _step, text, confidence) =>
              Effect.sync(
                () => void states.push({ tokens: [...text.subarray(prompt.length)], confidence: [...confidence] })
              )
          })
        )
        const unseen = Effect.runSync(diffusionGenerate(quiet, request))
        expect(shown.passes).toBe(unseen.passes)
        expect(shown.texts.map(({ ids }) => ids)).toEqual(unseen.texts.map(({ ids }) => ids))
        expect(watched.passes()).toBe(quiet.passes())
        checked(states, seed)
        expect(states.at(-1)!.confidence.some(Number.isNaN)).toBe(false)
      })
    )
  })

  it("are the same block by block", () => {
    const given = fc.oneof(
      fc.record({ alg: fc.constantFrom("entropy", "topk_margin"), temperature: fc.constantFrom(0, 1) }),
      fc.record({ alg: fc.constant("maskgit_plus"), temperature: fc.constantFrom(0, 0.7) })
    )
    const several = fc.constantFrom({}, { blockAddThreshold: 0.4, decodedTokenThreshold: 0.6 }, { topK: 1 })
    fc.assert(
      fc.property(given, several, fc.integer({ min: 1, max: 8 }), fc.nat(), (some, more, blockSize, seed) => {
        const settings = {
          ...Schema.decodeUnknownSync(BlockDecoding)({ ...some, blockSize, stepsPerBlock: 3 }),
          ...more
        }
        const states: Array<State> = []
        Effect.runSync(
          decodeBlocks(wholeReader(counted(seed), pad), [{ ids: prompt, newTokens, key: randomKey(1, "prompt") }], {
            rows: 1,
            mask,
            ends: new Set([eos]),
            tokenShift: true,
            settings,
            onStep: (_number, _step, tokens, confidence) =>
              Effect.sync(() => void states.push({ tokens: [...tokens], confidence: [...confidence] }))
          })
        )
        checked(states, seed)
      })
    )
  })

  it.effect("are those of the host where the model's side chooses", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const config = modelConfig({ vocabSize, initializerRange: 0.6 })
        const parameters = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, parameters, 5)
        for (const alg of ["maskgit_plus", "entropy", "topk_margin"] as const)
          for (const rule of alg === "maskgit_plus" ? [{}, { threshold: 0.2 }] : [{}]) {
            const settings = {
              ...Schema.decodeUnknownSync(BlockDecoding)({ alg, blockSize: 4, stepsPerBlock: 2 }),
              ...rule
            }
            const told = (chooses: boolean) =>
              Effect.gen(function* () {
                const options = { rows: 2, length, tokenShift: true, blockSize: 4 }
                const reader = yield* makeTextReader(engine, config, parameters.views, {
                  ...options,
                  ...(chooses ? { mask } : {})
                })
                const states: Array<State> = []
                const prompts = [prompt, [3]].map((ids, i) => ({
                  ids,
                  newTokens: newTokens - i,
                  key: randomKey(i, "prompt")
                }))
                yield* decodeBlocks(reader, prompts, {
                  rows: 2,
                  mask,
                  ends: new Set([eos]),
                  tokenShift: true,
                  settings,
                  onStep: (_number, _step, tokens, confidence) =>
                    Effect.sync(() => void states.push({ tokens: [...tokens], confidence: [...confidence] }))
                })
                return states
              })
            const [host, model] = [yield* told(false), yield* told(true)]
            expect(model.map(({ tokens }) => tokens)).toEqual(host.map(({ tokens }) => tokens))
            for (const [s, { confidence }] of host.entries())
              for (const [i, p] of confidence.entries()) {
                const found = model[s]!.confidence[i]!
                if (Number.isNaN(p)) expect(found).toBeNaN()
                else expect(Math.abs(found - p)).toBeLessThan(1e-5)
              }
          }
      })
    )
  )
})

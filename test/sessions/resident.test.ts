import * as fc from "fast-check"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Schema } from "effect"
import { algorithms, DiffusionDecoding, schedules } from "../../src/decoding/diffusion.ts"
import { textKeys } from "../../src/decoding/draws.ts"
import { OpenBatch, writeAll } from "../../src/decoding/openBatch.ts"
import { WholeText } from "../../src/decoding/whole.ts"
import { diffusionGenerate } from "../support/diffusionGenerate.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { keepingOrt } from "../support/keptPrograms.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { isResident, makeResidentStep } from "../../src/sessions/resident.ts"
import { modelConfig } from "../support/tinyModel.ts"

const mask = 28
const plain = modelConfig({ vocabSize: 29 })

/** An engine that counts the looks at single places of a buffer. */
const watched = (engine: Engine): Engine & { looks: number } => {
  const watching = {
    ...engine,
    looks: 0,
    view: ((buffer, offset, shape) => {
      watching.looks++
      return engine.view(buffer, offset, shape)
    }) as Engine["view"]
  }
  return watching
}

interface Asked {
  readonly config: ModelConfig
  readonly decoding: Partial<Omit<DiffusionDecoding, "steps">>
  readonly prompts: ReadonlyArray<ReadonlyArray<number>>
  readonly newTokens: number
  readonly steps: ReadonlyArray<number>
  readonly tokenShift?: boolean
  /** Rows of the canvas. */
  readonly rows?: number
  /** Whether all weights are 0. */
  readonly empty?: boolean
}

/** Both decoders' texts, passes and what they show step by step, and how many places the host looked at for the resident one. */
const both = (
  made: Engine,
  { config, decoding, empty = false, newTokens, prompts, rows = prompts.length, steps, tokenShift = true }: Asked
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = watched(made)
      const parameters = yield* allocateParameters(engine, parameterSpecs(config))
      if (!empty) yield* initialise(engine, parameters, 5)
      engine.looks = 0
      const settings = Schema.decodeUnknownSync(DiffusionDecoding)({ temperature: 0, ...decoding })
      const length = newTokens + prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0)
      const canvas = { rows, length, newTokens }
      const resident = yield* makeResidentStep(engine, config, parameters.views, {
        ...canvas,
        mask,
        pad: 0,
        tokenShift,
        decoding: settings
      })
      const denoiser = yield* makeDenoiser(engine, config, parameters.views, {
        ...canvas,
        places: rows * newTokens,
        tokenShift
      })
      const keys = textKeys({ seed: 3, prompts })
      const found = []
      for (const allowed of steps) {
        const own = { ...settings, steps: allowed }
        const shown: { [who: string]: Array<unknown> } = { host: [], resident: [] }
        const sure: { [who: string]: Array<ReadonlyArray<number>> } = { host: [], resident: [] }
        const onStep = (who: string) => (number: number, step: number, text: Int32Array, confidence: Float32Array) =>
          Effect.sync(() => {
            shown[who]!.push([number, step, [...text]])
            sure[who]!.push([...confidence])
          })
        const host = yield* diffusionGenerate(denoiser, {
          prompts,
          keys,
          pad: 0,
          maxNewTokens: newTokens,
          mask,
          settings: own,
          onStep: onStep("host")
        })
        for (const isWatched of [true, false]) {
          const texts = prompts.map(
            (prefix, i) => new WholeText({ prefix, suffix: [], tokens: newTokens, key: keys[i]! }, own, mask, isWatched)
          )
          const tell = onStep("resident")
          const { passes } = yield* writeAll(new OpenBatch(rows, resident({ watched: isWatched })), texts, {
            onStep: ({ confidence, forwards, ids }, number) =>
              isWatched ? tell(number, forwards, ids, confidence) : Effect.void
          })
          expect(
            texts.map(({ forwards, ids }) => [forwards, [...ids]]),
            `${allowed} steps`
          ).toEqual(host.texts.map(({ forwards, ids }) => [forwards, [...ids]]))
          expect(passes, `${allowed} steps`).toBe(host.passes)
        }
        expect(shown["resident"]).toEqual(shown["host"])
        expect(sure["resident"]).toHaveLength(sure["host"]!.length)
        for (const [i, own] of sure["host"]!.entries())
          for (const [place, p] of own.entries()) {
            const probability = sure["resident"]![i]![place]!
            if (Number.isNaN(p)) expect(probability).toBeNaN()
            else expect(Math.abs(probability - p)).toBeLessThan(1e-5)
          }
        found.push(host.texts.map(({ ids }) => [...ids]))
      }
      return { found, looks: engine.looks }
    })
  )

describe("decoding where the model computes", () => {
  const prompts = [[3, 1, 4], [9], [2, 7, 1, 8, 2]]
  for (const alg of algorithms)
    // The others follow none.
    for (const schedule of alg === "origin" || alg === "p2" ? (["quota"] as const) : schedules)
      it.effect(`by ${alg} and ${schedule} makes the texts of the host, step by step, of prompts of any length`, () =>
        both(makeReference(), {
          config: plain,
          decoding: { alg, schedule },
          prompts,
          newTokens: 9,
          steps: [1, 4, 20],
          rows: 4
        })
      )

  it.effect("does with blocks, without a shift, among the likeliest alone, and with one prompt", () =>
    Effect.gen(function* () {
      const asked = { config: plain, prompts, newTokens: 6, steps: [1, 4, 12] }
      const blocks = modelConfig({ vocabSize: 29, attentionBlockSize: 4 })
      yield* both(makeReference(), { ...asked, config: blocks, decoding: {} })
      yield* both(makeReference(), { ...asked, decoding: {}, tokenShift: false })
      yield* both(makeReference(), { ...asked, decoding: {}, prompts: [[3, 1, 4, 1]] })
      for (const alg of ["p2", "entropy"] as const) {
        yield* both(makeReference(), { ...asked, decoding: { alg, topK: 3 } })
        yield* both(makeReference(), { ...asked, decoding: { alg, topK: 29 } })
      }
      yield* both(makeReference(), { ...asked, decoding: { alg: "origin", algTemp: 0.7 } })
    })
  )

  it.live("does on ort, for random shapes, vocabularies and weights of any size", () =>
    Effect.gen(function* () {
      const engine = yield* keepingOrt({ threads: 1 })
      const samples = fc.sample(
        fc.record({
          alg: fc.constantFrom(...algorithms),
          schedule: fc.constantFrom(...schedules),
          initializerRange: fc.constantFrom(0.02, 0.3, 2),
          vocabSize: fc.constantFrom(29, 300, 5000),
          newTokens: fc.integer({ min: 1, max: 30 }),
          prompts: fc.array(fc.array(fc.integer({ min: 0, max: 27 }), { minLength: 1, maxLength: 6 }), {
            minLength: 1,
            maxLength: 3
          })
        }),
        { numRuns: 8, seed: 7 }
      )
      for (const { alg, initializerRange, newTokens, prompts: own, schedule, vocabSize } of samples)
        yield* both(engine, {
          config: modelConfig({ vocabSize, initializerRange }),
          decoding: { alg, schedule },
          prompts: own,
          newTokens,
          steps: [3, newTokens]
        })
    }).pipe(Effect.scoped)
  )

  it.effect("asks the host where confidences are equal or next to it, and about these places alone", () =>
    Effect.gen(function* () {
      const asked = { config: plain, prompts: [[3, 1, 4]], newTokens: 8, steps: [4] }
      expect((yield* both(makeReference(), { ...asked, decoding: {} })).looks).toBe(0)
      for (const alg of ["maskgit_plus", "topk_margin", "entropy", "p2"] as const) {
        // Without any weight, all tokens are alike at every place, and the first places come first.
        const { found, looks } = yield* both(makeReference(), { ...asked, decoding: { alg }, empty: true })
        expect(looks).toBeGreaterThan(0)
        expect(found[0]![0]).toEqual([3, 1, 4, ...Array<number>(8).fill(0)])
        // With very large ones, most probabilities are 1 in f64, too.
        const huge = modelConfig({ vocabSize: 29, initializerRange: 40 })
        yield* both(makeReference(), { ...asked, config: huge, decoding: { alg } })
      }
    })
  )

  it.effect("says that logits are no numbers, as the host does", () =>
    Effect.scoped(
      Effect.gen(function* () {
        for (const alg of algorithms)
          for (const steps of [1, 3]) {
            const engine = makeReference()
            const parameters = yield* allocateParameters(engine, parameterSpecs(plain))
            yield* engine.upload(parameters.flat, new Float32Array(parameters.flat.shape[0]!).fill(NaN))
            const decoding = Schema.decodeUnknownSync(DiffusionDecoding)({ alg, temperature: 0 })
            const resident = yield* makeResidentStep(engine, plain, parameters.views, {
              rows: 1,
              length: 5,
              newTokens: 3,
              mask,
              pad: 0,
              tokenShift: true,
              decoding
            })
            const gap = { prefix: [1, 2], suffix: [], tokens: 3, key: [0, 1] } as const
            const text = new WholeText(gap, { ...decoding, steps }, mask)
            const ended = yield* Effect.exit(writeAll(new OpenBatch(1, resident({})), [text]))
            expect(Exit.isFailure(ended) && String(ended.cause)).toContain("the model's logits are not all numbers")
          }
      })
    )
  )

  it("is for what f32 can tell: no draws, no nucleus, no noise", () => {
    const settings = Schema.decodeUnknownSync(DiffusionDecoding)({ temperature: 0 })
    expect(isResident(settings)).toBe(true)
    expect(isResident({ ...settings, topK: 5, topP: 1 })).toBe(true)
    expect(isResident({ ...settings, alg: "origin", algTemp: 0.5 })).toBe(true)
    expect(isResident({ ...settings, algTemp: 0.5 })).toBe(false)
    expect(isResident({ ...settings, topP: 0.95 })).toBe(false)
    expect(isResident({ ...settings, temperature: 0.1 })).toBe(false)
  })
})

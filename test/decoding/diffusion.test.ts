import * as fc from "fast-check"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeDenoiser } from "../../src/sessions/query.ts"
import {
  algorithms,
  type Denoiser,
  DiffusionDecoding,
  mdmDefaults,
  schedules,
  stepsThatCount
} from "../../src/decoding/diffusion.ts"
import { diffusionGenerate } from "../support/diffusionGenerate.ts"
import { textKey, textKeys } from "../../src/decoding/draws.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"

const vocabSize = 13
const mask = 12
const settings = (changes: Partial<typeof DiffusionDecoding.Encoded> = {}): DiffusionDecoding =>
  Schema.decodeUnknownSync(DiffusionDecoding)({ steps: 4, ...changes })

/** Logits that depend on the whole canvas, and prefer the mask. */
const random = (length: number): Denoiser<never> & { forwards: number } => {
  const denoiser = {
    vocabSize,
    length,
    forwards: 0,
    logits: (canvas: Int32Array, _pads: ReadonlyArray<number>, places: ReadonlyArray<number>) =>
      Effect.sync(() => {
        denoiser.forwards++
        const rows = places.map(place => {
          const row = Math.floor(place / length)
          const key = randomKey(1, canvas.subarray(row * length, (row + 1) * length).join(","), place - row * length)
          return [...normals(key, vocabSize)].with(mask, 50)
        })
        return Float32Array.from(rows.flat())
      })
  }
  return denoiser
}
const generate = (
  denoiser: Denoiser<never>,
  prompts: ReadonlyArray<ReadonlyArray<number>>,
  maxNewTokens: number,
  given: DiffusionDecoding,
  more: Partial<Parameters<typeof diffusionGenerate<never>>[1]> = {}
) =>
  Effect.map(
    diffusionGenerate(denoiser, {
      prompts,
      maxNewTokens,
      mask,
      pad: 0,
      keys: textKeys({ seed: 4, prompts }),
      settings: given,
      ...more
    }),
    ({ passes, texts }) => ({ forwards: passes, sequences: texts.map(({ ids }) => ids) })
  )

describe("diffusion decoding", () => {
  it("leaves no mask, keeps the prompt, and never draws the mask: every algorithm and schedule, any number of steps", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...algorithms),
        fc.constantFrom(...schedules),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 20 }),
        fc.constantFrom(0, 0.8),
        fc.constantFrom(0, 0.5),
        (alg, schedule, steps, maxNewTokens, temperature, algTemp) => {
          const prompts = [[3, 4, 5], [6]]
          const denoiser = random(3 + maxNewTokens)
          const given = settings({ alg, schedule, steps, temperature, algTemp })
          const { forwards, sequences } = Effect.runSync(generate(denoiser, prompts, maxNewTokens, given))
          for (const [row, sequence] of sequences.entries()) {
            expect([...sequence.subarray(0, prompts[row]!.length)]).toEqual(prompts[row])
            expect(sequence.length).toBe(prompts[row]!.length + maxNewTokens)
            expect(sequence).not.toContain(mask)
          }
          expect(forwards).toBeLessThanOrEqual(steps)
          expect(forwards).toBe(denoiser.forwards)
        }
      ),
      { numRuns: 200 }
    )
  })

  it.effect("reveals as many tokens per step and row as the schedule says", () =>
    Effect.gen(function* () {
      const masksAfter = (schedule: (typeof schedules)[number], steps: number) => {
        const counts: Array<number> = []
        return Effect.as(
          generate(random(12), [[1, 2]], 10, settings({ schedule, steps }), {
            onStep: (_number, _step, text) =>
              Effect.sync(() => void counts.push(text.filter(token => token === mask).length))
          }),
          counts
        )
      }
      expect(yield* masksAfter("quota", 4)).toEqual([7, 4, 2, 0])
      expect(yield* masksAfter("kappa", 4)).toEqual([7, 5, 2, 0])
      // 1 - s/t of a time that falls evenly from 1 to 0.001 in four steps: 0.24975, 0.333, 0.499, …
      expect(yield* masksAfter("floor", 4)).toEqual([8, 6, 4, 0])
      // The spread of steps that are not a divisor: the first ones take what is left over.
      expect(yield* masksAfter("quota", 3)).toEqual([6, 3, 0])
      expect((yield* masksAfter("quota", 16)).length).toBe(10)
      expect((yield* masksAfter("floor", 16)).length).toBe(16)
    })
  )

  it.effect(
    "with one token per step takes the surest position each time, as a loop that knows nothing of batches",
    () =>
      Effect.gen(function* () {
        for (const alg of ["entropy", "maskgit_plus", "topk_margin"] as const) {
          const [prompt, n] = [[5, 7], 6]
          const denoiser = random(8)
          const { sequences } = yield* generate(denoiser, [prompt], n, settings({ alg, steps: n }))
          const canvas = Int32Array.from([...prompt, ...Array<number>(n).fill(mask)])
          for (let step = 0; step < n; step++) {
            let best = { score: -Infinity, place: -1, token: -1 }
            for (let place = 2; place < 8; place++) {
              if (canvas[place] !== mask) continue
              const row = [...(yield* denoiser.logits(canvas, [0], [place]))].slice(0, mask)
              const total = row.reduce((sum, x) => sum + Math.exp(x), 0)
              const p = row.map(x => Math.exp(x) / total).toSorted((a, b) => b - a)
              const score = {
                entropy: p.reduce((sum, x) => sum + x * Math.log(x + 1e-10), 0),
                maskgit_plus: p[0]!,
                topk_margin: p[0]! - p[1]!
              }[alg]
              if (score > best.score) best = { score, place, token: row.indexOf(Math.max(...row)) }
            }
            canvas[best.place] = best.token
          }
          expect([...sequences[0]!], alg).toEqual([...canvas])
        }
      })
  )

  it.effect("p2 keeps by its own confidence: a loop over steps that remasks the least sure gives the same", () =>
    Effect.gen(function* () {
      const [prompt, n, steps] = [[5, 7], 7, 5]
      const denoiser = random(9)
      const { forwards, sequences } = yield* generate(denoiser, [prompt], n, settings({ alg: "p2", steps }))
      const canvas = Int32Array.from([...prompt, ...Array<number>(n).fill(mask)])
      let made = 0
      for (let step = 0; step < steps && canvas.includes(mask); step++) {
        made++
        const places = Array.from({ length: n }, (_, i) => 2 + i)
        const judged = yield* Effect.forEach(places, place =>
          Effect.map(denoiser.logits(canvas, [0], [place]), logits => {
            const row = [...logits].slice(0, mask)
            const total = row.reduce((sum, x) => sum + Math.exp(x), 0)
            const best = row.indexOf(Math.max(...row))
            const token = canvas[place] === mask ? best : canvas[place]!
            return { place, token, score: Math.exp(row[token]!) / total }
          })
        )
        const remasked = Math.floor(n * (1 - (step + 1) / steps))
        const ascending = judged.toSorted((a, b) => a.score - b.score)
        for (const [rank, { place, token }] of ascending.entries()) canvas[place] = rank < remasked ? mask : token
      }
      expect([...sequences[0]!]).toEqual([...canvas])
      expect(forwards).toBe(made)
    })
  )

  it.effect("origin reveals each mask with probability 1 - s / t, and the rest at the end", () =>
    Effect.gen(function* () {
      const prompts = Array.from({ length: 40 }, (_, i) => [i % 12])
      const counts: Array<number> = []
      yield* generate(random(51), prompts, 50, settings({ alg: "origin", steps: 4 }), {
        onStep: (_number, step, text) =>
          Effect.sync(() => void (counts[step - 1] = (counts[step - 1] ?? 0) + text.filter(id => id === mask).length))
      })
      // Times 1, 0.75025, 0.5005, 0.25075 of 2,000 masks; standard deviations are about 20.
      for (const [i, share] of [0.75025, 0.5005, 0.25075].entries())
        expect(Math.abs(counts[i]! - 2000 * share)).toBeLessThan(100)
      expect(counts[3]).toBe(0)
    })
  )

  it.effect("with algTemp draws positions in proportion to exp(confidence / algTemp)", () =>
    Effect.gen(function* () {
      // Two places whose tokens have probability 0.9 and 0.6; one is revealed first.
      const two: Denoiser<never> = {
        vocabSize: 3,
        length: 3,
        logits: (_canvas, _pads, places) =>
          Effect.succeed(
            Float32Array.from(places.flatMap(place => (place % 3 === 1 ? [0.9, 0.1, 0] : [0.6, 0.4, 0]).map(Math.log)))
          )
      }
      let first = 0
      const rows = Array.from({ length: 3000 }, () => [1])
      yield* diffusionGenerate(two, {
        prompts: rows,
        maxNewTokens: 2,
        mask: 2,
        pad: 0,
        keys: textKeys({ seed: 1, prompts: rows }),
        settings: settings({ alg: "maskgit_plus", algTemp: 0.5, steps: 2 }),
        onStep: (_number, step, text) =>
          Effect.sync(() => {
            if (step === 1 && text[1] !== 2) first++
          })
      })
      const expected = Math.exp(0.9 / 0.5) / (Math.exp(0.9 / 0.5) + Math.exp(0.6 / 0.5))
      expect(Math.abs(first / 3000 - expected)).toBeLessThan(0.035)
    })
  )

  it.effect("knows after how many steps nothing more is revealed", () =>
    Effect.gen(function* () {
      for (const steps of [3, 6, 7, 40]) {
        const given = settings({ steps, temperature: 1 })
        const counting = stepsThatCount(given, 6)
        expect(counting).toBe(Math.min(steps, 6))
        const asked = yield* generate(random(8), [[1, 2]], 6, given)
        const enough = yield* generate(random(8), [[1, 2]], 6, { ...given, steps: counting })
        expect(asked).toEqual(enough)
        expect(asked.forwards).toBe(counting)
      }
      expect(stepsThatCount(settings({ steps: 9, schedule: "floor" }), 4)).toBe(9)
      expect(stepsThatCount(settings({ steps: 9, alg: "p2" }), 4)).toBe(9)
    })
  )

  it.effect("gives a prompt the same text in any company, and another text for another seed", () =>
    Effect.gen(function* () {
      const given = settings({ temperature: 1, algTemp: 0.5, steps: 5 })
      const alone = yield* generate(random(9), [[1, 2, 3]], 6, given)
      // The second row is shorter: its beginning is padding.
      const together = yield* generate(random(9), [[1, 2, 3], [4]], 6, given)
      expect(together.sequences[0]).toEqual(alone.sequences[0])
      const second = yield* generate(random(9), [[4]], 6, given)
      expect(second.sequences[0]).toEqual(together.sequences[1])
      const other = yield* generate(random(9), [[1, 2, 3]], 6, given, { keys: [textKey(5, [1, 2, 3])] })
      expect(other.sequences[0]).not.toEqual(alone.sequences[0])
    })
  )

  it("mdm_generate's settings decode", () => {
    expect(settings(mdmDefaults)).toMatchObject({
      steps: 16,
      alg: "entropy",
      algTemp: 0.6,
      schedule: "kappa",
      eps: 1e-3
    })
    expect(settings()).toMatchObject({ temperature: 0, alg: "entropy", algTemp: 0, schedule: "quota" })
  })
})

const config = modelConfig({ vocabSize, initializerRange: 0.6 })

describe("a model as a denoiser", () => {
  it.live("gives the logits of the equations, shifted, and padding changes nothing", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const buffers = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, buffers, 2)
        const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 2)]))
        const shape = { rows: 3, length: 7, places: 6 }
        const denoiser = yield* makeDenoiser(engine, config, buffers.views, shape)
        const rows = [
          [3, 1, 4, 1, 5, 12, 12],
          [9, 2, 12, 6, 12]
        ]
        const canvas = Int32Array.from([...rows[0]!, 0, 0, ...rows[1]!])
        const places = [5, 6, 1, 7 + 4, 7 + 6]
        const logits = yield* denoiser.logits(canvas, [0, 2], places)
        const expected = rows.map(row => bruteForward(config, name => values.get(name)!, row, false).logits)
        const wanted = [expected[0]![4]!, expected[0]![5]!, expected[0]![0]!, expected[1]![1]!, expected[1]![3]!]
        for (const [i, row] of wanted.entries())
          for (const [token, value] of row.entries()) expect(logits[i * vocabSize + token]).toBeCloseTo(value, 4)

        const unshifted = yield* makeDenoiser(engine, config, buffers.views, { ...shape, tokenShift: false })
        const own = yield* unshifted.logits(canvas, [0, 2], [5])
        for (const [token, value] of expected[0]![5]!.entries()) expect(own[token]).toBeCloseTo(value, 4)
      })
    )
  )
})

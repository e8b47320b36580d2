/** Samplers with networks of which everything is known. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { alphaBar } from "../../../src/methods/ldlm/noiseSchedule.ts"
import { ddim, type DdimOptions } from "../../../src/methods/shared/latents/samplers.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"

const n = 6
const start = normals(randomKey(1, "start"), n)
const clean = normals(randomKey(1, "clean"), n)
const options = (changes: Partial<DdimOptions> = {}): DdimOptions => ({
  steps: 10,
  alphaBar: time => alphaBar("power", 3, time),
  eta: 0,
  noise: step => normals(randomKey(2, "fresh", step), n),
  ...changes
})

describe("DDIM", () => {
  it.effect("with a perfect network returns the clean latents, in one step or many, with fresh noise or without", () =>
    Effect.gen(function* () {
      for (const steps of [1, 2, 10])
        for (const eta of [0, 1]) {
          const found = yield* ddim(start, () => Effect.succeed(clean), options({ steps, eta }))
          expect([...found]).toEqual([...clean])
        }
    })
  )

  it.effect("stays on the path that leads through start and clean latents, at every time", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      yield* ddim(
        start,
        (noised, time) =>
          Effect.sync(() => {
            const share = alphaBar("power", 3, time)
            times.push(time)
            for (let i = 0; i < n; i++)
              expect(noised[i]).toBeCloseTo(Math.sqrt(share) * clean[i]! + Math.sqrt(1 - share) * start[i]!, 4)
            return clean
          }),
        options({ steps: 4 })
      )
      expect(times).toEqual([1, 0.75, 0.5, 0.25])
    })
  )

  it.effect("hands each prediction to the next step, none to the first", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      yield* ddim(
        start,
        (_noised, _time, earlier) => Effect.sync(() => (seen.push(earlier[0]!), earlier.map(x => x + 1))),
        options({ steps: 3 })
      )
      expect(seen).toEqual([0, 1, 2])
    })
  )

  it.effect("draws from the data's distribution, given its best network: normal data keep their deviation", () =>
    Effect.gen(function* () {
      // Data N(0, s^2): the best prediction is s^2 sqrt(a) z / (a s^2 + 1 - a).
      const s = 2
      const many = normals(randomKey(3, "many"), 500)
      const deviation = (x: Float32Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length)
      const ratio = (steps: number) =>
        Effect.map(
          ddim(
            many,
            (noised, time) => {
              const a = alphaBar("power", 3, time)
              return Effect.succeed(noised.map(z => (s * s * Math.sqrt(a) * z) / (a * s * s + 1 - a)))
            },
            options({ steps })
          ),
          found => deviation(found) / deviation(many)
        )
      const [coarse, fine] = [yield* ratio(20), yield* ratio(2000)]
      expect(Math.abs(fine - s)).toBeLessThan(0.05)
      expect(Math.abs(fine - s)).toBeLessThan(Math.abs(coarse - s) / 4)
    })
  )

  it.effect("upwards, as in the seed's benchmark, ends in the network's word about pure noise", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      yield* ddim(
        start,
        (_noised, time) => Effect.sync(() => (times.push(time), clean)),
        options({ steps: 4, direction: "ascending" })
      )
      expect(times).toEqual([0, 0.25, 0.5, 0.75])
    })
  )
})

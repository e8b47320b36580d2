/** The bound of the likelihood and the loss by the share of masks against PyTorch, which draws its own masks or is handed ours. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { bandOf, likelihoodBound } from "../../src/evaluation/likelihood.ts"
import { drawMasks } from "../../src/evaluation/maskDraws.ts"
import { parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters } from "../../src/models/parameters.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { makeMaskedLosses } from "../../src/sessions/maskedLosses.ts"
import { python } from "./python.ts"
import { denseModel, opened, qwen2, qwen3 } from "./smallModels.ts"

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "interop-bound-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

const mask = 100
const bands = 5
const sequences = [9, 17, 24, 5].map((length, s) =>
  Array.from({ length }, (_, i) => (i * i * 5 + 3 * i + 11 * s) % 100)
)
const maskable = sequences.reduce((sum, { length }) => sum + length - 1, 0)

/** Numbers of masks and estimates, [sequences][draws]. */
type Draws = ReadonlyArray<ReadonlyArray<readonly [masks: number, estimate: number]>>

/** Mean of numbers, and the variance of the mean. */
const meanOf = (values: ReadonlyArray<number>) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
  return { mean, variance: variance / values.length }
}

/** What draws say of the bound and of the loss in each band, with the variances of both. */
const summary = (draws: Draws) => {
  const own = draws.map(each => meanOf(each.map(([, estimate]) => estimate)))
  const sum = (of: (part: { readonly mean: number; readonly variance: number }) => number) =>
    own.reduce((total, part) => total + of(part), 0)
  const ofBands = Array.from({ length: bands }, (_, band) => {
    // A ratio of sums: by its residuals.
    const parts = draws.flatMap((each, s) =>
      each.map(([masks, estimate]) => {
        const n = sequences[s]!.length - 1
        return bandOf(masks, n, bands) === band ? ([estimate, n] as const) : ([0, 0] as const)
      })
    )
    const weight = parts.reduce((total, [, n]) => total + n, 0)
    const mean = parts.reduce((total, [estimate]) => total + estimate, 0) / weight
    const residuals = parts.reduce((total, [estimate, n]) => total + (estimate - mean * n) ** 2, 0)
    return { mean, variance: residuals / weight ** 2 }
  })
  return {
    bound: { mean: sum(({ mean }) => mean) / maskable, variance: sum(({ variance }) => variance) / maskable ** 2 },
    bands: ofBands
  }
}

describe("the bound of the likelihood", () => {
  it.live("of two models is PyTorch's: exactly by the same masks, and within 5 standard errors by its own", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        const evaluated = sequences.map(ids => ({
          ids: Int32Array.from(ids),
          maskable: new Uint8Array(ids.length).fill(1)
        }))
        const bounds: Array<number> = []
        for (const [name, json] of Object.entries({ qwen3, qwen2 })) {
          const path = yield* denseModel(join(directory, name), { ...json, initializer_range: 0.2 })
          const { config, tensors } = yield* opened(path)
          const buffers = yield* allocateParameters(engine, parameterSpecs(config))
          yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
          const shape = { rows: 16, length: 32 }
          const losses = yield* makeMaskedLosses(engine, config, buffers.views, shape)
          const measured = (draws: number) =>
            likelihoodBound({ ...shape, losses, pad: 0, mask, bands, draws, seed: 5 }, evaluated)

          // The same masks.
          const few = 8
          const ours = yield* measured(few)
          const drawn = evaluated.map((sequence, i) => drawMasks(sequence, i, { draws: few, seed: 5 }))
          const places = drawn.map(each => Array.from({ length: few }, (_, draw) => [...each.places(draw)]))
          const reply = python<{ readonly given: Draws; readonly own: Draws }>("bound.py", {
            directory: path,
            sequences,
            mask,
            given: places,
            own: 3000,
            seed: 1
          })
          const [same, theirs] = [summary(reply.given), summary(reply.own)]
          expect(Math.abs(ours.nats - same.bound.mean)).toBeLessThan(1e-4)
          const ofBand = (found: typeof ours, band: number) => {
            const parts = found.sequences.map(each => each.bands[band]!)
            const total = (of: "sum" | "weight") => parts.reduce((sum, part) => sum + part[of], 0)
            return total("sum") / total("weight")
          }
          for (const [band, { mean }] of same.bands.entries())
            expect(Math.abs(ofBand(ours, band) - mean), `${name}, band ${band}`).toBeLessThan(1e-4)

          // Its own masks, another generator and no strata.
          const many = yield* measured(600)
          const within = (value: number, own: number, other: { readonly mean: number; readonly variance: number }) =>
            expect(Math.abs(value - other.mean), name).toBeLessThan(5 * Math.sqrt(own ** 2 + other.variance))
          within(many.nats, many.standardError, theirs.bound)
          expect(Math.sqrt(theirs.bound.variance + many.standardError ** 2)).toBeLessThan(0.06)
          for (const [band, other] of theirs.bands.entries()) {
            // Ours have a fifth of the draws and are spread evenly: as if they had the same variance for each draw.
            within(ofBand(many, band), Math.sqrt(5 * other.variance), other)
            expect(Math.sqrt(6 * other.variance)).toBeLessThan(0.15)
          }
          bounds.push(many.nats)
        }
        // The two are no copies of each other.
        expect(Math.abs(bounds[0]! - bounds[1]!)).toBeGreaterThan(0.1)
      })
    )
  )
})

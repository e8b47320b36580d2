/** The noise adapter's objective: its terms, what flows where, the seed's ways, and that a batch can be learnt. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../../src/tokens/epochs.ts"
import { randomMasking } from "../../../src/methods/shared/masks/corruption.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { vfmSpecs } from "../../../src/methods/vfm/networks.ts"
import { diffusionObjective, DiffusionSettings } from "../../../src/methods/shared/masks/objective.ts"
import { vfmObjective } from "../../../src/methods/vfm/objective.ts"
import { VfmSettings } from "../../../src/methods/vfm/settings.ts"
import { fit, gradientsOf } from "../../support/latentTraining.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const config = modelConfig({ hiddenSize: 8, layers: 2, vocabSize: 20 })
const base = parameterSpecs(config)
/** Weights large enough for sure answers, where the language model stays as it is. */
const sure = modelConfig({ hiddenSize: 8, layers: 2, vocabSize: 20, initializerRange: 1 })
const mask = 19
const sequences = [
  [3, 1, 4, 1, 5, 9],
  [5, 8, 9],
  [2, 7, 1, 8, 2, 8, 1, 8]
].map(ids => Int32Array.from(ids))
const length = 9

const settings = (changes: Partial<typeof VfmSettings.Encoded> = {}): VfmSettings =>
  Schema.decodeUnknownSync(VfmSettings)({
    adapterLayers: 1,
    adapterHeads: 2,
    maxSeqLen: length,
    adapterDropout: 0,
    ...changes
  })
const diffusion = Schema.decodeUnknownSync(DiffusionSettings)({ pathWeight: 0 })
const data = {
  sequences,
  epochs: makeEpochs(
    sequences.map(ids => ids.length),
    { seed: 1, capacity: length, rowsPerStep: 2 }
  ),
  microBatchRows: 2,
  length,
  pad: 0,
  mask,
  masking: randomMasking(
    sequences.map(ids => ({ lossMask: new Uint8Array(ids.length).fill(1) })),
    diffusion,
    8
  ),
  averaging: "tokens",
  seed: 6
} as const

const gradientsWith = (
  changes: Partial<typeof VfmSettings.Encoded> = {},
  part = "loss",
  inputs: { readonly [name: string]: ArrayLike<number> } = {},
  weights: { readonly [name: string]: ArrayLike<number> } = {}
) => {
  const given = settings(changes)
  return gradientsOf(vfmObjective(config, given, data), [...base, ...vfmSpecs(given, config)], part, inputs, weights)
}
const noInfluence = { "vfm.input_proj.weight": new Float64Array(64) }
const adapter = "vfm.mu_head.weight"
const batchOf = (changes: Partial<typeof VfmSettings.Encoded> = {}) =>
  Effect.map(vfmObjective(config, settings(changes), data).microBatches(0), ([batch]) => batch!.inputs)

describe("the terms", () => {
  it.effect("without influence of the noise, the data term is masked diffusion's loss of the same masks", () =>
    Effect.gen(function* () {
      const plain = yield* gradientsOf(diffusionObjective(config, diffusion, data), base, "loss")
      const { losses } = yield* gradientsWith({}, "loss", {}, noInfluence)
      expect(losses["vfm_data"]![0]).toBeCloseTo(plain.losses["loss"]![0]!, 10)
      const { losses: other } = yield* gradientsWith()
      expect(Math.abs(other["vfm_data"]![0]! - plain.losses["loss"]![0]!)).toBeGreaterThan(1e-6)
    })
  )

  it.effect("are weighed by tau, sigma and beta", () =>
    Effect.gen(function* () {
      const { losses } = yield* gradientsWith({ tau: 2, sigma: 0.5, beta: 3 })
      const [dataTerm, observed, kl] = ["vfm_data", "vfm_obs", "vfm_kl"].map(part => losses[part]![0]!)
      expect(losses["loss"]![0]).toBeCloseTo(dataTerm! / 4 + 2 * observed! + 3 * kl!, 10)
      const { losses: summed } = yield* gradientsWith({ klScale: "sum" })
      expect(summed["vfm_kl"]![0]! / kl!).toBeCloseTo(config.hiddenSize, 8)
    })
  )
})

describe("gradients", () => {
  it.effect("of the data term reach the adapter only through documents whose noise is its own", () =>
    Effect.gen(function* () {
      const pure = yield* gradientsWith({ alpha: 0 }, "vfm_data")
      expect(pure.norms[adapter]).toBe(0)
      expect(pure.norms["vfm.input_proj.weight"]).toBeGreaterThan(0)
      expect((yield* gradientsWith({ alpha: 0 }, "vfm_kl")).norms[adapter]).toBeGreaterThan(0)
      expect((yield* gradientsWith({ alpha: 1 }, "vfm_data")).norms[adapter]).toBeGreaterThan(0)
    })
  )

  it.effect("are central differences, through the draw", () =>
    Effect.gen(function* () {
      const found = yield* gradientsWith({ alpha: 1 })
      const h = 1e-4
      for (const name of [adapter, "vfm.log_sigma_head.bias", "vfm.positions", "model.norm.weight"]) {
        const at = (by: number) => {
          const moved = Float64Array.from(found.values[name]!)
          moved[3]! += by
          return gradientsWith({ alpha: 1 }, "loss", {}, { [name]: moved })
        }
        const [up, down] = [yield* at(h), yield* at(-h)]
        const difference = (up.losses["loss"]![0]! - down.losses["loss"]![0]!) / (2 * h)
        expect(found.gradients[name]![3], name).toBeCloseTo(difference, 6)
      }
    })
  )
})

describe("the seed's ways", () => {
  it.effect("make the language model blind to the noise at first, where this one sees it", () =>
    Effect.gen(function* () {
      const loss = (noiseInput: "added" | "replacing", scale: number) =>
        Effect.gen(function* () {
          const { noise } = yield* batchOf({ noiseInput })
          const changed = (noise as Float32Array).map(x => x * scale)
          return (yield* gradientsWith({ noiseInput, alpha: 1 }, "loss", { noise: changed })).losses["vfm_data"]![0]!
        })
      expect(yield* loss("replacing", 1)).toBe(yield* loss("replacing", 2))
      expect(yield* loss("added", 1)).not.toBe(yield* loss("added", 2))
    })
  )

  it.effect("give the language model the mean embedding at first, and gradients that are of its size", () =>
    Effect.gen(function* () {
      const { norms } = yield* gradientsWith({ noiseInput: "replacing", alpha: 1 })
      expect(norms["vfm.input_proj.weight"]).toBeGreaterThan(0)
      // Each norm of a layer divides by what it normalises: zeros multiply gradients by a thousand, norm after norm.
      for (const [name, norm] of Object.entries(norms)) expect(norm, name).toBeLessThan(1e3)
    })
  )

  it.effect("read targets after masking, and take a prefix for what is visible", () =>
    Effect.gen(function* () {
      const [own, seeds] = [yield* batchOf(), yield* batchOf({ targets: "masked", observed: "prefix" })]
      const ids = own["ids"] as Int32Array
      const segmentIds = own["segmentIds"] as Int32Array
      const columns = own["dataWeights"] as Float32Array
      const [targets, masked] = [own["targets"] as Int32Array, seeds["targets"] as Int32Array]
      expect(columns.some(weight => weight > 0)).toBe(true)
      for (const [i, weight] of columns.entries())
        if (weight > 0) expect([targets[i] === mask, masked[i]]).toEqual([false, mask])
      const visible = own["observed"] as Float32Array
      for (const [i, id] of ids.entries()) expect(visible[i] === 1).toBe(segmentIds[i]! >= 0 && id !== mask)
      const prefix = seeds["observed"] as Float32Array
      expect(prefix.reduce((a, b) => a + b, 0)).toBe(visible.reduce((a, b) => a + b, 0))
      for (let i = 1; i < prefix.length; i++)
        if (i % length > 0 && segmentIds[i] === segmentIds[i - 1]) expect(prefix[i]).toBeLessThanOrEqual(prefix[i - 1]!)
    })
  )

  it.effect("put pure noise over visible tokens, predict without the shift, and compare states with embeddings", () =>
    Effect.gen(function* () {
      const count = (values: unknown): number => (values as Float32Array).filter(value => value > 0).length
      const [own, seeds] = [yield* batchOf({ alpha: 0 }), yield* batchOf({ alpha: 0, pureNoiseEverywhere: true })]
      expect(count(own["pure"])).toBe(count(own["noiseWeights"]))
      expect(count(seeds["pure"])).toBe(count(seeds["tokenWeights"]))
      const [shifted, plain] = [yield* gradientsWith(), yield* gradientsWith({ tokenShift: false })]
      expect(plain.losses["vfm_data"]![0]).not.toBeCloseTo(shifted.losses["vfm_data"]![0]!, 3)
      const distance = yield* gradientsWith({ dataLoss: "embedding" })
      expect(distance.losses["loss"]![0]).toBeCloseTo(
        distance.losses["vfm_data"]![0]! / 2 + distance.losses["vfm_obs"]![0]! / 2 + distance.losses["vfm_kl"]![0]!,
        10
      )
    })
  )
})

describe("a batch", () => {
  it.live("is learnt through the noise alone, beside a language model that stays as it is", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const given = settings({ alpha: 1, beta: 1e-4, sigma: 10 })
        const specs = { trained: vfmSpecs(given, sure), fixed: parameterSpecs(sure) }
        const first = yield* fit(engine, vfmObjective(sure, given, data), specs, { steps: 1, lr: 0 })
        const last = yield* fit(engine, vfmObjective(sure, given, data), specs, { steps: 400, lr: 0.02 })
        expect(last.losses["vfm_data"]!).toBeLessThan(0.2 * first.losses["vfm_data"]!)
      })
    )
  )

  it.live("has another dropout in every step, and none where it is 0", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const loss = (adapterDropout: number, seed: number) =>
          Effect.gen(function* () {
            const given = settings({ adapterDropout, alpha: 1 })
            const specs = { trained: vfmSpecs(given, config), fixed: base }
            const objective = vfmObjective(config, given, { ...data, seed })
            const noise = new Float32Array(2 * length * config.hiddenSize)
            const still = {
              ...objective,
              microBatches: (step: number) =>
                Effect.map(objective.microBatches(step), parts =>
                  parts.map(part => ({ ...part, inputs: { ...part.inputs, noise } }))
                )
            }
            return (yield* fit(engine, still, specs, { steps: 1, lr: 0 })).losses["loss"]!
          })
        expect(yield* loss(0, 1)).toBe(yield* loss(0, 2))
        expect(yield* loss(0.5, 1)).not.toBe(yield* loss(0.5, 2))
      })
    )
  )
})

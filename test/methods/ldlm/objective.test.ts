/** LDLM's objective: what flows where, what each part is, and that a batch can be learnt. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../../src/tokens/epochs.ts"
import { windowsOf } from "../../../src/tokens/windows.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { ldlmSpecs } from "../../../src/methods/ldlm/networks.ts"
import { ldlmObjective } from "../../../src/methods/ldlm/objective.ts"
import { LdlmSettings } from "../../../src/methods/ldlm/settings.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { fit, gradientsOf } from "../../support/latentTraining.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const config = modelConfig({ hiddenSize: 8, layers: 3, vocabSize: 20 })
const base = parameterSpecs(config)
const sequences = [
  [3, 1, 4, 1, 5, 9, 2, 6, 5, 3],
  [5, 8, 9, 7, 9, 3, 2],
  [2, 7, 1, 8, 2, 8, 1, 8]
].map(ids => ({ ids: Int32Array.from(ids), lossMask: new Uint8Array(ids.length).fill(1) }))
const length = 4

const settings = (changes: Partial<typeof LdlmSettings.Encoded> = {}): LdlmSettings =>
  Schema.decodeUnknownSync(LdlmSettings)({
    seqLen: length,
    depth: 1,
    heads: 2,
    decoderNumLayers: 1,
    diffusionHeadDepth: 1,
    promptLength: 3,
    warmupSteps: 10,
    warmupGammaMin: 0.01,
    decoderNoiseStd: 0.5,
    selfConditionProb: 0.5,
    adaptiveBins: 5,
    ...changes
  })
const objectiveOf = (given: LdlmSettings, rows = 3) => {
  const windows = windowsOf(
    sequences.map(({ ids }) => ids.length),
    { prompt: given.promptLength, length }
  )
  const epochs = makeEpochs(
    windows.map(() => length),
    { seed: 1, capacity: length, rowsPerStep: 6 }
  )
  return ldlmObjective(config, given, { sequences, windows, epochs, microBatchRows: rows, pad: 0, seed: 4 })
}
const total = (norms: { readonly [name: string]: number }, part: string): number =>
  Object.entries(norms).reduce((sum, [name, norm]) => sum + (name.includes(part) ? norm : 0), 0)

describe("gradients", () => {
  const given = settings()
  const all = [...base, ...ldlmSpecs(given, config)]
  const encoder = "ldlm.latent_encoder.layers.0.mlp.down.weight"

  it.effect("of the tokens' cross-entropy reach the token decoder and its head, and nothing before", () =>
    Effect.gen(function* () {
      const { norms } = yield* gradientsOf(objectiveOf(given), all, "ldlm_w")
      for (const part of ["token_decoder", "lm_head"]) expect(total(norms, part)).toBeGreaterThan(0)
      for (const part of ["latent_encoder", "latent_decoder", "diffusion_head", "model."])
        expect(total(norms, part)).toBe(0)
    })
  )

  it.effect("of the states' error reach encoder and decoder; the language model never gets any", () =>
    Effect.gen(function* () {
      const { norms } = yield* gradientsOf(objectiveOf(given), all, "ldlm_h")
      for (const part of ["latent_encoder", "latent_decoder"]) expect(total(norms, part)).toBeGreaterThan(0)
      for (const part of ["token_decoder", "lm_head", "diffusion_head", "model."]) expect(total(norms, part)).toBe(0)
    })
  )

  it.effect("of the denoiser's error reach the encoder times gamma, and the denoiser in full", () =>
    Effect.gen(function* () {
      const at = (gamma: number, changes: Partial<typeof LdlmSettings.Encoded> = {}, part = "ldlm_diff") =>
        gradientsOf(objectiveOf(settings(changes)), all, part, { gamma: [gamma] })
      const [none, some, full] = [yield* at(0), yield* at(0.01), yield* at(1)]
      expect(total(none.norms, "latent_encoder")).toBe(0)
      expect(some.norms[encoder]! / full.norms[encoder]!).toBeCloseTo(0.01, 8)
      expect(total(some.norms, "diffusion_head")).toBeCloseTo(total(full.norms, "diffusion_head"), 8)
      expect(some.losses["ldlm_diff"]).toEqual(full.losses["ldlm_diff"])
      for (const part of ["latent_decoder", "token_decoder", "model."]) expect(total(full.norms, part)).toBe(0)

      // The seed scales the whole term.
      const [a, b] = [yield* at(0.01, { warmupScales: "loss" }, "loss"), yield* at(1, { warmupScales: "loss" }, "loss")]
      expect(total(a.norms, "diffusion_head") / total(b.norms, "diffusion_head")).toBeCloseTo(0.01, 8)
    })
  )

  it.effect("are central differences of the loss, with prompts", () =>
    Effect.gen(function* () {
      const objective = objectiveOf(given)
      // Without self-conditioning, whose first pass is a constant to differentiation, and with so many latents behind that the scale is one, too.
      const plain = { gamma: [1], selfCondition: [0, 0, 0], latentStatistics: [1e12, 0, 2] }
      const found = yield* gradientsOf(objective, all, "ldlm_diff", plain)
      const h = 1e-4
      for (const name of ["ldlm.diffusion_head.prompt.weight", "ldlm.latent_encoder.positions", encoder]) {
        const loss = (by: number) => {
          const moved = Float64Array.from(found.values[name]!)
          moved[3]! += by
          return gradientsOf(objective, all, "ldlm_diff", plain, { [name]: moved })
        }
        const [up, down] = [yield* loss(h), yield* loss(-h)]
        const difference = (up.losses["ldlm_diff"]![0]! - down.losses["ldlm_diff"]![0]!) / (2 * h)
        expect(found.gradients[name]![3], name).toBeCloseTo(difference, 6)
      }
    })
  )
})

describe("the data", () => {
  it.effect("hold the statistics of the language model's states, of every token once", () =>
    Effect.gen(function* () {
      const given = settings({ promptLength: 0, encoderHiddenLayer: -2 })
      const all = [...base, ...ldlmSpecs(given, config)]
      const objective = objectiveOf(given, 6)
      const { losses, values } = yield* gradientsOf(objective, all, "loss")
      const [batch] = yield* objective.microBatches(0, objective.objectiveState!.initial)
      const ids = batch!.inputs["ids"] as Int32Array
      const segmentIds = batch!.inputs["segmentIds"] as Int32Array
      const elements: Array<number> = []
      for (let row = 0; row < 6; row++) {
        const own = [...ids.subarray(row * length, (row + 1) * length)].filter(
          (_, i) => segmentIds[row * length + i] === 0
        )
        // Layers 0 to 3: the second from the end is what leaves layer 2.
        elements.push(...bruteForward(config, name => values[name]!, own, true).states[2]!.flat())
      }
      const n = elements.length / 8
      const [tokens, mean, square] = losses["stateStatistics"]!
      expect(tokens).toBe(n)
      expect(mean).toBeCloseTo(elements.reduce((sum, x) => sum + x, 0) / elements.length, 6)
      expect(square).toBeCloseTo(elements.reduce((sum, x) => sum + x * x, 0) / elements.length, 6)
      const memory = objective.objectiveState!.next(objective.objectiveState!.initial, 0, [
        Object.fromEntries(Object.entries(losses).map(([name, values]) => [name, Float32Array.from(values)]))
      ])
      expect(memory["states/statistics"]![0]).toBe(n)
    })
  )

  it.effect("tell each bin of times its own samples; or, as in the seed, all of them the batch's mean", () =>
    Effect.gen(function* () {
      const losses = Float32Array.of(1, 2, 3, 4, 5, 6)
      const bins = 997
      const told = (adaptiveLosses: "sample" | "batch") =>
        Effect.gen(function* () {
          const objective = objectiveOf(settings({ adaptiveLosses, adaptiveBins: bins }), 6)
          const { initial, next } = objective.objectiveState!
          const memory = next(initial, 0, [
            { perSample: losses, stateStatistics: Float32Array.of(1, 0, 1), latentStatistics: Float32Array.of(1, 0, 1) }
          ])
          const [batch] = yield* objective.microBatches(0, initial)
          const own = [...(batch!.inputs["time"] as Float32Array)].map(time =>
            Math.min(bins - 1, Math.floor(time * bins))
          )
          expect(new Set(own).size).toBe(6)
          return own.map(bin => memory["times/sums"]![bin]! / memory["times/weights"]![bin]!)
        })
      for (const [i, mean] of (yield* told("sample")).entries()) expect(mean).toBeCloseTo(losses[i]!, 10)
      for (const mean of yield* told("batch")) expect(mean).toBeCloseTo(3.5, 10)
    })
  )
})

describe("the diffusion's latents", () => {
  it.effect("have mean 0 and deviation 1 whatever their size: a larger encoder has the same loss", () =>
    Effect.gen(function* () {
      const loss = (scaledLatents: boolean, factor: number) =>
        Effect.gen(function* () {
          const given = settings({ scaledLatents })
          const specs = [...base, ...ldlmSpecs(given, config)]
          const all = yield* gradientsOf(objectiveOf(given), specs, "ldlm_diff")
          // All that the last layer's stream is made of, so that the latents are so many times as large.
          const changed = Object.fromEntries(
            ["latents", "self_attention.out", "cross_attention.out", "mlp.down"].flatMap(part =>
              Object.entries(all.values)
                .filter(([name]) => name.startsWith("ldlm.latent_encoder") && name.includes(part))
                .map(([name, values]) => [name, Array.from(values, x => x * factor)])
            )
          )
          const { losses } = yield* gradientsOf(objectiveOf(given), specs, "ldlm_diff", {}, changed)
          return losses["ldlm_diff"]![0]!
        })
      // Norms within the layers add a little to the variance, by which they divide.
      expect((yield* loss(true, 100)) / (yield* loss(true, 1000))).toBeCloseTo(1, 3)
      expect((yield* loss(false, 1000)) / (yield* loss(false, 100))).toBeGreaterThan(10)
    })
  )

  it.effect("are scaled by those of the last steps, each of which counts a tenth less than the one behind it", () =>
    Effect.sync(() => {
      const { initial, next } = objectiveOf(settings()).objectiveState!
      const seen = (mean: number) => [
        {
          perSample: Float32Array.of(1, 1, 1, 1, 1, 1),
          stateStatistics: Float32Array.of(4, mean, 1),
          latentStatistics: Float32Array.of(4, mean, 1)
        }
      ]
      const state = next(next(next(initial, 0, seen(1)), 1, seen(2)), 2, seen(4))
      expect(state["states/statistics"]![1]).toBeCloseTo((1 + 2 + 4) / 3, 10)
      expect(state["latents/statistics"]![1]).toBeCloseTo((0.81 * 1 + 0.9 * 2 + 4) / 2.71, 10)
    })
  )
})

describe("noise on decoded latents", () => {
  it.effect("rises along a line from none to its deviation, and stays there", () =>
    Effect.gen(function* () {
      const objective = objectiveOf(settings({ decoderNoiseStd: 2, decoderNoiseWarmupSteps: 4 }))
      const deviations: Array<number> = []
      for (let step = 0; step < 7; step++) {
        const [batch] = yield* objective.microBatches(step, objective.objectiveState!.initial)
        const [still] = yield* objectiveOf(settings({ decoderNoiseStd: 1 })).microBatches(
          step,
          objective.objectiveState!.initial
        )
        const [now, unit] = [batch!, still!].map(({ inputs }) => inputs["decoderNoise"] as Float32Array)
        deviations.push(Math.hypot(...now!) / Math.hypot(...unit!))
      }
      for (const [step, wanted] of [0, 0.5, 1, 1.5, 2, 2, 2].entries()) expect(deviations[step]).toBeCloseTo(wanted, 5)
    })
  )
})

describe("a batch", () => {
  it.live("is learnt by heart by every part: states, tokens, and the denoiser", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const given = settings({ decoderNoiseStd: 0.1, latentDim: 16, encoderHiddenLayer: -2 })
        const specs = { trained: ldlmSpecs(given, config), fixed: base }
        const first = yield* fit(engine, objectiveOf(given, 6), specs, { steps: 1, lr: 0 })
        const last = yield* fit(engine, objectiveOf(given, 6), specs, { steps: 400, lr: 0.01 })
        expect(last.losses["ldlm_w"]!).toBeLessThan(0.05)
        expect(last.losses["ldlm_h"]!).toBeLessThan(0.1 * first.losses["ldlm_h"]!)
        expect(last.losses["ldlm_diff"]!).toBeLessThan(0.1 * first.losses["ldlm_diff"]!)
      })
    )
  )
})

/** Cola's objective: masked diffusion stays what it is, what flows where, and that a batch can be learnt. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../../src/tokens/epochs.ts"
import { randomMasking } from "../../../src/methods/shared/masks/corruption.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../../src/models/config.ts"
import { initialValues } from "../../../src/models/parameters.ts"
import { input, sub } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { cola, colaSpecs } from "../../../src/methods/cola/networks.ts"
import { colaObjective } from "../../../src/methods/cola/objective.ts"
import { ColaSettings } from "../../../src/methods/cola/settings.ts"
import { diffusionObjective, DiffusionSettings } from "../../../src/methods/shared/masks/objective.ts"
import { fit, gradientsOf } from "../../support/latentTraining.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const config = modelConfig({ hiddenSize: 8, layers: 3, vocabSize: 20 })
const base = parameterSpecs(config)
/** Weights large enough for sure answers, where the student stays as it is. */
const sure = modelConfig({ hiddenSize: 8, layers: 3, vocabSize: 20, initializerRange: 1 })
const mask = 19
const sequences = [
  [3, 1, 4, 1, 5, 9],
  [5, 8, 9],
  [2, 7, 1, 8, 2, 8, 1, 8]
].map(ids => Int32Array.from(ids))
const length = 9

type Changes = Partial<typeof ColaSettings.Encoded>
const settings = (changes: Changes = {}): DiffusionSettings & ColaSettings => ({
  ...Schema.decodeUnknownSync(DiffusionSettings)({ pathWeight: 0 }),
  ...Schema.decodeUnknownSync(ColaSettings)({
    colaWt: 0.5,
    colaNumGlobal: 2,
    colaNumLocal: 4,
    colaBlockSize: 2,
    colaEncoderDepth: 1,
    colaDiffusionDepth: 1,
    colaHeads: 2,
    colaDecoderLayers: 1,
    colaMaxLength: length,
    ...changes
  })
})
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
    settings(),
    8
  ),
  averaging: "tokens",
  seed: 6
} as const
const specsOf = (changes: Changes) => [...base, ...colaSpecs(settings(changes), config)]

/** With every weight drawn: maps that begin at 0 hide what lies behind them. */
const gradientsWith = (changes: Changes = {}, part = "loss") =>
  gradientsOf(
    colaObjective(config, settings(changes), data),
    specsOf(changes).map(spec => (spec.initial === "zeros" ? { ...spec, initial: { normal: 0.3 } } : spec)),
    part
  )
const total = (norms: { readonly [name: string]: number }, part: string): number =>
  Object.entries(norms).reduce((sum, [name, norm]) => sum + (name.startsWith(part) ? norm : 0), 0)

describe("the student", () => {
  it.effect("is trained by masked diffusion alone: loss and gradients are those of the row without latents", () =>
    Effect.gen(function* () {
      const plain = yield* gradientsOf(diffusionObjective(config, settings(), data), base, "loss")
      const { gradients, losses } = yield* gradientsWith()
      expect(losses["mdm"]![0]).toBeCloseTo(plain.losses["loss"]![0]!, 12)
      for (const { name } of base)
        for (const [i, value] of plain.gradients[name]!.entries()) expect(gradients[name]![i]).toBeCloseTo(value, 12)
      const whole = (yield* gradientsWith({ colaDetachStudent: false })).gradients["model.norm.weight"]!
      expect(whole[0]).not.toBeCloseTo(plain.gradients["model.norm.weight"]![0]!, 6)
      expect(colaObjective(config, settings({ colaWt: 0 }), data).inputs).toEqual(
        diffusionObjective(config, settings(), data).inputs
      )
    })
  )

  it.effect("passes its losses on, weighted", () =>
    Effect.gen(function* () {
      const { losses } = yield* gradientsWith({ colaWt: 0.25, colaBeta: 2 })
      const [main, flow, kl, tokens] = ["mdm", "cola_flow", "cola_kl", "cola_tokens"].map(part => losses[part]![0]!)
      expect(losses["loss"]![0]).toBeCloseTo(main! + 0.25 * (flow! + 2 * kl! + tokens!), 10)
    })
  )
})

describe("gradients", () => {
  it.effect("of the flow stop at the latents; in the seed they reach the encoder", () =>
    Effect.gen(function* () {
      const own = yield* gradientsWith({}, "cola_flow")
      expect(total(own.norms, "cola.encoder")).toBe(0)
      expect(total(own.norms, "cola.diffusion")).toBeGreaterThan(0)
      const seeds = { colaVae: false, colaStopGradient: false, colaSource: "masked", colaCondition: false } as const
      const seed = yield* gradientsWith(seeds, "cola_flow")
      expect(total(seed.norms, "cola.encoder")).toBeGreaterThan(0)
      expect(Object.keys(seed.losses)).toEqual(["loss", "mdm", "path", "cola_flow"])
    })
  )

  it.effect("of the tokens reach encoder and decoder, and not the student", () =>
    Effect.gen(function* () {
      const { norms } = yield* gradientsWith({}, "cola_tokens")
      for (const part of ["cola.encoder", "cola.decoder"]) expect(total(norms, part)).toBeGreaterThan(0)
      for (const part of ["cola.diffusion", "model."]) expect(total(norms, part)).toBe(0)
    })
  )

  it.effect("are central differences in every variant", () =>
    Effect.gen(function* () {
      for (const colaVariant of ["block_causal", "card", "fast_block"] as const)
        for (const colaPrediction of ["v", "x0"] as const) {
          const changes = { colaVariant, colaPrediction }
          const specs = specsOf(changes).map(spec =>
            spec.initial === "zeros" ? { ...spec, initial: { normal: 0.3 } } : spec
          )
          const objective = colaObjective(config, settings(changes), data)
          const found = yield* gradientsOf(objective, specs, "loss")
          const h = 1e-4
          for (const name of [
            "cola.encoder.mu_head.weight",
            "cola.diffusion.layers.0.self_attention.modulation.bias"
          ]) {
            const at = (by: number) => {
              const moved = Float64Array.from(found.values[name]!)
              moved[5]! += by
              return gradientsOf(
                objective,
                specs,
                name.includes("diffusion") ? "cola_flow" : "cola_tokens",
                {},
                { [name]: moved }
              )
            }
            const [up, down] = [yield* at(h), yield* at(-h)]
            const part = name.includes("diffusion") ? "cola_flow" : "cola_tokens"
            const exact = yield* gradientsOf(objective, specs, part)
            const difference = (up.losses[part]![0]! - down.losses[part]![0]!) / (2 * h)
            expect(exact.gradients[name]![5], `${colaVariant} ${colaPrediction} ${name}`).toBeCloseTo(difference, 6)
          }
        }
    })
  )
})

describe("the data", () => {
  it.effect("hold the clean text, one document of each row, and shares that add up", () =>
    Effect.gen(function* () {
      for (const colaVariant of ["block_causal", "card", "fast_block"] as const) {
        const [batch] = yield* colaObjective(config, settings({ colaVariant }), data).microBatches(0)
        const { inputs } = batch!
        const rows = data.epochs.rows(0)
        const clean = inputs["cleanIds"] as Int32Array
        const chosen = inputs["chosen"] as Float32Array
        for (const [r, row] of rows.entries()) {
          expect([...clean.subarray(r * length, (r + 1) * length)].slice(0, 3)).toEqual([
            ...sequences[row[0]!]!.subarray(0, 3)
          ])
          const longest = Math.max(...row.map(example => sequences[example]!.length))
          expect(chosen.subarray(r * length, (r + 1) * length).reduce((a, b) => a + b, 0)).toBe(longest)
        }
        const sum = (name: string): number => (inputs[name] as Float32Array).reduce((a, b) => a + b, 0)
        expect(sum("flowWeights")).toBeCloseTo(1, 5)
        expect(sum("tokenWeights")).toBeCloseTo(1, 5)
      }
    })
  )
})

describe("the divergence", () => {
  it.effect("weighs more along a line, and in full from the end of its warm-up on", () =>
    Effect.gen(function* () {
      const objective = colaObjective(config, settings({ colaBeta: 0.5, colaBetaWarmupSteps: 4 }), data)
      const betas: Array<number> = []
      for (let step = 0; step < 6; step++) {
        const [batch] = yield* objective.microBatches(step)
        betas.push((batch!.inputs["beta"] as Float32Array)[0]!)
      }
      expect(betas).toEqual([0, 0.125, 0.25, 0.375, 0.5, 0.5])
    })
  )

  it.effect("begins at the deviation given, as its closed form", () =>
    Effect.gen(function* () {
      const specs = [...base, ...colaSpecs(settings(), config, { colaLatentStart: "aligned", colaStartSigma: 0.2 })]
      // Without a mean the divergence is that of the deviation alone, of each of the 8 elements of a latent.
      const still = specs.map(spec =>
        spec.name.startsWith("cola.encoder.mu_head") ? { ...spec, initial: "zeros" as const } : spec
      )
      const { losses } = yield* gradientsOf(colaObjective(config, settings(), data), still, "cola_kl")
      const logSigma = Math.fround(Math.log(0.2))
      expect(losses["cola_kl"]![0]).toBeCloseTo(8 * ((Math.exp(2 * logSigma) - 1) / 2 - logSigma), 6)
    })
  )
})

describe("the decoder", () => {
  it("adds to states in units of their size: of states that are so many times as large it says as much", () => {
    const specs = colaSpecs(settings(), config).map(spec =>
      spec.initial === "zeros" ? { ...spec, initial: { normal: 0.3 } } : spec
    )
    const weights = new Map(specs.map(({ name, shape }) => [name, input(name, "f32", shape)]))
    const networks = cola(settings(), config, name => weights.get(name)!, length)
    const states = input("states", "f32", [1, length, 8])
    const at = input("at", "i32", [1, length])
    const added = sub(networks.decode(states, input("z", "f32", [1, 6, 8]), at), states)
    const values = Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, 3)]))
    const x = normals(randomKey(1, "states"), length * 8)
    const z = normals(randomKey(2, "latents"), 6 * 8)
    const positions = Array.from({ length }, (_, i) => i)
    const answer = (factor: number) =>
      evaluateTensors({ added }, { ...values, states: x.map(v => v * factor), z, at: positions }, { exact: true })[
        "added"
      ]!
    const [once, often] = [answer(1), answer(1000)]
    for (const [i, value] of once.entries()) expect(often[i]! / 1000).toBeCloseTo(value, 3)
    expect(Math.hypot(...once)).toBeGreaterThan(1)
  })
})

describe("a batch", () => {
  it.live("is learnt by every part, and latents tell what masks hide", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const given = settings({ colaBeta: 1e-4, colaWt: 1, colaWidth: 16 })
        // The student stays as it is: what is learnt is learnt from the latents.
        const specs = { trained: colaSpecs(given, sure), fixed: parameterSpecs(sure) }
        const first = yield* fit(engine, colaObjective(sure, given, data), specs, { steps: 1, lr: 0 })
        const last = yield* fit(engine, colaObjective(sure, given, data), specs, { steps: 400, lr: 0.01 })
        expect(last.losses["mdm"]!).toBeCloseTo(first.losses["mdm"]!, 5)
        expect(last.losses["cola_tokens"]!).toBeLessThan(0.3 * first.losses["cola_tokens"]!)
        expect(last.losses["cola_flow"]!).toBeLessThan(0.3 * first.losses["cola_flow"]!)
      })
    )
  )
})

/** The two sources of a teacher's states: a cache in bfloat16, and a frozen copy that reads along. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterSpecs } from "../../../src/models/config.ts"
import { decodeModelConfig } from "../../../src/models/families.ts"
import { initialValues, parameterInputs } from "../../../src/models/parameters.ts"
import { inputsOf } from "../../../src/sessions/session.ts"
import { gradients } from "../../../src/tensor/autodiff.ts"
import { bf16Bits, fromBf16Bits } from "../../../src/tensor/dtype.ts"
import { input } from "../../../src/tensor/ops.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { AdapterSettings, adapterOf } from "../../../src/methods/shared/adapterSettings.ts"
import type { Teacher } from "../../../src/methods/shared/alignment/aligning.ts"
import type { AlignmentSettings } from "../../../src/methods/shared/alignment/settings.ts"
import { diffusionObjective, DiffusionSettings } from "../../../src/methods/shared/masks/objective.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { mostLiveBytes } from "../../support/liveBytes.ts"
import { config, data, epochs, sequences, specs, stepOf, teacher, weight } from "../../support/alignedTraining.ts"

/** As they come from a cache. */
const cached = (settings: Partial<typeof AlignmentSettings.Encoded>): Teacher => {
  const exact = teacher(settings)
  return {
    ...exact,
    states: (example, layer) => exact.states!(example, layer).map(x => fromBf16Bits(bf16Bits(x)))
  }
}
const live = (settings: Partial<typeof AlignmentSettings.Encoded>): Teacher => {
  const { seed, settings: decoded, steps } = teacher(settings)
  return { seed, settings: decoded, steps }
}

/** Mean loss of the teacher over the tokens of a step, from the equations. */
const lossByHand = (step: number): number => {
  const losses = epochs
    .rows(step)
    .flat()
    .flatMap(example => {
      const ids = [...sequences[example]!]
      const { logits } = bruteForward(config, weight, ids, true)
      return ids.slice(1).map((id, i) => {
        const row = [...logits[i]!]
        const peak = Math.max(...row)
        return peak + Math.log(row.reduce((sum, x) => sum + Math.exp(x - peak), 0)) - row[id]!
      })
    })
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length
}

describe("a live teacher", () => {
  it.live("gives the losses and the gradient of a cached one, within the rounding of bfloat16", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        for (const settings of [
          { alignLayers: [0, 1, 3], subgoalAlignWt: 1 },
          { reprAlignLossMode: "angular", reprAlignNumSampleLayers: 2 },
          { reprAlignContrastive: true }
        ] as const)
          for (const microBatchRows of [1, 2]) {
            const [a, b] = [
              yield* stepOf(engine, live(settings), microBatchRows),
              yield* stepOf(engine, cached(settings), microBatchRows)
            ]
            for (const [step, outcome] of a.outcomes.entries()) {
              const other = b.outcomes[step]!
              for (const part of ["loss", "repr_align", "mdm", ...("subgoalAlignWt" in settings ? ["subgoal"] : [])])
                // Numbers of a cache are off by up to 2^-9 of themselves.
                expect(Math.abs(outcome.losses[part]! - other.losses[part]!), part).toBeLessThan(
                  2 ** -8 * Math.max(1, Math.abs(other.losses[part]!))
                )
              expect(Math.abs(outcome.gradientNorm / other.gradientNorm - 1)).toBeLessThan(2 ** -6)
              expect(outcome.losses["teacher"]).toBeCloseTo(lossByHand(step), 5)
              expect(other.losses["teacher"]).toBeUndefined()
            }
          }
      })
    )
  )

  it.live("stays as it was while the student learns", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const { constants, outcomes, parameters } = yield* stepOf(engine, live({}), 2, 0.05, 5)
        const start = specs.flatMap(spec => [...initialValues(spec, 5)])
        expect([...constants]).toEqual(start)
        expect([...parameters]).not.toEqual(start)
        expect(outcomes[4]!.losses["mdm"]).not.toBeCloseTo(outcomes[0]!.losses["mdm"]!, 3)
      })
    )
  )

  it("gets no gradient", () => {
    const objective = diffusionObjective(
      config,
      Schema.decodeUnknownSync(DiffusionSettings)({}),
      data(),
      live({ subgoalAlignWt: 1, replayBufferCapacity: 100 })
    )
    const parameters = new Map(
      [...specs, ...objective.constants!].map(({ name, shape }) => [name, input(name, "f32", shape)])
    )
    const batch = new Map(
      Object.entries(objective.inputs).map(([name, { dtype, shape }]) => [name, input(`batch/${name}`, dtype, shape)])
    )
    const { loss } = objective.losses(
      name => parameters.get(name)!,
      name => batch.get(name)!,
      { checkpointLayers: false }
    )
    const ofTeacher = objective.constants!.map(({ name }) => parameters.get(name)!)
    // The loss reads it, and its gradient is a constant, 0.
    const read = new Set(makeProgram({ loss }).inputs.map(({ name }) => name))
    expect(objective.constants!.filter(({ name }) => read.has(name)).length).toBeGreaterThan(5)
    for (const gradient of gradients(loss, ofTeacher)) expect(makeProgram({ gradient }).inputs).toEqual([])
    const ofStudent = gradients(loss, [parameters.get(specs[1]!.name)!])[0]!
    expect(makeProgram({ gradient: ofStudent }).inputs.length).toBeGreaterThan(5)
  })
})

/** Bytes that live at the worst moment of a step of a model in NF4 under an adapter, aligned with its base. */
const livesUnderQlora = (layers: number): number => {
  const dense = Effect.runSync(
    decodeModelConfig({
      model_type: "qwen3",
      hidden_size: 256,
      intermediate_size: 512,
      num_hidden_layers: layers,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      head_dim: 64,
      vocab_size: config.vocabSize
    })
  )
  const adapted: ModelConfig = {
    ...dense,
    linear: {
      nf4: { blockSize: 64, doubleQuant: true, modules: "auto" },
      adapter: adapterOf(Schema.decodeSync(AdapterSettings)({ r: 2, loraDropout: 0, trainMask: false }), 0)
    }
  }
  const objective = diffusionObjective(adapted, Schema.decodeSync(DiffusionSettings)({}), data(2), {
    ...live({}),
    settings: { ...live({}).settings, alignLayers: [1] }
  })
  const all = parameterSpecs(adapted)
  const parameter = parameterInputs(all)
  const losses = objective.losses(parameter, inputsOf(objective.inputs), { checkpointLayers: true })
  const trained = all.filter(spec => spec.trained === true).map(({ name }) => parameter(name))
  return mostLiveBytes(
    makeProgram({
      ...losses,
      ...Object.fromEntries(gradients(losses.loss, trained).map((gradient, i) => [`g${i}`, gradient]))
    })
  )
}

describe("a live teacher of a model in NF4", () => {
  it("keeps no weight of a layer that was made dense for the student's pass", () => {
    // Of a layer 4 x 256 x 256 numbers attend, 3 x 256 x 512 feed forward.
    const denseLayer = 4 * (4 * 256 * 256 + 3 * 256 * 512)
    expect((livesUnderQlora(8) - livesUnderQlora(2)) / 6).toBeLessThan(denseLayer / 10)
  })
})

/**
 * Masked diffusion: predict masked tokens from all others. With the token shift of autoregressive models: token i is predicted from the state at
 * i - 1, also where that token is masked itself.
 */
import { Effect, Schema } from "effect"
import { CorruptionSettings } from "../../diffusion/corruption.ts"
import type { ModelConfig } from "../../models/config.ts"
import { work } from "../../models/flops.ts"
import { columnsOf, shiftedInputs, shiftedLosses } from "../../models/shifted.ts"
import { add, exp, mul, neg, stopGradient, sum } from "../../tensor/ops.ts"
import { normalisers, type Objective } from "../objective.ts"
import { aligning, type Teacher } from "./alignment.ts"
import { corruptRows, type DiffusionData } from "./corruptedRows.ts"

const NonNegative = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

export const DiffusionSettings = Schema.Struct({
  ...CorruptionSettings.fields,
  /** `simple`: the mean over masked tokens. `elbo`: masked tokens weighted by 1/t, a bound of the likelihood, divided by all maskable tokens. */
  mdmLoss: orElse(Schema.Literals(["simple", "elbo"]), "simple"),
  /** Weight of the path loss: each token's loss times the probability that the model gives it. */
  pathWeight: orElse(NonNegative, 1),
  /** Multiplies the losses of a micro-batch by min(1 / its mean t, this). */
  minSnrGamma: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0)))
})
export type DiffusionSettings = typeof DiffusionSettings.Type

/** Smallest mean t that min-SNR divides by. */
const leastRatio = 1e-3

/** Loss of masked diffusion of packed rows. */
export const diffusionObjective = (
  config: ModelConfig,
  settings: DiffusionSettings,
  data: DiffusionData,
  /** Left out: the student is on its own. */
  teacher?: Teacher
): Objective<never> => {
  const { averaging, epochs, length, microBatchRows } = data
  const shape = { rows: microBatchRows, length }
  const columns = columnsOf(shape)
  const aligned =
    teacher === undefined || teacher.settings.reprAlignWt === 0 ? undefined : aligning(config, teacher, data)
  return {
    inputs: {
      ...shiftedInputs(shape),
      /** Share of each cross-entropy in the loss, and in the path loss; 0 for what is not masked. */
      weights: { dtype: "f32", shape: [columns] },
      pathWeights: { dtype: "f32", shape: [columns] },
      ...aligned?.inputs
    },
    losses: (parameter, input, { checkpointLayers }) => {
      const { losses, states } = shiftedLosses(config, parameter, input, { causal: false, checkpointLayers })
      const mdm = sum(mul(losses, input("weights")))
      const path = sum(mul(mul(losses, stopGradient(exp(neg(losses)))), input("pathWeights")))
      const own = { loss: add(mdm, path), mdm, path }
      if (aligned === undefined) return own
      const { loss, parts } = aligned.losses(states, input)
      return { ...own, ...parts, loss: add(own.loss, loss) }
    },
    microBatches: step =>
      Effect.sync(() => {
        const rows = epochs.rows(step)
        const parts = Array.from({ length: rows.length / microBatchRows }, (_, m) =>
          corruptRows(rows.slice(m * microBatchRows, (m + 1) * microBatchRows), step, data)
        )
        const elbo = settings.mdmLoss === "elbo"
        const scales = normalisers(
          parts.map(({ maskable, masked }) => (elbo ? maskable : masked)),
          averaging
        )
        const alignments = aligned?.data(rows, parts, step)
        return parts.map(({ arrays, ratios }, m) => {
          const snr = minSnr(settings, ratios)
          const scale = scales[m]! * snr
          return {
            inputs: {
              ...arrays,
              weights: ratios.map(ratio => (ratio === 0 ? 0 : elbo ? scale / ratio : scale)),
              pathWeights: ratios.map(ratio => (ratio === 0 ? 0 : scale * settings.pathWeight)),
              ...alignments?.[m]!(snr)
            },
            ...work(config, arrays.documents, length)
          }
        })
      })
  }
}

/** Weight of a micro-batch by its mean t. */
const minSnr = ({ minSnrGamma }: DiffusionSettings, ratios: Float32Array): number => {
  if (minSnrGamma === undefined) return 1
  const drawn = ratios.filter(ratio => ratio > 0)
  const mean = drawn.reduce((sum, ratio) => sum + ratio, 0) / Math.max(1, drawn.length)
  return Math.min(1 / Math.max(mean, leastRatio), minSnrGamma)
}

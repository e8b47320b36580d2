/**
 * Masked diffusion: predict masked tokens from all others. With the token shift of autoregressive models: token i is predicted from the state at
 * i - 1, also where that token is masked itself.
 */
import { Effect, Schema } from "effect"
import type { Epochs } from "../../data/epochs.ts"
import { packedArrays, type Rows } from "../../data/packing.ts"
import { CorruptionSettings, type Masking } from "../../diffusion/corruption.ts"
import type { ModelConfig } from "../../models/config.ts"
import { columnsOf, shiftedData, shiftedInputs, shiftedLosses } from "../../models/shifted.ts"
import { add, exp, mul, neg, stopGradient, sum } from "../../tensor/ops.ts"
import { type Averaging, normalisers, type Objective } from "../objective.ts"

const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

export const DiffusionSettings = Schema.Struct({
  ...CorruptionSettings.fields,
  /** `simple`: the mean over masked tokens. `elbo`: masked tokens weighted by 1/t, a bound of the likelihood, divided by all maskable tokens. */
  mdmLoss: orElse(Schema.Literals(["simple", "elbo"]), "simple"),
  /** Weight of the path loss: each token's loss times the probability that the model gives it. */
  pathWeight: orElse(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), 1),
  /** Multiplies the losses of a micro-batch by min(1 / its mean t, this). */
  minSnrGamma: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0)))
})
export type DiffusionSettings = typeof DiffusionSettings.Type

/** Smallest mean t that min-SNR divides by. */
const leastRatio = 1e-3

export interface DiffusionData {
  readonly sequences: ReadonlyArray<Int32Array>
  readonly epochs: Epochs
  readonly microBatchRows: number
  readonly length: number
  readonly pad: number
  /** Id of the mask token. */
  readonly mask: number
  readonly masking: Masking
  readonly averaging: Averaging
}

/** Loss of masked diffusion of packed rows. */
export const diffusionObjective = (
  config: ModelConfig,
  settings: DiffusionSettings,
  data: DiffusionData
): Objective<never> => {
  const { averaging, epochs, length, microBatchRows } = data
  const shape = { rows: microBatchRows, length }
  const columns = columnsOf(shape)
  return {
    inputs: {
      ...shiftedInputs(shape),
      /** Share of each cross-entropy in the loss, and in the path loss; 0 for what is not masked. */
      weights: { dtype: "f32", shape: [columns] },
      pathWeights: { dtype: "f32", shape: [columns] }
    },
    losses: (parameter, input, { checkpointLayers }) => {
      const { losses } = shiftedLosses(config, parameter, input, { causal: false, checkpointLayers })
      const mdm = sum(mul(losses, input("weights")))
      const path = sum(mul(mul(losses, stopGradient(exp(neg(losses)))), input("pathWeights")))
      return { loss: add(mdm, path), mdm, path }
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
        return parts.map(({ arrays, ratios }, m) => {
          const scale = scales[m]! * minSnr(settings, ratios)
          return {
            inputs: {
              ...arrays,
              weights: ratios.map(ratio => (ratio === 0 ? 0 : elbo ? scale / ratio : scale)),
              pathWeights: ratios.map(ratio => (ratio === 0 ? 0 : scale * settings.pathWeight))
            },
            tokens: arrays.documents.reduce((count, document) => count + Number(document >= 0), 0)
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

interface CorruptedRows {
  /** With masks among the ids. */
  readonly arrays: ReturnType<typeof shiftedData>
  /** f32 [columns]: t of the document where the token is masked and can be predicted, else 0. */
  readonly ratios: Float32Array<ArrayBuffer>
  /** Predicted tokens that are masked, and that could have been. */
  readonly masked: number
  readonly maskable: number
}

/** Lays sequences out and masks each on its own. The first token of a sequence may be masked, but nothing predicts it. */
const corruptRows = (
  rows: Rows,
  step: number,
  { length, mask, masking, pad, sequences }: DiffusionData
): CorruptedRows => {
  const shape = { rows: rows.length, length }
  const clean = shiftedData(packedArrays(sequences, rows, { capacity: length, pad }), shape)
  const ids = clean.ids.slice()
  const ratios = new Float32Array(columnsOf(shape))
  let [masked, maskable] = [0, 0]
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const example of row) {
      const drawn = masking(example, step)
      const size = Math.min(sequences[example]!.length, length - start)
      for (let i = 0; i < size; i++) {
        if (i > 0) maskable += drawn.maskable[i]!
        if (drawn.masked[i] !== 1) continue
        ids[r * length + start + i] = mask
        if (i === 0 || drawn.labelled[i] !== 1) continue
        ratios[r * (length - 1) + start + i - 1] = drawn.ratio
        masked++
      }
      start += size
    }
  }
  return { arrays: { ...clean, ids }, ratios, masked, maskable }
}

/**
 * Variational flow maps for text: a noise adapter is trained so that a language model, which may stay as it is, fills in masked tokens from its noise in one pass. L =
 * L_data / tau^2 + L_obs / (2 sigma^2) + beta KL. Beside it stand the ways of the seed, as settings.
 */
import { Effect } from "effect"
import { ramp } from "../shared/latents/ramp.ts"
import { klPerElement, withFreeBits } from "../shared/latents/gaussian.ts"
import { embeddingKey, type ModelConfig } from "../../models/config.ts"
import { vfm } from "./networks.ts"
import { predictionCount, nextTokenLossInputs, nextTokenLosses } from "../../models/nextTokenLoss.ts"
import { mean, square, zeros } from "../../tensor/composites.ts"
import { add, cast, gather, lessEqual, mul, random, reshape, slice, stopGradient, sub, sum } from "../../tensor/ops.ts"
import { randomKey } from "../../tensor/random.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Objective } from "../../training/objective.ts"
import type { VfmSettings } from "./settings.ts"
import type { DiffusionData } from "../shared/masks/corruptedRows.ts"
import { vfmRows } from "./rows.ts"

/** Two parts of each layer have dropout. */
const usesPerLayer = 2

export const vfmObjective = (
  config: ModelConfig,
  settings: VfmSettings,
  data: DiffusionData & { readonly seed: number }
): Objective<never> => {
  const { epochs, length, microBatchRows: rows, seed } = data
  const { adapterDropout, adapterLayers, dataLoss, klScale, sigma, tau } = settings
  if (length > settings.maxSeqLen)
    throw new RangeError(`rows have ${length} tokens, the adapter knows ${settings.maxSeqLen} positions`)
  const d = config.hiddenSize
  const shape = { rows, length }
  const columns = predictionCount(shape)
  const uses = adapterLayers * usesPerLayer
  return {
    inputs: {
      ...nextTokenLossInputs(shape),
      /** 1 where a token is visible. */
      observed: { dtype: "f32", shape: [rows, length] },
      /** Shares in the means of a step: of the losses of hidden and of visible tokens, and of positions with noise. */
      dataWeights: { dtype: "f32", shape: [columns] },
      observedWeights: { dtype: "f32", shape: [columns] },
      noiseWeights: { dtype: "f32", shape: [rows, length] },
      tokenWeights: { dtype: "f32", shape: [rows, length] },
      noise: { dtype: "f32", shape: [rows, length, d] },
      pure: { dtype: "f32", shape: [rows, length] },
      beta: { dtype: "f32", shape: [] },
      ...(dataLoss === "embedding" ? { targetIds: { dtype: "i32", shape: [rows, length] } as const } : {}),
      ...(adapterDropout > 0 ? { dropoutKeys: { dtype: "i64", shape: [uses, 2] } as const } : {})
    },
    losses: (parameter, input, options) => {
      const networks = vfm(settings, config, parameter)
      const observed = input("observed")
      const drop = (use: number) => (x: Tensor) => {
        const key = reshape(slice(input("dropoutKeys"), [use, 0], [use + 1, 2]), [2])
        const kept = cast(lessEqual(adapterDropout, random(key, x.shape)), "f32")
        return mul(x, mul(kept, 1 / (1 - adapterDropout)))
      }
      const dropout = (layer: number) => {
        let use = layer * usesPerLayer
        return (x: Tensor): Tensor => drop(use++)(x)
      }
      let kl = zeros("f32", [rows, length, d])
      const { final, losses } = nextTokenLosses(config, parameter, input, {
        ...options,
        causal: false,
        tokenShift: settings.tokenShift,
        embedded: embeddings => {
          const gaussian = networks.adapter(
            embeddings,
            { observed, segmentIds: input("segmentIds"), positions: input("positions") },
            adapterDropout > 0 ? dropout : undefined
          )
          kl = withFreeBits(klPerElement(gaussian), settings.klFreeBits)
          return networks.inputs(
            embeddings,
            observed,
            networks.draw(gaussian, { noise: input("noise"), pure: input("pure") })
          )
        }
      })
      const distance = (): Tensor => {
        const embeddings = stopGradient(gather(parameter(embeddingKey), input("targetIds")))
        return sum(mul(mean(square(sub(final, embeddings)), 2), input("tokenWeights")))
      }
      const [dataTerm, scale] =
        dataLoss === "categorical" ? [sum(mul(losses, input("dataWeights"))), tau ** -2] : [distance(), 0.5 * tau ** -2]
      const observedTerm = sum(mul(losses, input("observedWeights")))
      const perPosition = klScale === "dimension" ? mean(kl, 2) : sum(kl, [2])
      const divergence = sum(mul(perPosition, input("noiseWeights")))
      return {
        loss: add(add(mul(dataTerm, scale), mul(observedTerm, 0.5 * sigma ** -2)), mul(divergence, input("beta"))),
        vfm_data: dataTerm,
        vfm_obs: observedTerm,
        vfm_kl: divergence
      }
    },
    microBatches: step =>
      Effect.sync(() => {
        const all = epochs.rows(step)
        const parts = Array.from({ length: all.length / rows }, (_, m) =>
          vfmRows(all.slice(m * rows, (m + 1) * rows), step, { data, settings, d })
        )
        const count = (of: (part: (typeof parts)[number]) => Float32Array): number =>
          Math.max(
            1,
            parts.reduce((total, part) => total + of(part).reduce((a, b) => a + b, 0), 0)
          )
        const counts = {
          data: count(({ dataColumns }) => dataColumns),
          observed: count(({ observedColumns }) => observedColumns),
          hidden: count(({ hidden }) => hidden),
          tokens: count(({ there }) => there)
        }
        const shares = (values: Float32Array<ArrayBuffer>, total: number) => values.map(value => value / total)
        return parts.map((part, m) => ({
          inputs: {
            ...part.arrays,
            targets: part.targets,
            targetIds: part.targetIds,
            observed: part.observed,
            dataWeights: shares(part.dataColumns, counts.data),
            observedWeights: shares(part.observedColumns, counts.observed),
            noiseWeights: shares(part.hidden, counts.hidden),
            tokenWeights: shares(part.there, counts.tokens),
            noise: part.noise,
            pure: part.pure,
            beta: Float32Array.of(settings.beta * ramp(step, settings.klWarmupSteps)),
            dropoutKeys: BigInt64Array.from({ length: 2 * uses }, (_, i) =>
              BigInt(randomKey(seed, "vfm dropout", step, m, i >> 1)[i & 1]!)
            )
          },
          tokens: part.there.reduce((a, b) => a + b, 0),
          labelled: part.dataColumns.reduce((a, b) => a + b, 0)
        }))
      })
  }
}

/**
 * Masked diffusion with a latent model beside it: L = L_mdm (and what is aligned) + cola_wt (L_flow + beta KL + L_tokens). The student is trained by masked diffusion alone
 * unless `colaDetachStudent` is off; what the latents add is in modules of their own. Beside it stand the ways of the seed, as settings.
 */
import { Effect } from "effect"
import { klPerElement, reparameterised } from "../shared/latents/gaussian.ts"
import { finalNorm, type ModelConfig } from "../../models/config.ts"
import { cola, colaShape } from "./networks.ts"
import { chunkedCrossEntropy, forward, type ForwardOptions, weightsOf } from "../../models/decoder.ts"
import { predictionCount } from "../../models/nextTokenLoss.ts"
import { mean, square } from "../../tensor/composites.ts"
import { add, concat, equal, mul, reshape, sliceAxis, stopGradient, sub, sum } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Objective } from "../../training/objective.ts"
import type { ColaSettings } from "./settings.ts"
import type { Teacher } from "../shared/alignment/aligning.ts"
import { colaData } from "./data.ts"
import type { DiffusionData } from "../shared/masks/corruptedRows.ts"
import { diffusionObjective, type DiffusionSettings } from "../shared/masks/objective.ts"
import type { TrajectorySettings } from "../shared/trajectories/terms.ts"

const parts = ["cola_flow", "cola_kl", "cola_tokens"] as const

export const colaObjective = (
  config: ModelConfig,
  settings: DiffusionSettings & ColaSettings,
  data: DiffusionData & { readonly seed: number },
  teacher?: Teacher,
  trajectories?: TrajectorySettings
): Objective<never> => {
  const inner = diffusionObjective(config, settings, data, teacher, trajectories)
  if (settings.colaWt === 0) return inner
  const { length, microBatchRows: rows } = data
  const { latents, stateLayer, width } = colaShape(settings, config, length)
  const views = settings.colaVariant === "fast_block" ? 2 : 1
  const copies = views * rows
  const shape = { rows, length }
  const detached = settings.colaDetachStudent ? stopGradient : (x: Tensor): Tensor => x
  const prepared = colaData(config, settings, data)
  return {
    ...inner,
    inputs: {
      ...inner.inputs,
      cleanIds: { dtype: "i32", shape: [rows, length] },
      /** f32 [rows, length]: 1 for the tokens of the document of each row that the latents stand for. */
      chosen: { dtype: "f32", shape: [rows, length] },
      conditioned: { dtype: "f32", shape: [rows] },
      time: { dtype: "f32", shape: [copies] },
      signal: { dtype: "f32", shape: [copies] },
      spread: { dtype: "f32", shape: [copies] },
      flowNoise: { dtype: "f32", shape: [copies, latents, width] },
      /** 1 for latents that are noised, and their shares in the flow's mean. */
      noised: { dtype: "f32", shape: [copies, latents] },
      flowWeights: { dtype: "f32", shape: [copies, latents] },
      ...(settings.colaVae
        ? ({
            beta: { dtype: "f32", shape: [] },
            posteriorNoise: { dtype: "f32", shape: [rows, latents, width] },
            rowWeights: { dtype: "f32", shape: [rows] },
            tokenWeights: { dtype: "f32", shape: [predictionCount(shape)] }
          } as const)
        : {})
    },
    losses: (parameter, input, options) => {
      const main = inner.losses(parameter, input, options)
      const networks = cola(settings, config, parameter, length)
      const weights = weightsOf(config, parameter)
      const read = (ids: Tensor) => {
        const attention: ForwardOptions = {
          causal: false,
          segmentIds: input("segmentIds"),
          positions: input("positions"),
          checkpointLayers: options.checkpointLayers
        }
        return forward(config, weights, ids, attention).hiddenStates.map(detached)
      }
      // The same pass as masked diffusion's own: equal parts of a program are computed once.
      const masked = read(input("ids"))
      const source = settings.colaSource === "clean" ? read(input("cleanIds")) : masked
      const chosen = input("chosen")
      const seen = equal(chosen, 1)
      const encoded = networks.encode(source[stateLayer]!, { seen, at: input("positions") })
      const distribution = settings.colaVae ? networks.distribution(encoded) : undefined
      const z = distribution === undefined ? encoded : reparameterised(distribution, input("posteriorNoise"))

      const perRow = (x: Tensor): Tensor => reshape(x, [copies, 1, 1])
      const doubled = (x: Tensor): Tensor => (views === 1 ? x : concat([x, x], 0))
      const flowing = settings.colaStopGradient ? stopGradient(z) : z
      const clean = doubled(flowing)
      const noise = input("flowNoise")
      const path = add(mul(clean, perRow(input("signal"))), mul(noise, perRow(input("spread"))))
      const isNoised = reshape(input("noised"), [copies, latents, 1])
      const noised = add(mul(path, isNoised), mul(clean, sub(1, isNoised)))
      const condition = settings.colaCondition
        ? networks.condition({
            states: doubled(masked[stateLayer]!),
            seen: doubled(equal(mul(chosen, reshape(input("conditioned"), [rows, 1])), 1))
          })
        : undefined
      const target = settings.colaPrediction === "v" ? sub(noise, clean) : clean
      const predicted = networks.diffuse(noised, input("time"), { condition })
      const flow = sum(mul(mean(square(sub(predicted, target)), 2), input("flowWeights")))
      if (distribution === undefined)
        return { ...main, loss: add(main.loss, mul(flow, settings.colaWt)), cola_flow: flow }

      const kl = sum(mul(mean(sum(klPerElement(distribution), 2), 1), input("rowWeights")))
      const last = networks.decode(masked.at(-1)!, z, input("positions"))
      const final = finalNorm(config).make(name => detached(parameter(name)))(last)
      const before = reshape(sliceAxis(final, 1, 0, length - 1), [predictionCount(shape), config.hiddenSize])
      const losses = chunkedCrossEntropy(before, detached(weights.head), input("targets"))
      const tokens = sum(mul(losses, input("tokenWeights")))
      const total = add(add(flow, mul(kl, input("beta"))), tokens)
      return {
        ...main,
        loss: add(main.loss, mul(total, settings.colaWt)),
        cola_flow: flow,
        cola_kl: kl,
        cola_tokens: tokens
      }
    },
    microBatches: (step, state) => Effect.map(inner.microBatches(step, state), own => prepared(step, own)),
    report: (losses, microBatches) => ({
      ...inner.report?.(losses, microBatches),
      ...Object.fromEntries(parts.flatMap(part => (part in losses ? [[`losses/${part}`, losses[part]!]] : [])))
    })
  }
}

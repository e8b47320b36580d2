/** What trajectories add to the loss: sharper predictions where they are right (d3LLM; Qian et al. 2026, arXiv:2601.07568), and a second pass. */
import { Schema } from "effect"
import { setting } from "../../../config/setting.ts"
import { TrajectoryMaskingSettings } from "./trajectory.ts"
import {
  argmax,
  cast,
  concat,
  div,
  equal,
  maximum,
  mul,
  sliceAxis,
  softmax,
  stopGradient,
  sum
} from "../../../tensor/ops.ts"
import { softmaxEntropy } from "../../../tensor/composites.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"

/** Names are those of the field's training configurations, in our spelling. They say nothing where there are no trajectories. */
export const TrajectorySettings = Schema.Struct({
  ...TrajectoryMaskingSettings.fields,
  /** Weight of the mean entropy, nats, of the predictions of masked tokens that are right; 0 turns it off */
  trajectoryEntropyWeight: setting(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), 1),
  /** Logits are divided by this before that entropy is computed */
  trajectoryTemperature: setting(Schema.Finite.check(Schema.isGreaterThan(0)), 0.5),
  /** Reads every row a second time, with the other tokens of its block (or response) masked */
  trajectoryComplementary: setting(Schema.Boolean, false)
})
export type TrajectorySettings = typeof TrajectorySettings.Type

/** Entropies of softmax(logits / temperature), and 1 where the likeliest token is the target: logits [n, V], targets [n] -> f32 [n], nats, and f32 [n]. */
export const entropyTerms = (
  logits: Tensor,
  targets: Tensor,
  temperature: number
): { readonly entropies: Tensor; readonly right: Tensor } => {
  return {
    entropies: softmaxEntropy(mul(logits, 1 / temperature)),
    right: stopGradient(cast(equal(argmax(logits, 1), cast(targets, "i64")), "f32"))
  }
}

/** Mean entropy over columns that are both supervised and right, 0 where there is none; all f32 [n], of which two are 0 or 1. */
export const meanEntropy = (entropies: Tensor, right: Tensor, supervised: Tensor): Tensor => {
  const counted = mul(right, supervised)
  return div(sum(mul(entropies, counted)), maximum(sum(counted), 1))
}

/** Probability that a row and the next predict the same token: logits [m, V] -> [n] for the first n, 0 for the last of all rows. */
export const repetitions = (logits: Tensor, n: number): Tensor => {
  const probabilities = softmax(logits, 1)
  const next =
    probabilities.shape[0]! > n
      ? sliceAxis(probabilities, 0, 1, n + 1)
      : concat([sliceAxis(probabilities, 0, 1, n), mul(sliceAxis(probabilities, 0, 0, 1), 0)], 0)
  return sum(mul(sliceAxis(probabilities, 0, 0, n), next), [1])
}

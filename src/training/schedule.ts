/** Learning rates over the steps of a training. */
import { Schema } from "effect"
import { NonNegative, setting, Share } from "../config/setting.ts"

/** Fields of the same names in the field's training configurations, in our spelling. */
export const LearningRate = Schema.Struct({
  /** Highest learning rate, reached when the warm-up ends */
  lr: NonNegative,
  /** Learning rate at which linear and cosine decay end */
  lrMin: setting(NonNegative, 1e-7),
  /** Learning rate at which the warm-up begins */
  lrStart: setting(NonNegative, 0),
  /** Share of all steps that warm up */
  lrWarmupRatio: setting(Share, 0),
  /** Share of all steps after which cosine decay has ended */
  lrDecayRatio: setting(Share, 1),
  /** How the learning rate falls after the warm-up */
  lrDecayStyle: setting(Schema.Literals(["constant", "linear", "cosine"]), "constant")
})
export type LearningRate = typeof LearningRate.Type

/** The rate of step `step` (from 0) of `total` steps. */
export const learningRate = (settings: LearningRate, step: number, total: number): number => {
  const { lr, lrDecayRatio, lrDecayStyle, lrMin, lrStart, lrWarmupRatio } = settings
  const warmup = Math.floor(total * lrWarmupRatio)
  if (step < warmup) return lrStart + ((lr - lrStart) * step) / warmup
  const floor = lr === 0 ? 0 : lrMin / lr
  switch (lrDecayStyle) {
    case "constant":
      return lr
    case "linear":
      return lr * Math.max(floor, (total - step) / Math.max(1, total - warmup))
    case "cosine": {
      const decay = Math.floor(total * lrDecayRatio)
      const progress = Math.min(1, (step - warmup) / Math.max(1, decay - warmup))
      return lr * (floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * progress)))
    }
  }
}

/**
 * What layer-wise decay multiplies the rate of a parameter with: delta^(1 - k / (N - 1)) for layer k of N, delta for embeddings, 1 for the final norm and
 * the head. 0 turns it off.
 */
export const layerwiseFactor = (delta: number, layer: number | "embedding" | "head", layers: number): number => {
  if (delta === 0 || layer === "head") return 1
  if (layer === "embedding") return delta
  return layers === 1 ? 1 : delta ** (1 - layer / (layers - 1))
}

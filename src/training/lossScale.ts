/**
 * Scaling of losses for products in f16, whose range small gradients leave: the loss is multiplied before it is differentiated, the gradients are divided
 * afterwards (Micikevicius et al. 2018). The scale halves when a gradient overflows, whose step is skipped, and doubles after many good ones.
 */
import { Schema } from "effect"
import { precisionOfClass } from "../engines/names.ts"

/** Part of a training's state. */
export const LossScale = Schema.Struct({
  scale: Schema.Finite,
  /** Steps since it changed. */
  good: Schema.Int
})
export type LossScale = typeof LossScale.Type

/** As PyTorch's GradScaler begins. */
const first: LossScale = { scale: 2 ** 16, good: 0 }
const growAfter = 2000
/** A gradient that overflows although the loss is not scaled up is the model's own. */
const least = 1

/** The scale to begin with; undefined for engines whose products have the range of f32. */
export const initialLossScale = (numericClass: string): LossScale | undefined =>
  precisionOfClass(numericClass) === "f16" ? first : undefined

export const nextLossScale = ({ good, scale }: LossScale, finite: boolean): LossScale => {
  if (!finite) return { scale: Math.max(least, scale / 2), good: 0 }
  return good + 1 === growAfter ? { scale: scale * 2, good: 0 } : { scale, good: good + 1 }
}

/** Whether a step without finite gradients only shows that the scale was too large. */
export const tooLarge = ({ scale }: LossScale): boolean => scale > least

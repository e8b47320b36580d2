/** Representation alignment: keeps a student's hidden states close to those of the autoregressive teacher that it came from. */
import { square } from "../tensor/composites.ts"
import { add, constant, div, maximum, mul, reshape, slice, sqrt, sub, sum } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"

/** Keeps the length of a zero vector from dividing. */
const shortest = 1e-8

/** Cosines of vectors: a and b [..., d] -> [...]. At a zero vector the cosine and its gradient are 0. */
export const cosines = (a: Tensor, b: Tensor): Tensor => {
  const axis = a.rank - 1
  // The maximum before the root, whose derivative is infinite at 0.
  const length = (x: Tensor): Tensor => sqrt(maximum(sum(square(x), [axis]), shortest ** 2))
  return div(sum(mul(a, b), [axis]), mul(length(a), length(b)))
}

/** Hidden states of one layer, [N, d] each; the teacher's are data. */
export interface Aligned {
  readonly student: Tensor
  readonly teacher: Tensor
}

export interface Alignment {
  /** Sum over layers and positions of both weights times (1 - cosine): 1 minus the mean cosine, where each kind of weight sums to 1. */
  readonly loss: Tensor
  /** The same of each layer alone, whatever its weight. */
  readonly distances: ReadonlyArray<Tensor>
}

/** layerWeights f32 [layers], positionWeights f32 [N]; a 0 leaves out. */
export const alignmentLoss = (
  layers: ReadonlyArray<Aligned>,
  layerWeights: Tensor,
  positionWeights: Tensor
): Alignment => {
  const distances = layers.map(({ student, teacher }) => sum(mul(sub(1, cosines(student, teacher)), positionWeights)))
  const loss = distances.reduce(
    (total, distance, i) => add(total, mul(distance, reshape(slice(layerWeights, [i], [i + 1]), []))),
    constant(0, "f32")
  )
  return { loss, distances }
}

/** Representation alignment: keeps a student's hidden states close to those of the autoregressive teacher that it came from. */
import { acos, clip, relu, softmaxCrossEntropy, square, zeros } from "../../../tensor/composites.ts"
import {
  add,
  constant,
  div,
  iota,
  less,
  matmul,
  maximum,
  mul,
  reshape,
  scatterAdd,
  select,
  slice,
  sqrt,
  sub,
  sum
} from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"

/** Keeps the length of a zero vector from dividing. */
const shortest = 1e-8

/** Lengths of vectors, [..., d] -> [...], at least 1e-8. The maximum comes before the root, whose derivative is infinite at 0. */
const lengths = (x: Tensor, keepDims = false): Tensor =>
  sqrt(maximum(sum(square(x), [x.rank - 1], { keepDims }), shortest ** 2))

/** Cosines of vectors: a and b [..., d] -> [...]. At a zero vector the cosine and its gradient are 0. */
export const cosines = (a: Tensor, b: Tensor): Tensor => div(sum(mul(a, b), [a.rank - 1]), mul(lengths(a), lengths(b)))

/** What of a cosine is minimised, elementwise. */
export type Distance = (cosine: Tensor) => Tensor

export const cosineDistance: Distance = cosine => sub(1, cosine)

/** Cosines are kept this far from 1 and -1, where the angle's derivative is infinite. */
const angleMargin = 1e-6

/** What the angle, radians, exceeds a margin by. Unlike the cosine's, its gradient does not vanish as the angle does. */
export const angularDistance =
  (margin: number): Distance =>
  cosine =>
    relu(sub(acos(clip(cosine, angleMargin - 1, 1 - angleMargin)), margin))

/** Hidden states of one layer, [N, d] each; the teacher's are data. */
export interface Aligned {
  readonly student: Tensor
  readonly teacher: Tensor
}

export const cosinesOf = ({ student, teacher }: Aligned): Tensor => cosines(student, teacher)

const weightOf = (weights: Tensor, i: number): Tensor => reshape(slice(weights, [i], [i + 1]), [])

/** Sum of tensors, one of each layer, times the layers' weights, f32 [layers]. */
const weighted = (parts: ReadonlyArray<Tensor>, layerWeights: Tensor): Tensor =>
  parts.map((part, i) => mul(part, weightOf(layerWeights, i))).reduce((total, part) => add(total, part))

/**
 * Sum over layers and positions of both weights times the distance: 1 minus the mean cosine, where each kind of weight sums to 1 and the distance is
 * the cosine's. cosines [N] of each layer; layerWeights f32 [layers], positionWeights f32 [N]; a 0 leaves out.
 */
export const alignmentLoss = (
  cosinesOfLayers: ReadonlyArray<Tensor>,
  layerWeights: Tensor,
  positionWeights: Tensor,
  distance: Distance
): Tensor =>
  weighted(
    cosinesOfLayers.map(cosine => sum(mul(distance(cosine), positionWeights))),
    layerWeights
  )

/** Beside which no score of a position counts. */
const excluded = -1e30

/**
 * InfoNCE (van den Oord et al. 2018): each position's student must tell its teacher from those of the other positions. Vectors are normalised, then
 * averaged over the layers by their weights; their products divided by the temperature are the logits, [N, N], the diagonal is the target. Positions of
 * weight 0 are neither asked nor among the answers.
 */
export const contrastiveLoss = (
  layers: ReadonlyArray<Aligned>,
  layerWeights: Tensor,
  positionWeights: Tensor,
  temperature: number
): Tensor => {
  const [n] = positionWeights.shape as [number]
  const mixed = (of: keyof Aligned): Tensor =>
    weighted(
      layers.map(layer => div(layer[of], lengths(layer[of], true))),
      layerWeights
    )
  const scores = mul(matmul(mixed("student"), mixed("teacher"), { transposeB: true }), 1 / temperature)
  const answers = reshape(select(less(0, positionWeights), constant(0, "f32"), excluded), [1, n])
  return sum(mul(softmaxCrossEntropy(add(scores, answers), iota("i32", [n])), positionWeights))
}

/** Means of positions: x [N, d] -> [N, d], whose row b sums the positions of block b (`blocks` i32 [N]) times their shares, f32 [N]. */
export const pooled = (x: Tensor, blocks: Tensor, shares: Tensor): Tensor =>
  scatterAdd(zeros(x.dtype, x.shape), blocks, mul(x, reshape(shares, [x.shape[0]!, 1])))

/**
 * How sure a model is of tokens, computed in f32 where the logits are, with bounds of how far that may be from what `sampleToken` computes in f64: an order that holds within the bounds
 * is the order of the host.
 */
import type { Algorithm } from "../decoding/diffusion.ts"
import { undrawable } from "../decoding/surely.ts"
import { entropyEpsilon } from "../decoding/sampling.ts"
import { clip, zeros } from "../tensor/composites.ts"
import {
  abs,
  add,
  broadcastTo,
  constant,
  div,
  exp,
  gatherAlong,
  less,
  log,
  max,
  mul,
  neg,
  pad,
  reshape,
  scatterAddAlong,
  select,
  sub,
  sum
} from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"

/** Each f32 [N]. */
export interface Confidence {
  /** Larger is surer: in the order of the algorithm's own measure, if not on its scale. */
  readonly score: Tensor
  /** How far the score may be from that of exact arithmetic, the host's own rounding included. */
  readonly tolerance: Tensor
}

/** Numbers that are added up one after the other. */
const fanIn = 4
const [f32Rounding, f64Rounding] = [2 ** -24, 2 ** -53]

/** Sums of rows [N, V] -> [N], as a tree: in whatever order an engine adds up a few numbers, errors stay small. */
const sumOfRows = (x: Tensor): Tensor => {
  const [n, size] = x.shape as [number, number]
  if (size <= fanIn) return sum(x, [1])
  const part = Math.ceil(size / fanIn)
  const missing = part * fanIn - size
  const whole = missing === 0 ? x : pad(x, [0, 0], [0, missing])
  return sumOfRows(sum(reshape(whole, [n, fanIn, part]), [1]))
}

/**
 * What is summed are positive terms, so that errors are relative: a rounding for each addition on the way through the tree, and each term's. That is an exponential of a rounded difference, and on the
 * least exact engines, those on WebGPU, 6 roundings and 4 for each unit of the exponent, of which there are about 5 where an exponential counts among many others.
 */
const relativeError = (vocabSize: number): number =>
  f32Rounding * (32 + (fanIn - 1) * Math.ceil(Math.log(vocabSize) / Math.log(fanIn)))

/** log(1 + x) of x from 0 on, as exact for small x, where 1 + x is rounded, as elsewhere. */
const log1p = (x: Tensor): Tensor => {
  const share = div(x, add(x, 1))
  // Of -log(1 - share).
  const series = [1 / 4, 1 / 3, 1 / 2, 1].reduce((inner, factor) => mul(share, add(inner, factor)), mul(share, 1 / 5))
  return select(less(x, 0.03), series, log(add(x, 1)))
}

/** What makes a logit that of a token that cannot be drawn: finite, so that its product with its probability, 0, is a number. */
export const never = -1e30

/** Of logits [N, V], with those that may not be drawn around `never`, in the tokens i32 [N]: the likeliest of each row, or with `p2` any. */
export const confidenceIn = (logits: Tensor, tokens: Tensor, algorithm: Algorithm): Confidence => {
  const peaks = max(logits, 1, { keepDims: true }) // [N, 1]
  const { score, tolerance } = measured(sub(logits, peaks), tokens, algorithm)
  return { score, tolerance: select(less(abs(reshape(peaks, score.shape)), undrawable), tolerance, undrawable) }
}

/** Of logits [N, V] the probability of the tokens i32 [N], at temperature 1: f32 [N]. */
export const probabilityIn = (logits: Tensor, tokens: Tensor): Tensor => {
  const [n] = logits.shape as [number, number]
  const weights = exp(sub(logits, max(logits, 1, { keepDims: true }))) // [N, V]
  return div(reshape(gatherAlong(weights, reshape(tokens, [n, 1]), 1), [n]), sumOfRows(weights))
}

/** Of logarithms of weights [N, V], of which the largest of each row is 0. */
const measured = (logWeights: Tensor, tokens: Tensor, algorithm: Algorithm): Confidence => {
  const [n, vocabSize] = logWeights.shape as [number, number]
  if (algorithm === "origin") return { score: zeros("f32", [n]), tolerance: zeros("f32", [n]) }
  const relative = relativeError(vocabSize)
  // Of sums on the host, one term after the other.
  const absolute = 2 * vocabSize * f64Rounding
  const at = reshape(tokens, [n, 1])
  const others = scatterAddAlong(logWeights, at, broadcastTo(constant(never, "f32"), [n, 1]), 1) // [N, V]
  const weights = exp(others)
  const rest = sumOfRows(weights) // [N]
  switch (algorithm) {
    case "maskgit_plus":
    case "p2": {
      // The log-odds of the probability, which neither end of the scale rounds away; bounded, so that what is next to certain is a tie.
      const own = reshape(gatherAlong(logWeights, at, 1), [n])
      const score = clip(sub(own, log(rest)), -80, 40)
      return { score, tolerance: add(mul(add(exp(score), 1), absolute), 2 * relative) }
    }
    case "topk_margin": {
      // 1 - margin, where the likeliest token has weight 1.
      const lack = div(add(rest, max(weights, 1)), add(rest, 1))
      return { score: neg(lack), tolerance: add(mul(lack, 2 * relative), absolute) }
    }
    case "entropy": {
      // The logarithm of the sum of weights, and the mean of their negative logarithms.
      const mean = div(neg(sumOfRows(mul(weights, others))), add(rest, 1))
      const entropy = add(log1p(rest), mean)
      // The host's epsilon adds at most itself for each token.
      const epsilons = vocabSize * entropyEpsilon
      return { score: neg(entropy), tolerance: add(mul(entropy, 2 * relative), 2 * absolute + epsilons) }
    }
  }
}

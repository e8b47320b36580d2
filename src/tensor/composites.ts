/** Functions that are made of primitive ops, with cheaper gradients where the plain ones waste work. */
import type { DType } from "./dtype.ts"
import {
  add,
  broadcastTo,
  cast,
  concat,
  constant,
  cos,
  customGradient,
  customGradients,
  div,
  erf,
  exp,
  gather,
  gatherAlong,
  log,
  logSoftmax,
  max,
  maximum,
  minimum,
  mul,
  neg,
  abs,
  random,
  reshape,
  rsqrt,
  scatterAdd,
  scatterAddAlong,
  equal,
  iota,
  less,
  select,
  sigmoid,
  sliceAxis,
  sqrt,
  sub,
  sum,
  tanh
} from "./ops.ts"
import { sameShape } from "./shape.ts"
import { elements, type Shape, type Tensor } from "./Tensor.ts"

/** Zeros of a shape, which take no memory until something needs them. */
export const zeros = (dtype: DType, shape: Shape): Tensor => broadcastTo(constant(0, dtype), shape)

/** Mean over axes (all by default). */
export const mean = (
  x: Tensor,
  axes?: number | ReadonlyArray<number>,
  options: { readonly keepDims?: boolean } = {}
): Tensor => {
  const total = sum(x, axes, options)
  return mul(total, total.size / x.size)
}

/** Sums g over the axes along which something of that shape was broadcast to g's. */
export const sumTo = (g: Tensor, shape: Shape): Tensor => {
  if (sameShape(g.shape, shape)) return g
  const extra = g.rank - shape.length
  const axes = g.shape.flatMap((size, axis) =>
    axis < extra || (shape[axis - extra] === 1 && size !== 1) ? [axis] : []
  )
  return reshape(axes.length === 0 ? g : sum(g, axes), shape)
}

export const square = (x: Tensor): Tensor => mul(x, x)

export const relu = (x: Tensor): Tensor => maximum(x, 0)

/** The elements within bounds, the bounds elsewhere. */
export const clip = (x: Tensor, low: number, high: number): Tensor => minimum(maximum(x, low), high)

/** x sigmoid(x); d/dx = s + x s (1 - s). */
export const silu = (x: Tensor): Tensor => {
  const s = sigmoid(x)
  const y = mul(x, s)
  return customGradient(y, [x, s, y], (gradient, [, sig, out]) => [mul(gradient, add(sig!, mul(out!, sub(1, sig!))))])
}

/** log(1 + exp x), without overflow; its derivative is the sigmoid. */
export const softplus = (x: Tensor): Tensor =>
  customGradient(add(maximum(x, 0), log(add(exp(neg(abs(x))), 1))), [x], (gradient, [at]) => [
    mul(gradient, sigmoid(at!))
  ])

/** (x - mean) / sqrt(variance + epsilon) over the last axis, times a weight [last] plus a bias [last]; without them just normalised. Ba et al. 2016. */
export const layerNorm = (
  x: Tensor,
  scale?: { readonly weight: Tensor; readonly bias: Tensor },
  epsilon = 1e-5
): Tensor => {
  const centred = sub(x, mean(x, -1, { keepDims: true }))
  const normalised = mul(centred, rsqrt(add(mean(square(centred), -1, { keepDims: true }), epsilon)))
  return scale === undefined ? normalised : add(mul(normalised, scale.weight), scale.bias)
}

/** x times the normal distribution function of x (Hendrycks & Gimpel 2016). */
export const gelu = (x: Tensor): Tensor => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1))

/** The usual approximation of gelu by tanh. */
export const geluTanh = (x: Tensor): Tensor => {
  const inner = mul(add(x, mul(mul(square(x), x), 0.044_715)), Math.sqrt(2 / Math.PI))
  return mul(mul(x, 0.5), add(tanh(inner), 1))
}

/** Coefficients of the arc cosine, from the constant on (Abramowitz & Stegun 4.4.46): off by at most 2e-8 in [0, 1]. */
const acosCoefficients = [
  1.570796305, -0.2145988016, 0.0889789874, -0.0501743046, 0.030891881, -0.0170881256, 0.0066700901, -0.0012624911
]

/** The arc cosine of x in [-1, 1], radians; its derivative -1 / sqrt(1 - x^2) is infinite at both ends. */
export const acos = (x: Tensor): Tensor => {
  const size = abs(x)
  const polynomial = acosCoefficients.reduceRight<Tensor>(
    (sum, coefficient) => add(mul(sum, size), coefficient),
    zeros(x.dtype, x.shape)
  )
  const ofSize = mul(sqrt(sub(1, size)), polynomial)
  const angle = select(less(x, 0), sub(Math.PI, ofSize), ofSize)
  return customGradient(angle, [x], (gradient, [cosine]) => [neg(div(gradient, sqrt(sub(1, square(cosine!)))))])
}

/** log sum exp(x) along an axis, which stays with size 1. */
export const logSumExp = (x: Tensor, axis = -1): Tensor => {
  const peak = max(x, axis, { keepDims: true })
  return add(log(sum(exp(sub(x, peak)), axis, { keepDims: true })), peak)
}

/**
 * Parts of x along an axis, from (included) to (excluded); they may overlap. All their cotangents are put together at once, when the last is there.
 */
export const slices = (
  x: Tensor,
  parts: ReadonlyArray<{ readonly from: number; readonly to: number }>,
  axis = 0
): ReadonlyArray<Tensor> => {
  const indices = parts.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
  const inOrder = indices.length === x.shape[axis] && indices.every((index, i) => index === i)
  return customGradients(
    parts.map(({ from, to }) => sliceAxis(x, axis, from, to)),
    [x],
    cotangents => {
      const all = concat(
        parts.map(({ from, to }, i) => cotangents[i] ?? zeros(x.dtype, x.shape.with(axis, to - from))),
        axis
      )
      if (inOrder) return [all]
      const at = constant(Int32Array.from(indices), "i32", [indices.length])
      return [scatterAdd(zeros(x.dtype, x.shape), at, all, axis)]
    }
  )
}

/** Indices [...] -> [..., classes]: 1 where the class is the index. */
export const oneHot = (indices: Tensor, classes: number, dtype: DType): Tensor => {
  const columns = cast(iota("i32", [classes]), indices.dtype)
  return cast(equal(reshape(indices, [...indices.shape, 1]), columns), dtype)
}

/** Standard normal f32 numbers by Box and Muller's transform. */
export const normal = (key: Tensor, shape: Shape): Tensor => {
  const uniform = random(key, [elements(shape), 2])
  const radius = sqrt(mul(log(sub(1, sliceAxis(uniform, 1, 0, 1))), -2))
  return reshape(mul(radius, cos(mul(sliceAxis(uniform, 1, 1, 2), 2 * Math.PI))), shape)
}

/** Entropy of softmax(logits), nats: logits [N, V] -> [N]. */
export const softmaxEntropy = (logits: Tensor): Tensor => {
  const logProbabilities = logSoftmax(logits, 1)
  return neg(sum(mul(exp(logProbabilities), logProbabilities), [1]))
}

/**
 * Cross-entropy of rows: logits [N, V], targets i32 or i64 [N] -> [N], -log softmax(logits)[target], nats. Its gradient is softmax less the
 * one-hot target, made without materialising the latter.
 */
export const softmaxCrossEntropy = (logits: Tensor, targets: Tensor): Tensor => {
  const rows = logits.shape[0]!
  const columns = reshape(targets, [rows, 1])
  const logProbabilities = logSoftmax(logits, 1)
  const loss = reshape(neg(gatherAlong(logProbabilities, columns, 1)), [rows])
  return customGradient(loss, [logits, logProbabilities, columns], (gradient, [, logP, at]) => {
    const g = reshape(gradient, [rows, 1])
    return [scatterAddAlong(mul(exp(logP!), g), at!, neg(g), 1)]
  })
}

/** x [rows, length, …] at places i32 [rows, n] of each row, which lie in it: [rows, n, …]. */
export const gatherInRows = (x: Tensor, places: Tensor): Tensor => {
  const [rows, length, ...rest] = x.shape as [number, number, ...ReadonlyArray<number>]
  const n = places.shape[1]!
  if (rows === 1) return gather(x, reshape(places, [n]), 1)
  const first = mul(iota("i32", [rows, 1], 0), constant(length, "i32"))
  const flat = reshape(add(first, places), [rows * n])
  return reshape(gather(reshape(x, [rows * length, ...rest]), flat), [rows, n, ...rest])
}

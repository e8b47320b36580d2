/** Ops that combine elements along axes: products of matrices, reductions, normalisations. */
import { broadcastShapes, resolveAxis, sameShape } from "../shape.ts"
import { makeNode, shapeText, Tensor, TensorError, type Shape } from "../Tensor.ts"
import { axisOf, requireDtype, requireFloat, single, type Caller } from "./infer.ts"

/** a [..., M, K] by b [..., K, N] -> [..., M, N]; a transposed operand is given with its last two axes exchanged. */
export const matmul = (
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: { readonly transposeA?: boolean; readonly transposeB?: boolean } = {}
): Tensor => {
  requireFloat("matmul", a, matmul)
  const wrong = (why: string): TensorError =>
    new TensorError(
      "matmul",
      `${why}: ${shapeText(a.shape)}${transposeA ? "ᵀ" : ""} by ${shapeText(b.shape)}${transposeB ? "ᵀ" : ""}`,
      matmul
    )
  if (a.dtype !== b.dtype) throw wrong(`operands must have one dtype, got ${a.dtype} and ${b.dtype}`)
  if (a.rank < 2 || b.rank < 2) throw wrong("operands need at least two axes")
  const [m, k] = lastTwo(a.shape, transposeA)
  const [k2, n] = lastTwo(b.shape, transposeB)
  if (k !== k2) throw wrong(`inner sizes ${k} and ${k2} differ`)
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2))
  if (typeof batch === "string") throw wrong("leading axes do not broadcast")
  return single("matmul", { transposeA, transposeB }, [a, b], a.dtype, [...batch, m, n])
}

const lastTwo = (shape: Shape, transposed: boolean): readonly [number, number] => {
  const rows = shape[shape.length - 2]!
  const columns = shape[shape.length - 1]!
  return transposed ? [columns, rows] : [rows, columns]
}

interface ReductionOptions {
  readonly keepDims?: boolean
}

/** Sum over axes (all by default). */
export const sum = (
  x: Tensor,
  axes?: number | ReadonlyArray<number>,
  { keepDims = false }: ReductionOptions = {}
): Tensor => {
  requireDtype("sum", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], sum)
  return reduction("sum", x, axes, keepDims, sum)
}

/** Largest element over axes (all by default); NaN if there is one. */
export const max = (
  x: Tensor,
  axes?: number | ReadonlyArray<number>,
  { keepDims = false }: ReductionOptions = {}
): Tensor => {
  requireDtype("max", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], max)
  return reduction("max", x, axes, keepDims, max)
}

const reduction = (
  op: "sum" | "max",
  x: Tensor,
  given: number | ReadonlyArray<number> | undefined,
  keepDims: boolean,
  caller: Caller
): Tensor => {
  const wanted = given === undefined ? x.shape.map((_, axis) => axis) : typeof given === "number" ? [given] : given
  const axes = [...new Set(wanted.map(axis => axisOf(op, axis, x, caller)))].toSorted((a, b) => a - b)
  if (axes.length !== wanted.length) throw new TensorError(op, `axes [${wanted.join(", ")}] repeat`, caller)
  if (op === "max" && axes.some(axis => x.shape[axis] === 0)) {
    throw new TensorError(op, `there is no largest element along an empty axis of ${shapeText(x.shape)}`, caller)
  }
  const shape = x.shape.flatMap((size, axis) => (axes.includes(axis) ? (keepDims ? [1] : []) : [size]))
  return single(op, { axes, keepDims }, [x], x.dtype, shape)
}

/** Index of the first largest element along an axis, i64; the axis goes. */
export const argmax = (x: Tensor, axis = -1): Tensor => {
  requireDtype("argmax", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], argmax)
  const along = axisOf("argmax", axis, x, argmax)
  if (x.shape[along] === 0) throw new TensorError("argmax", `axis ${axis} of ${shapeText(x.shape)} is empty`, argmax)
  return single("argmax", { axis: along }, [x], "i64", x.shape.toSpliced(along, 1))
}

/** The k largest elements along the last axis in descending order, of equals the lower index first, and their i64 indices. */
export const topK = (x: Tensor, k: number): { readonly values: Tensor; readonly indices: Tensor } => {
  requireDtype("topK", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], topK)
  const last = x.shape[x.rank - 1]
  if (last === undefined || !Number.isInteger(k) || k < 1 || k > last) {
    throw new TensorError("topK", `k = ${k} does not fit the last axis of ${shapeText(x.shape)}`, topK)
  }
  const shape = [...x.shape.slice(0, -1), k]
  const node = makeNode(
    "topK",
    { k },
    [x],
    [
      { dtype: x.dtype, shape },
      { dtype: "i64", shape }
    ]
  )
  return { values: new Tensor(node, 0), indices: new Tensor(node, 1) }
}

/** Running sums along an axis, from its start or (reverse) from its end, each including its own element. */
export const cumulativeSum = (
  x: Tensor,
  axis: number,
  { reverse = false }: { readonly reverse?: boolean } = {}
): Tensor => {
  requireDtype("cumulativeSum", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], cumulativeSum)
  return single(
    "cumulativeSum",
    { axis: axisOf("cumulativeSum", axis, x, cumulativeSum), reverse },
    [x],
    x.dtype,
    x.shape
  )
}

/** exp(x - max) / sum exp(x - max) along an axis. */
export const softmax = (x: Tensor, axis = -1): Tensor => {
  requireFloat("softmax", x, softmax)
  return single("softmax", { axis: axisOf("softmax", axis, x, softmax) }, [x], x.dtype, x.shape)
}

/** x - max - log sum exp(x - max) along an axis. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => {
  requireFloat("logSoftmax", x, logSoftmax)
  return single("logSoftmax", { axis: axisOf("logSoftmax", axis, x, logSoftmax) }, [x], x.dtype, x.shape)
}

/** weight * x / sqrt(mean(x^2) + epsilon) over the last axis; weight: [last]. Zhang & Sennrich 2019. */
export const rmsNorm = (x: Tensor, weight: Tensor, epsilon: number): Tensor => {
  requireFloat("rmsNorm", x, rmsNorm)
  const last = resolveAxis(-1, x.rank)
  if (last === undefined || !sameShape(weight.shape, [x.shape[last]!]) || weight.dtype !== x.dtype) {
    throw new TensorError(
      "rmsNorm",
      `the weight must be ${x.dtype} [${x.shape.at(-1) ?? ""}] for x ${shapeText(x.shape)}, got ${weight.dtype} ${shapeText(weight.shape)}`,
      rmsNorm
    )
  }
  if (!Number.isFinite(epsilon)) throw new TensorError("rmsNorm", `epsilon must be finite, got ${epsilon}`, rmsNorm)
  return single("rmsNorm", { epsilon }, [x, weight], x.dtype, x.shape)
}

/**
 * Rotates the pairs (i, i + D / 2) of the last axis of x [B, L, H, D] by angles whose cosines and sines are [B or 1, L, D / 2], of x's dtype: a, b ->
 * a cos - b sin, b cos + a sin (rotary positions, Su et al. 2021; Hugging Face's order of pairs).
 */
export const rotate = (x: Tensor, cosines: Tensor, sines: Tensor): Tensor => {
  requireFloat("rotate", x, rotate)
  const [batch, length, , size] = x.shape
  const fits = ({ dtype, shape }: Tensor): boolean =>
    dtype === x.dtype && [batch, 1].some(rows => sameShape(shape, [rows!, length!, size! / 2]))
  if (x.rank !== 4 || !fits(cosines) || !fits(sines) || !sameShape(cosines.shape, sines.shape))
    throw new TensorError(
      "rotate",
      `for x ${x.dtype} ${shapeText(x.shape)}, [B, L, H, D], cosines and sines must be ${x.dtype} [B or 1, L, D / 2], got ${cosines.dtype} ${shapeText(cosines.shape)} and ${sines.dtype} ${shapeText(sines.shape)}`,
      rotate
    )
  return single("rotate", {}, [x, cosines, sines], x.dtype, x.shape)
}

/** Ops that move elements without changing them. */
import { canHold } from "../dtype.ts"
import { broadcastShapes, sameShape } from "../shape.ts"
import { elements, shapeText, TensorError, type Shape, type Tensor } from "../Tensor.ts"
import { axisOf, requireDtype, single } from "./infer.ts"

/** The same elements in row-major order under another shape; one size may be -1. */
export const reshape = (x: Tensor, shape: Shape): Tensor => {
  const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1)
  const resolved = shape.map(size => (size === -1 ? x.size / known : size))
  const valid =
    shape.filter(size => size === -1).length <= 1 && resolved.every(size => Number.isInteger(size) && size >= 0)
  if (!valid || elements(resolved) !== x.size) {
    throw new TensorError("reshape", `${shapeText(x.shape)} does not fit into ${shapeText(shape)}`, reshape)
  }
  return sameShape(resolved, x.shape) ? x : single("reshape", { shape: resolved }, [x], x.dtype, resolved)
}

/** Axes in another order; by default the last two exchanged. */
export const transpose = (x: Tensor, permutation: ReadonlyArray<number> = swapLast(x.rank)): Tensor => {
  const isPermutation =
    permutation.length === x.rank && permutation.toSorted((a, b) => a - b).every((axis, i) => axis === i)
  if (!isPermutation) {
    throw new TensorError(
      "transpose",
      `[${permutation.join(", ")}] does not permute the axes of ${shapeText(x.shape)}`,
      transpose
    )
  }
  if (permutation.every((axis, i) => axis === i)) return x
  const shape = permutation.map(axis => x.shape[axis]!)
  return single("transpose", { permutation }, [x], x.dtype, shape)
}

const swapLast = (rank: number): ReadonlyArray<number> =>
  rank < 2 ? [...Array(rank).keys()] : [...Array(rank - 2).keys(), rank - 1, rank - 2]

export const broadcastTo = (x: Tensor, shape: Shape): Tensor => {
  const result = broadcastShapes(x.shape, shape)
  if (typeof result === "string" || !sameShape(result, shape)) {
    throw new TensorError("broadcastTo", `${shapeText(x.shape)} does not broadcast to ${shapeText(shape)}`, broadcastTo)
  }
  return sameShape(x.shape, shape) ? x : single("broadcastTo", { shape }, [x], x.dtype, shape)
}

/** Tensors of one dtype, equal in shape but along the axis, one after the other. */
export const concat = (parts: ReadonlyArray<Tensor>, axis: number): Tensor => {
  const [first] = parts
  if (first === undefined) throw new TensorError("concat", "needs at least one tensor", concat)
  const along = axisOf("concat", axis, first, concat)
  for (const part of parts) {
    const fits =
      part.dtype === first.dtype &&
      part.rank === first.rank &&
      part.shape.every((size, i) => i === along || size === first.shape[i])
    if (!fits) {
      throw new TensorError(
        "concat",
        `${part.dtype} ${shapeText(part.shape)} does not fit ${first.dtype} ${shapeText(first.shape)} along axis ${axis}`,
        concat
      )
    }
  }
  if (parts.length === 1) return first
  const size = parts.reduce((total, part) => total + part.shape[along]!, 0)
  return single("concat", { axis: along }, parts, first.dtype, first.shape.with(along, size))
}

/** Elements starts <= i < ends along every axis, each `strides`-th; ends and strides default to the whole and 1. */
export const slice = (
  x: Tensor,
  starts: ReadonlyArray<number>,
  ends: ReadonlyArray<number> = x.shape,
  strides: ReadonlyArray<number> = x.shape.map(() => 1)
): Tensor => {
  const valid =
    starts.length === x.rank &&
    ends.length === x.rank &&
    strides.length === x.rank &&
    [...starts, ...ends, ...strides].every(Number.isInteger) &&
    x.shape.every(
      (size, axis) => starts[axis]! >= 0 && starts[axis]! <= ends[axis]! && ends[axis]! <= size && strides[axis]! >= 1
    )
  if (!valid) {
    throw new TensorError(
      "slice",
      `[${starts.join(", ")}] to [${ends.join(", ")}] by [${strides.join(", ")}] does not lie within ${shapeText(x.shape)}`,
      slice
    )
  }
  const shape = x.shape.map((_, axis) => Math.ceil((ends[axis]! - starts[axis]!) / strides[axis]!))
  return sameShape(shape, x.shape) ? x : single("slice", { starts, ends, strides }, [x], x.dtype, shape)
}

/** `x[..., start:end, ...]` along one axis. */
export const sliceAxis = (x: Tensor, axis: number, start: number, end: number): Tensor => {
  const along = axisOf("slice", axis, x, sliceAxis)
  return slice(
    x,
    x.shape.map((_, i) => (i === along ? start : 0)),
    x.shape.with(along, end)
  )
}

/** `value` before and behind the elements of each axis. */
export const pad = (x: Tensor, low: ReadonlyArray<number>, high: ReadonlyArray<number>, value = 0): Tensor => {
  requireDtype("pad", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], pad)
  const valid =
    low.length === x.rank && high.length === x.rank && [...low, ...high].every(n => Number.isInteger(n) && n >= 0)
  if (!valid) {
    throw new TensorError(
      "pad",
      `[${low.join(", ")}] and [${high.join(", ")}] do not pad the axes of ${shapeText(x.shape)}`,
      pad
    )
  }
  if (!Number.isFinite(value)) throw new TensorError("pad", `the value must be finite, got ${value}`, pad)
  if (!canHold(x.dtype, value)) throw new TensorError("pad", `${value} is no ${x.dtype}`, pad)
  const shape = x.shape.map((size, axis) => low[axis]! + size + high[axis]!)
  return sameShape(shape, x.shape) ? x : single("pad", { low, high, value: value + 0 }, [x], x.dtype, shape)
}

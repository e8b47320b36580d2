/** Ops that move elements without changing them. Where nothing would move, each gives its operand. */
import { axisProblem, sameShape } from "../shape.ts"
import { elements, type Shape, type Tensor, TensorError } from "../Tensor.ts"
import { apply, fromStart } from "./apply.ts"

const unlessSame = (x: Tensor, moved: Tensor): Tensor => (sameShape(x.shape, moved.shape) ? x : moved)

/** The same elements in row-major order under another shape; one size may be -1. */
export const reshape = (x: Tensor, shape: Shape): Tensor => {
  const free = shape.indexOf(-1)
  const size = x.size / elements(shape.filter((_, axis) => axis !== free))
  const known = free !== -1 && Number.isInteger(size) ? shape.with(free, size) : shape
  return unlessSame(x, apply("reshape", { shape: known }, [x], reshape))
}

/** Axes in another order; by default the last two exchanged. */
export const transpose = (x: Tensor, permutation: ReadonlyArray<number> = swapLast(x.rank)): Tensor => {
  const moved = apply("transpose", { permutation }, [x], transpose)
  return permutation.every((axis, i) => axis === i) ? x : moved
}

const swapLast = (rank: number): ReadonlyArray<number> =>
  rank < 2 ? [...Array(rank).keys()] : [...Array(rank - 2).keys(), rank - 1, rank - 2]

export const broadcastTo = (x: Tensor, shape: Shape): Tensor =>
  unlessSame(x, apply("broadcastTo", { shape }, [x], broadcastTo))

/** Tensors of one dtype, equal in shape but along the axis, one after the other. */
export const concat = (parts: ReadonlyArray<Tensor>, axis: number): Tensor => {
  const [first, ...others] = parts
  if (first === undefined) throw new TensorError("concat", "needs at least one tensor", concat)
  const all = apply("concat", { axis: fromStart(axis, first) }, [first, ...others], concat)
  return others.length === 0 ? first : all
}

/** Elements starts <= i < ends along every axis, each `strides`-th; ends and strides default to the whole and 1. */
export const slice = (
  x: Tensor,
  starts: ReadonlyArray<number>,
  ends: ReadonlyArray<number> = x.shape,
  strides: ReadonlyArray<number> = x.shape.map(() => 1)
): Tensor => unlessSame(x, apply("slice", { starts, ends, strides }, [x], slice))

/** `x[..., start:end, ...]` along one axis. */
export const sliceAxis = (x: Tensor, axis: number, start: number, end: number): Tensor => {
  const along = fromStart(axis, x)
  const problem = axisProblem(along, x.shape)
  if (problem !== undefined) throw new TensorError("slice", problem, sliceAxis)
  return slice(
    x,
    x.shape.map((_, i) => (i === along ? start : 0)),
    x.shape.with(along, end)
  )
}

/** `value` before and behind the elements of each axis. */
export const pad = (x: Tensor, low: ReadonlyArray<number>, high: ReadonlyArray<number>, value = 0): Tensor =>
  // -0 + 0 is 0.
  unlessSame(x, apply("pad", { low, high, value: value + 0 }, [x], pad))

/** Ops that read or add at given indices. Indices are i32 or i64 and must lie within the axis: engines need not check them. */
import { sameShape } from "../shape.ts"
import { shapeText, TensorError, type Shape, type Tensor } from "../Tensor.ts"
import { axisOf, requireDtype, single, type Caller } from "./infer.ts"

const requireIndices = (op: string, indices: Tensor, caller: Caller): void =>
  requireDtype(op, "indices", indices, ["i32", "i64"], caller)

const taken = (shape: Shape, axis: number, indices: Shape): Shape => [
  ...shape.slice(0, axis),
  ...indices,
  ...shape.slice(axis + 1)
]

/** x [..., n, ...] at indices [I...] along an axis -> [..., I..., ...]; numpy's take. */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor => {
  requireIndices("gather", indices, gather)
  const along = axisOf("gather", axis, x, gather)
  return single("gather", { axis: along }, [x, indices], x.dtype, taken(x.shape, along, indices.shape))
}

/** x and indices of one rank; out[..., i, ...] = x[..., indices[..., i, ...], ...]; numpy's take_along_axis. */
export const gatherAlong = (x: Tensor, indices: Tensor, axis: number): Tensor => {
  requireIndices("gatherAlong", indices, gatherAlong)
  const along = axisOf("gatherAlong", axis, x, gatherAlong)
  requireAligned("gatherAlong", x, indices, along, gatherAlong)
  return single("gatherAlong", { axis: along }, [x, indices], x.dtype, indices.shape)
}

/** x with updates [..., I..., ...] added at indices [I...] along an axis; indices that repeat add up. */
export const scatterAdd = (x: Tensor, indices: Tensor, updates: Tensor, axis = 0): Tensor => {
  requireIndices("scatterAdd", indices, scatterAdd)
  const along = axisOf("scatterAdd", axis, x, scatterAdd)
  const expected = taken(x.shape, along, indices.shape)
  requireUpdates("scatterAdd", x, updates, expected, scatterAdd)
  return single("scatterAdd", { axis: along }, [x, indices, updates], x.dtype, x.shape)
}

/** x with updates added where gatherAlong would read. */
export const scatterAddAlong = (x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor => {
  requireIndices("scatterAddAlong", indices, scatterAddAlong)
  const along = axisOf("scatterAddAlong", axis, x, scatterAddAlong)
  requireAligned("scatterAddAlong", x, indices, along, scatterAddAlong)
  requireUpdates("scatterAddAlong", x, updates, indices.shape, scatterAddAlong)
  return single("scatterAddAlong", { axis: along }, [x, indices, updates], x.dtype, x.shape)
}

const requireAligned = (op: string, x: Tensor, indices: Tensor, axis: number, caller: Caller): void => {
  const aligned = x.rank === indices.rank && x.shape.every((size, i) => i === axis || size === indices.shape[i])
  if (!aligned) {
    throw new TensorError(
      op,
      `indices ${shapeText(indices.shape)} must have the shape of x ${shapeText(x.shape)} but along axis ${axis}`,
      caller
    )
  }
}

const requireUpdates = (op: string, x: Tensor, updates: Tensor, expected: Shape, caller: Caller): void => {
  requireDtype(op, "x", x, ["f32", "f16", "bf16", "i32", "i64"], caller)
  if (updates.dtype !== x.dtype || !sameShape(updates.shape, expected)) {
    throw new TensorError(
      op,
      `updates must be ${x.dtype} ${shapeText(expected)}, got ${updates.dtype} ${shapeText(updates.shape)}`,
      caller
    )
  }
}

/** Ops that read or add at given indices, which must lie within the axis: engines need not check them. Weights in few bits are looked up, too. */
import type { DType } from "../dtype.ts"
import { nf4BlockSize } from "../nf4.ts"
import type { Shape, Tensor } from "../Tensor.ts"
import { apply, fromStart } from "./apply.ts"

/** x [..., n, ...] at indices [I...] along an axis -> [..., I..., ...]; numpy's take. */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor =>
  apply("gather", { axis: fromStart(axis, x) }, [x, indices], gather)

/** x and indices of one rank; out[..., i, ...] = x[..., indices[..., i, ...], ...]; numpy's take_along_axis. */
export const gatherAlong = (x: Tensor, indices: Tensor, axis: number): Tensor =>
  apply("gatherAlong", { axis: fromStart(axis, x) }, [x, indices], gatherAlong)

/** x with updates [..., I..., ...] added at indices [I...] along an axis; indices that repeat add up. */
export const scatterAdd = (x: Tensor, indices: Tensor, updates: Tensor, axis = 0): Tensor =>
  apply("scatterAdd", { axis: fromStart(axis, x) }, [x, indices, updates], scatterAdd)

/** x with updates added where gatherAlong would read. */
export const scatterAddAlong = (x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor =>
  apply("scatterAddAlong", { axis: fromStart(axis, x) }, [x, indices, updates], scatterAddAlong)

export interface Nf4Type {
  readonly shape: Shape
  readonly blockSize?: number
  readonly dtype?: DType
}

/** Weights in NF4 (nf4.ts), packed u8 [ceil(n / 2)] and absmax f32 [ceil(n / blockSize)], as floats. No gradient flows to them. */
export const dequantiseNf4 = (
  packed: Tensor,
  absmax: Tensor,
  { blockSize = nf4BlockSize, dtype = "f32", shape }: Nf4Type
): Tensor => apply("dequantiseNf4", { shape, blockSize, dtype }, [packed, absmax], dequantiseNf4)

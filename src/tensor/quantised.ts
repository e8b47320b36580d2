/** Products with weights in NF4, as QLoRA needs them: the weights are frozen, activations have gradients. */
import {
  add,
  after,
  broadcastTo,
  cast,
  constant,
  customGradient,
  dequantiseNf4,
  gather,
  matmul,
  mul,
  pad,
  reshape,
  sliceAxis
} from "./ops.ts"
import { dynamicMap, nestedBlockSize, nf4BlockSize } from "./nf4.ts"
import type { Tensor } from "./Tensor.ts"

/** A weight [out, in] in NF4. */
export interface Nf4Weight {
  /** u8 [ceil(out * in / 2)]. */
  readonly packed: Tensor
  /** f32 [ceil(out * in / blockSize)]. */
  readonly absmax: Tensor
  readonly out: number
  readonly blockSize?: number
}

/**
 * x [..., in] times a weight [out, in] in NF4, transposed -> [..., out]. The gradient of x is made from the weight dequantised again: the dense weight is not
 * kept from the forward pass to the backward one.
 */
export const matmulNf4 = (x: Tensor, { absmax, blockSize = nf4BlockSize, out, packed }: Nf4Weight): Tensor => {
  const dense = (bytes: Tensor, largest: Tensor): Tensor =>
    dequantiseNf4(bytes, largest, { shape: [out, x.shape.at(-1)!], blockSize, dtype: x.dtype })
  const y = matmul(x, dense(packed, absmax), { transposeB: true })
  return customGradient(y, [x, packed, absmax], (gradient, [, bytes, largest]) => [
    matmul(gradient, dense(after(bytes!, [gradient]), largest!))
  ])
}

/** absmax f32 [count] of double quantisation: indices u8 [count], nestedAbsmax f32 [ceil(count / 256)], offset f32 []. */
export const nestedAbsmax = (indices: Tensor, nested: Tensor, offset: Tensor): Tensor => {
  const count = indices.size
  const blocks = nested.size
  const values = gather(constant(dynamicMap, "f32", [256]), cast(indices, "i32"))
  const whole = reshape(pad(values, [0], [blocks * nestedBlockSize - count]), [blocks, nestedBlockSize])
  const scaled = mul(whole, broadcastTo(reshape(nested, [blocks, 1]), [blocks, nestedBlockSize]))
  return add(sliceAxis(reshape(scaled, [-1]), 0, 0, count), offset)
}

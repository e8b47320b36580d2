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
import type { DType } from "./dtype.ts"
import { Tensor } from "./Tensor.ts"

/** absmax in 8 bits, of double quantisation. */
export interface NestedTensors {
  /** u8 [count], into the dynamic map. */
  readonly indices: Tensor
  /** f32 [ceil(count / 256)]. */
  readonly nestedAbsmax: Tensor
  /** f32 []. */
  readonly offset: Tensor
}

/** A weight [out, in] in NF4. */
export interface Nf4Weight {
  /** u8 [ceil(out * in / 2)]. */
  readonly packed: Tensor
  /** f32 [ceil(out * in / blockSize)], or the same in 8 bits. */
  readonly absmax: Tensor | NestedTensors
  readonly out: number
  readonly blockSize?: number
}

/** The weight [out, inputs] as floats. */
export const denseNf4 = (
  { absmax, blockSize = nf4BlockSize, out, packed }: Nf4Weight,
  inputs: number,
  dtype: DType
): Tensor => {
  const magnitudes =
    absmax instanceof Tensor ? absmax : nestedAbsmax(absmax.indices, absmax.nestedAbsmax, absmax.offset)
  return dequantiseNf4(packed, magnitudes, { shape: [out, inputs], blockSize, dtype })
}

/**
 * x [..., in] times a weight [out, in] in NF4, transposed -> [..., out]. The gradient of x is made from the weight dequantised again: the dense weight is not
 * kept from the forward pass to the backward one, and neither are f32 magnitudes of a weight that has them in 8 bits.
 */
export const matmulNf4 = (x: Tensor, weight: Nf4Weight): Tensor => {
  const { absmax, packed } = weight
  const inputs = x.shape.at(-1)!
  const magnitudes = absmax instanceof Tensor ? [absmax] : [absmax.indices, absmax.nestedAbsmax, absmax.offset]
  const y = matmul(x, denseNf4(weight, inputs, x.dtype), { transposeB: true })
  return customGradient(y, [x, packed, ...magnitudes], (gradient, [, bytes, largest, nested, offset]) => {
    const later = (stored: Tensor): Tensor => after(stored, [gradient])
    const again = nested === undefined ? largest! : { indices: later(largest!), nestedAbsmax: nested, offset: offset! }
    return [matmul(gradient, denseNf4({ ...weight, packed: later(bytes!), absmax: again }, inputs, gradient.dtype))]
  })
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

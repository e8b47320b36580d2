/** Ops on weights in few bits. */
import { type DType, isFloat } from "../dtype.ts"
import { sameShape } from "../shape.ts"
import { elements, shapeText, type Shape, type Tensor, TensorError } from "../Tensor.ts"
import { nf4BlockSize } from "../nf4.ts"
import { single } from "./infer.ts"

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
): Tensor => {
  const n = elements(shape)
  const wrong = (problem: string): TensorError => new TensorError("dequantiseNf4", problem, dequantiseNf4)
  if (!isFloat(dtype)) throw wrong(`makes floats, not ${dtype}`)
  if (!Number.isInteger(blockSize) || blockSize < 1) throw wrong(`blocks of ${blockSize} numbers`)
  if (packed.dtype !== "u8" || !sameShape(packed.shape, [Math.ceil(n / 2)]))
    throw wrong(`${shapeText(shape)} needs u8 [${Math.ceil(n / 2)}], got ${packed.dtype} ${shapeText(packed.shape)}`)
  if (absmax.dtype !== "f32" || !sameShape(absmax.shape, [Math.ceil(n / blockSize)]))
    throw wrong(
      `${shapeText(shape)} in blocks of ${blockSize} needs absmax f32 [${Math.ceil(n / blockSize)}], got ${absmax.dtype} ${shapeText(absmax.shape)}`
    )
  return single("dequantiseNf4", { shape, blockSize, dtype }, [packed, absmax], dtype, shape)
}

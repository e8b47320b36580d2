/** Which elements of operands meet which of results: the loops that kernels have in common. */
import type { ValueType } from "../../tensor/Program.ts"
import { rowMajorStrides } from "../../tensor/shape.ts"
import { elements, type Shape } from "../../tensor/Tensor.ts"
import type { Elements } from "./kernel.ts"

/** For each element of a broadcast shape, the index of the element of `shape` that it comes from. */
export const sources = (shape: Shape, to: Shape): Int32Array => {
  const strides = rowMajorStrides(shape)
  const steps = to.map((_, axis) => {
    const own = axis - (to.length - shape.length)
    return own < 0 || shape[own] === 1 ? 0 : strides[own]!
  })
  return indices(to, steps)
}

/** For each element of a shape, the sum of its coordinates times `steps`. */
export const indices = (shape: Shape, steps: ReadonlyArray<number>, start = 0): Int32Array => {
  const result = new Int32Array(elements(shape))
  if (result.length === 0) return result
  result[0] = start
  // From the last axis to the first: what is known of one place on an axis gives all others.
  let known = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const [size, step] = [shape[axis]!, steps[axis]!]
    for (let place = 1; place < size; place++)
      for (let i = 0; i < known; i++) result[place * known + i] = result[i]! + place * step
    known *= size
  }
  return result
}

/** The elements at some places. */
export const elementsAt = (data: Elements, places: Int32Array): Elements => {
  const result = new Float64Array(places.length)
  for (let i = 0; i < places.length; i++) result[i] = data[places[i]!]!
  return result
}

/** Visits the lines of elements along an axis: where each starts, and the distance of neighbours. */
export const alongAxis = (
  shape: Shape,
  axis: number,
  visit: (start: number, stride: number, length: number) => void
): void => {
  const stride = rowMajorStrides(shape)[axis]!
  const length = shape[axis]!
  const all = elements(shape)
  for (let block = 0; block < all; block += length * stride)
    for (let i = 0; i < stride; i++) visit(block + i, stride, length)
}

/** Where an index points; one outside of the axis is a mistake of the program's inputs. */
const checked = (op: string, index: number, size: number): number => {
  if (Number.isInteger(index) && index >= 0 && index < size) return index
  throw new RangeError(`${op}: index ${index} lies outside of an axis of size ${size}`)
}

/** Visits pairs of element positions: in x [before, n, after], and in the array indexed along the axis. */
export const takeAlong = (
  op: string,
  x: ValueType,
  index: ValueType & { readonly data: Float64Array },
  axis: number,
  visit: (inX: number, inTaken: number) => void
): void => {
  const size = x.shape[axis]!
  const behind = elements(x.shape.slice(axis + 1))
  const before = elements(x.shape.slice(0, axis))
  const count = index.data.length
  for (let b = 0; b < before; b++)
    for (let i = 0; i < count; i++) {
      const at = checked(op, index.data[i]!, size)
      for (let a = 0; a < behind; a++) visit((b * size + at) * behind + a, (b * count + i) * behind + a)
    }
}

export const takeEach = (
  op: string,
  x: ValueType,
  index: ValueType & { readonly data: Float64Array },
  axis: number,
  visit: (inX: number, inTaken: number) => void
): void => {
  const strides = rowMajorStrides(x.shape)
  const base = indices(
    index.shape,
    strides.map((stride, i) => (i === axis ? 0 : stride))
  )
  for (const [i, at] of index.data.entries()) visit(base[i]! + checked(op, at, x.shape[axis]!) * strides[axis]!, i)
}

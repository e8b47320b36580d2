/** Arithmetic of shapes: broadcasting, axes, strides. */
import { shapeText, type Shape } from "./Tensor.ts"

/** The shape that numpy's broadcasting gives, or a sentence that says why there is none. */
export const broadcastShapes = (a: Shape, b: Shape): Shape | string => {
  const rank = Math.max(a.length, b.length)
  const shape: Array<number> = []
  for (let i = 0; i < rank; i++) {
    const m = a[a.length - rank + i] ?? 1
    const n = b[b.length - rank + i] ?? 1
    if (m !== n && m !== 1 && n !== 1) {
      return `shapes ${shapeText(a)} and ${shapeText(b)} do not broadcast: sizes ${m} and ${n} at axis ${i - rank}`
    }
    shape.push(m === 1 ? n : m)
  }
  return shape
}

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((size, axis) => size === b[axis])

/** A non-negative axis, from one that may count from the end; undefined if it is out of range. */
export const resolveAxis = (axis: number, rank: number): number | undefined => {
  const resolved = axis < 0 ? axis + rank : axis
  return Number.isInteger(axis) && resolved >= 0 && resolved < rank ? resolved : undefined
}

/** Elements between neighbours along each axis of a row-major array. */
export const rowMajorStrides = (shape: Shape): ReadonlyArray<number> => {
  const strides = shape.map(() => 1)
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!
  return strides
}

/** Why a number is no axis of a shape, if it is none. */
export const axisProblem = (axis: number, shape: Shape): string | undefined =>
  Number.isInteger(axis) && axis >= 0 && axis < shape.length
    ? undefined
    : `axis ${axis} is outside of shape ${shapeText(shape)}`

/** Why numbers are no sizes, if they are none. */
export const sizesProblem = (shape: Shape): string | undefined =>
  shape.every(size => Number.isSafeInteger(size) && size >= 0)
    ? undefined
    : `sizes must be whole numbers, got ${shapeText(shape)}`

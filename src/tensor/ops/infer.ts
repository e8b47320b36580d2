/** What the constructors of ops share: checks with good messages, and literals. */
import { isFloat, type DType } from "../dtype.ts"
import { broadcastShapes, resolveAxis } from "../shape.ts"
import { makeNode, Tensor, TensorError, type Shape } from "../Tensor.ts"
import type { Attributes, Op } from "../primitives.ts"
import { constant } from "./leaves.ts"

/** A public op, the caller to blame: frames above it are left out of an error's stack. */
export type Caller = (...args: never) => unknown

/** A tensor, or a number that becomes a scalar of the other operand's dtype. */
export type Operand = Tensor | number

export const single = <O extends Op>(
  op: O,
  attributes: Attributes[O],
  inputs: ReadonlyArray<Tensor>,
  dtype: DType,
  shape: Shape
): Tensor => new Tensor(makeNode(op, attributes, inputs, [{ dtype, shape }]), 0)

/** Two operands as tensors of one dtype; a number takes the dtype of the other. */
export const operands = (op: string, a: Operand, b: Operand, caller: Caller): readonly [Tensor, Tensor] => {
  if (typeof a === "number" && typeof b === "number") {
    throw new TensorError(op, "one of the operands must be a tensor, got two numbers", caller)
  }
  const x = typeof a === "number" ? constant(a, (b as Tensor).dtype) : a
  const y = typeof b === "number" ? constant(b, x.dtype) : b
  if (x.dtype !== y.dtype) {
    throw new TensorError(op, `operands must have one dtype, got ${x.dtype} and ${y.dtype}: cast one of them`, caller)
  }
  return [x, y]
}

export const broadcast = (op: string, a: Shape, b: Shape, caller: Caller): Shape => {
  const shape = broadcastShapes(a, b)
  if (typeof shape === "string") throw new TensorError(op, shape, caller)
  return shape
}

export const axisOf = (op: string, axis: number, x: Tensor, caller: Caller): number => {
  const resolved = resolveAxis(axis, x.rank)
  if (resolved === undefined) {
    throw new TensorError(op, `axis ${axis} is outside of shape [${x.shape.join(", ")}]`, caller)
  }
  return resolved
}

export const requireFloat = (op: string, x: Tensor, caller: Caller): void => {
  if (!isFloat(x.dtype)) throw new TensorError(op, `needs a float, got ${x.dtype}`, caller)
}

export const requireDtype = (
  op: string,
  what: string,
  x: Tensor,
  allowed: ReadonlyArray<DType>,
  caller: Caller
): void => {
  if (!allowed.includes(x.dtype)) {
    throw new TensorError(op, `${what} must be ${allowed.join(" or ")}, got ${x.dtype}`, caller)
  }
}

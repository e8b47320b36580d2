/** Ops that work element by element, with numpy's broadcasting. */
import type { DType } from "../dtype.ts"
import type { Attributes, Operands, ProgramOp } from "../primitives.ts"
import { type Tensor, TensorError } from "../Tensor.ts"
import { apply, type Caller } from "./apply.ts"
import { constant } from "./leaves.ts"

/** A tensor, or a number that becomes a scalar of the other operand's dtype. */
export type Operand = Tensor | number

/** Two operands as tensors; a number takes the dtype of the other. */
const tensors = (op: string, a: Operand, b: Operand, caller: Caller): readonly [Tensor, Tensor] => {
  if (typeof a !== "number") return [a, typeof b === "number" ? constant(b, a.dtype) : b]
  if (typeof b !== "number") return [constant(a, b.dtype), b]
  throw new TensorError(op, "one of the operands must be a tensor, got two numbers", caller)
}

/** Ops without attributes that take such operands. */
type Plain<I> = {
  [O in ProgramOp]: [Operands<O, 0>, object] extends [I, Attributes[O]] ? O : never
}[ProgramOp]

const unary = (op: Plain<readonly [0]>): ((x: Tensor) => Tensor) => {
  const f = (x: Tensor): Tensor => apply(op, {}, [x], f)
  return f
}

const binary = (op: Plain<readonly [0, 0]>): ((a: Operand, b: Operand) => Tensor) => {
  const f = (a: Operand, b: Operand): Tensor => apply(op, {}, tensors(op, a, b, f), f)
  return f
}

export const neg = unary("neg")
export const abs = unary("abs")
/** -1, 0 or 1; NaN stays NaN. */
export const sign = unary("sign")
export const floor = unary("floor")
export const exp = unary("exp")
export const log = unary("log")
export const sqrt = unary("sqrt")
/** 1 / sqrt(x). */
export const rsqrt = unary("rsqrt")
export const sin = unary("sin")
export const cos = unary("cos")
export const tanh = unary("tanh")
export const erf = unary("erf")
/** 1 / (1 + exp(-x)). */
export const sigmoid = unary("sigmoid")
export const not = unary("not")

export const add = binary("add")
export const sub = binary("sub")
export const mul = binary("mul")
/** Quotient; integers are truncated towards zero. */
export const div = binary("div")
/** Remainder with the sign of the dividend. */
export const rem = binary("rem")
export const pow = binary("pow")
/** The larger one; NaN if one of them is. */
export const maximum = binary("maximum")
/** The smaller one; NaN if one of them is. */
export const minimum = binary("minimum")
export const and = binary("and")
export const or = binary("or")
export const equal = binary("equal")
export const less = binary("less")
export const lessEqual = binary("lessEqual")
export const greater = (a: Operand, b: Operand): Tensor => less(b, a)

/** `whenTrue` where the condition holds, else `whenFalse`; the three broadcast together. */
export const select = (condition: Tensor, whenTrue: Operand, whenFalse: Operand): Tensor =>
  apply("select", {}, [condition, ...tensors("select", whenTrue, whenFalse, select)], select)

/** The same values in another dtype: float to integer truncates, anything to bool is `!= 0`. */
export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : apply("cast", { dtype }, [x], cast))

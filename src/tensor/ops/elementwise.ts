/** Ops that work element by element, with numpy's broadcasting. */
import type { DType } from "../dtype.ts"
import { broadcastShapes } from "../shape.ts"
import { shapeText, TensorError, type Tensor } from "../Tensor.ts"
import { broadcast, operands, requireDtype, requireFloat, single, type Operand } from "./infer.ts"

type FloatUnary = "floor" | "exp" | "log" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh" | "erf" | "sigmoid"

const floatUnary = (op: FloatUnary): ((x: Tensor) => Tensor) => {
  const apply = (x: Tensor): Tensor => {
    requireFloat(op, x, apply)
    return single(op, {}, [x], x.dtype, x.shape)
  }
  return apply
}

const numericUnary = (op: "neg" | "abs" | "sign"): ((x: Tensor) => Tensor) => {
  const apply = (x: Tensor): Tensor => {
    requireDtype(op, "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], apply)
    return single(op, {}, [x], x.dtype, x.shape)
  }
  return apply
}

const numericBinary = (
  op: "add" | "sub" | "mul" | "div" | "rem" | "maximum" | "minimum"
): ((a: Operand, b: Operand) => Tensor) => {
  const apply = (a: Operand, b: Operand): Tensor => {
    const [x, y] = operands(op, a, b, apply)
    requireDtype(op, "the operands", x, ["f32", "f16", "bf16", "i32", "i64"], apply)
    return single(op, {}, [x, y], x.dtype, broadcast(op, x.shape, y.shape, apply))
  }
  return apply
}

const logical = (op: "and" | "or"): ((a: Tensor, b: Tensor) => Tensor) => {
  const apply = (a: Tensor, b: Tensor): Tensor => {
    requireDtype(op, "the operands", a, ["bool"], apply)
    requireDtype(op, "the operands", b, ["bool"], apply)
    return single(op, {}, [a, b], "bool", broadcast(op, a.shape, b.shape, apply))
  }
  return apply
}

const comparison = (op: "equal" | "less" | "lessEqual"): ((a: Operand, b: Operand) => Tensor) => {
  const apply = (a: Operand, b: Operand): Tensor => {
    const [x, y] = operands(op, a, b, apply)
    if (op !== "equal") requireDtype(op, "the operands", x, ["f32", "f16", "bf16", "i32", "i64", "u8"], apply)
    return single(op, {}, [x, y], "bool", broadcast(op, x.shape, y.shape, apply))
  }
  return apply
}

export const neg = numericUnary("neg")
export const abs = numericUnary("abs")
/** -1, 0 or 1; NaN stays NaN. */
export const sign = numericUnary("sign")
export const floor = floatUnary("floor")
export const exp = floatUnary("exp")
export const log = floatUnary("log")
export const sqrt = floatUnary("sqrt")
/** 1 / sqrt(x). */
export const rsqrt = floatUnary("rsqrt")
export const sin = floatUnary("sin")
export const cos = floatUnary("cos")
export const tanh = floatUnary("tanh")
export const erf = floatUnary("erf")
/** 1 / (1 + exp(-x)). */
export const sigmoid = floatUnary("sigmoid")

export const add = numericBinary("add")
export const sub = numericBinary("sub")
export const mul = numericBinary("mul")
/** Quotient; integers are truncated towards zero. */
export const div = numericBinary("div")
/** Remainder with the sign of the dividend. */
export const rem = numericBinary("rem")
/** The larger one; NaN if one of them is. */
export const maximum = numericBinary("maximum")
/** The smaller one; NaN if one of them is. */
export const minimum = numericBinary("minimum")

export const pow = (a: Operand, b: Operand): Tensor => {
  const [x, y] = operands("pow", a, b, pow)
  requireFloat("pow", x, pow)
  return single("pow", {}, [x, y], x.dtype, broadcast("pow", x.shape, y.shape, pow))
}

export const and = logical("and")
export const or = logical("or")
export const not = (x: Tensor): Tensor => {
  requireDtype("not", "the operand", x, ["bool"], not)
  return single("not", {}, [x], "bool", x.shape)
}

export const equal = comparison("equal")
export const less = comparison("less")
export const lessEqual = comparison("lessEqual")
export const greater = (a: Operand, b: Operand): Tensor => less(b, a)
export const greaterEqual = (a: Operand, b: Operand): Tensor => lessEqual(b, a)

/** `whenTrue` where the condition holds, else `whenFalse`; the three broadcast together. */
export const select = (condition: Tensor, whenTrue: Operand, whenFalse: Operand): Tensor => {
  requireDtype("select", "the condition", condition, ["bool"], select)
  const [x, y] = operands("select", whenTrue, whenFalse, select)
  const branches = broadcast("select", x.shape, y.shape, select)
  const shape = broadcastShapes(condition.shape, branches)
  if (typeof shape === "string") {
    throw new TensorError("select", `condition ${shapeText(condition.shape)} and branches: ${shape}`, select)
  }
  return single("select", {}, [condition, x, y], x.dtype, shape)
}

/** The same values in another dtype: float to integer truncates, anything to bool is `!= 0`. */
export const cast = (x: Tensor, dtype: DType): Tensor =>
  x.dtype === dtype ? x : single("cast", { dtype }, [x], dtype, x.shape)

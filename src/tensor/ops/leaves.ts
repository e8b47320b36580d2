/** Where values come from: inputs, constants, counters, random numbers. */
import { bf16Bits, canHold, f16Bits, hostArray, type DType, type HostArray } from "../dtype.ts"
import { elements, makeNode, shapeText, Tensor, TensorError, type Shape } from "../Tensor.ts"
import { sizesProblem } from "../shape.ts"
import { apply, type Caller } from "./apply.ts"

const leaf = (node: ReturnType<typeof makeNode>): Tensor => new Tensor(node, 0)

const checkShape = (op: string, shape: Shape, caller: Caller): void => {
  const problem = sizesProblem(shape)
  if (problem !== undefined) throw new TensorError(op, problem, caller)
}

/** A value that is given when the program runs. Names are unique within a program. */
export const input = (name: string, dtype: DType, shape: Shape): Tensor => {
  checkShape("input", shape, input)
  return leaf(makeNode("input", { name, dtype, shape }, [], [{ dtype, shape }]))
}

/** A scalar of a dtype, or an array given in the host's representation of the dtype. */
export const constant = (value: number | bigint | HostArray, dtype: DType, shape: Shape = []): Tensor => {
  checkShape("constant", shape, constant)
  if ((typeof value === "number" || typeof value === "bigint") && !canHold(dtype, value))
    throw new TensorError("constant", `${value} is no ${dtype}`, constant)
  const data = typeof value === "number" || typeof value === "bigint" ? fill(value, dtype, elements(shape)) : value
  if (data.constructor !== hostArray(dtype, 0).constructor || data.length !== elements(shape)) {
    throw new TensorError(
      "constant",
      `${dtype} ${shapeText(shape)} needs ${elements(shape)} elements in ${hostArray(dtype, 0).constructor.name}, got ${data.length} in ${data.constructor.name}`,
      constant
    )
  }
  return leaf(makeNode("constant", { dtype, shape, data }, [], [{ dtype, shape }]))
}

/** `0, 1, 2, …` along an axis, the same along all others. */
export const iota = (dtype: "f32" | "i32" | "i64", shape: Shape, axis = shape.length - 1): Tensor =>
  apply("iota", { dtype, shape, axis }, [], iota)

/**
 * Uniform f32 numbers in [0, 1), multiples of 2^-24, from a counter-based generator: element i depends on the key and i alone.
 * `key` is i64[2], two words of 32 bits.
 */
export const random = (key: Tensor, shape: Shape): Tensor => apply("random", { shape }, [key], random)

const fill = (value: number | bigint, dtype: DType, length: number): HostArray => {
  const array = hostArray(dtype, length)
  if (dtype === "i64") return (array as BigInt64Array).fill(BigInt(value))
  const number = Number(value)
  const element = dtype === "bf16" ? bf16Bits(number) : dtype === "f16" ? f16Bits(number) : number
  return (array as Float32Array).fill(dtype === "bool" ? Number(element !== 0) : element)
}

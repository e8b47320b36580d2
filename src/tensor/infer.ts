/** Applies any op by name: the types of its results, checked as in tracing. For programs that come from outside. */
import { Schema } from "effect"
import { dtypes } from "./dtype.ts"
import * as ops from "./ops.ts"
import type { Attributes } from "./primitives.ts"
import type { ProgramOp, ValueType } from "./Program.ts"
import type { Tensor } from "./Tensor.ts"

const Int = Schema.Int
const Sizes = Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
const None = Schema.Struct({})
const Axis = Schema.Struct({ axis: Int })
const Reduction = Schema.Struct({ axes: Sizes, keepDims: Schema.Boolean })
const DTypeName = Schema.Literals(dtypes)

/** What a program's file may say of an op's attributes: exactly these fields. */
export const attributeSchemas: { readonly [O in ProgramOp]: Schema.Codec<Attributes[O], unknown> } = {
  iota: Schema.Struct({ dtype: DTypeName, shape: Sizes, axis: Int }),
  random: Schema.Struct({ shape: Sizes }),
  neg: None,
  abs: None,
  sign: None,
  floor: None,
  exp: None,
  log: None,
  sqrt: None,
  rsqrt: None,
  sin: None,
  cos: None,
  tanh: None,
  erf: None,
  sigmoid: None,
  not: None,
  cast: Schema.Struct({ dtype: DTypeName }),
  add: None,
  sub: None,
  mul: None,
  div: None,
  rem: None,
  pow: None,
  maximum: None,
  minimum: None,
  and: None,
  or: None,
  equal: None,
  less: None,
  lessEqual: None,
  select: None,
  matmul: Schema.Struct({ transposeA: Schema.Boolean, transposeB: Schema.Boolean }),
  sum: Reduction,
  max: Reduction,
  argmax: Axis,
  topK: Schema.Struct({ k: Int }),
  cumulativeSum: Schema.Struct({ axis: Int, reverse: Schema.Boolean }),
  softmax: Axis,
  logSoftmax: Axis,
  rmsNorm: Schema.Struct({ epsilon: Schema.Finite }),
  rotate: None,
  dequantiseNf4: Schema.Struct({ shape: Sizes, blockSize: Int, dtype: DTypeName }),
  allReduce: None,
  gather: Axis,
  gatherAlong: Axis,
  scatterAdd: Axis,
  scatterAddAlong: Axis,
  reshape: Schema.Struct({ shape: Sizes }),
  transpose: Schema.Struct({ permutation: Sizes }),
  broadcastTo: Schema.Struct({ shape: Sizes }),
  concat: Axis,
  slice: Schema.Struct({ starts: Sizes, ends: Sizes, strides: Sizes }),
  pad: Schema.Struct({ low: Sizes, high: Sizes, value: Schema.Finite }),
  after: None
}

type Apply<A> = (inputs: ReadonlyArray<Tensor>, attributes: A) => ReadonlyArray<Tensor>

const unary =
  (f: (x: Tensor) => Tensor): Apply<unknown> =>
  ([x]) => [f(x!)]
const binary =
  (f: (a: Tensor, b: Tensor) => Tensor): Apply<unknown> =>
  ([a, b]) => [f(a!, b!)]

const applications: { readonly [O in ProgramOp]: Apply<Attributes[O]> } = {
  iota: (_, { axis, dtype, shape }) => [ops.iota(dtype as "f32", shape, axis)],
  random: ([key], { shape }) => [ops.random(key!, shape)],
  neg: unary(ops.neg),
  abs: unary(ops.abs),
  sign: unary(ops.sign),
  floor: unary(ops.floor),
  exp: unary(ops.exp),
  log: unary(ops.log),
  sqrt: unary(ops.sqrt),
  rsqrt: unary(ops.rsqrt),
  sin: unary(ops.sin),
  cos: unary(ops.cos),
  tanh: unary(ops.tanh),
  erf: unary(ops.erf),
  sigmoid: unary(ops.sigmoid),
  not: unary(ops.not),
  cast: ([x], { dtype }) => [ops.cast(x!, dtype)],
  add: binary(ops.add),
  sub: binary(ops.sub),
  mul: binary(ops.mul),
  div: binary(ops.div),
  rem: binary(ops.rem),
  pow: binary(ops.pow),
  maximum: binary(ops.maximum),
  minimum: binary(ops.minimum),
  and: binary(ops.and),
  or: binary(ops.or),
  equal: binary(ops.equal),
  less: binary(ops.less),
  lessEqual: binary(ops.lessEqual),
  select: ([condition, a, b]) => [ops.select(condition!, a!, b!)],
  matmul: ([a, b], attributes) => [ops.matmul(a!, b!, attributes)],
  sum: ([x], { axes, keepDims }) => [ops.sum(x!, axes, { keepDims })],
  max: ([x], { axes, keepDims }) => [ops.max(x!, axes, { keepDims })],
  argmax: ([x], { axis }) => [ops.argmax(x!, axis)],
  topK: ([x], { k }) => {
    const { indices, values } = ops.topK(x!, k)
    return [values, indices]
  },
  cumulativeSum: ([x], { axis, reverse }) => [ops.cumulativeSum(x!, axis, { reverse })],
  softmax: ([x], { axis }) => [ops.softmax(x!, axis)],
  logSoftmax: ([x], { axis }) => [ops.logSoftmax(x!, axis)],
  rmsNorm: ([x, weight], { epsilon }) => [ops.rmsNorm(x!, weight!, epsilon)],
  rotate: ([x, cos, sin]) => [ops.rotate(x!, cos!, sin!)],
  dequantiseNf4: ([packed, absmax], attributes) => [ops.dequantiseNf4(packed!, absmax!, attributes)],
  allReduce: unary(ops.allReduce),
  gather: ([x, indices], { axis }) => [ops.gather(x!, indices!, axis)],
  gatherAlong: ([x, indices], { axis }) => [ops.gatherAlong(x!, indices!, axis)],
  scatterAdd: ([x, indices, updates], { axis }) => [ops.scatterAdd(x!, indices!, updates!, axis)],
  scatterAddAlong: ([x, indices, updates], { axis }) => [ops.scatterAddAlong(x!, indices!, updates!, axis)],
  reshape: ([x], { shape }) => [ops.reshape(x!, shape)],
  transpose: ([x], { permutation }) => [ops.transpose(x!, permutation)],
  broadcastTo: ([x], { shape }) => [ops.broadcastTo(x!, shape)],
  concat: (parts, { axis }) => [ops.concat(parts, axis)],
  slice: ([x], { ends, starts, strides }) => [ops.slice(x!, starts, ends, strides)],
  pad: ([x], { high, low, value }) => [ops.pad(x!, low, high, value)],
  after: ([value, ...dependencies]) => [ops.after(value!, dependencies)]
}

/** How many operands an op takes; the others take any number from one on. */
const operandCounts: { readonly [O in ProgramOp]?: number } = {
  iota: 0,
  select: 3,
  rotate: 3,
  scatterAdd: 3,
  scatterAddAlong: 3
}
const pairwise = new Set<ProgramOp>([
  "add",
  "sub",
  "mul",
  "div",
  "rem",
  "pow",
  "maximum",
  "minimum",
  "and",
  "or",
  "equal",
  "less",
  "lessEqual",
  "matmul",
  "rmsNorm",
  "dequantiseNf4",
  "gather",
  "gatherAlong"
])

export const isProgramOp = (op: string): op is ProgramOp => Object.hasOwn(applications, op)

/** Types of an op's results. Throws TensorError, or Error for a wrong number of operands. */
export const inferTypes = <O extends ProgramOp>(
  op: O,
  attributes: Attributes[O],
  operands: ReadonlyArray<ValueType>
): ReadonlyArray<ValueType> => {
  const count = operandCounts[op] ?? (pairwise.has(op) ? 2 : op === "concat" || op === "after" ? undefined : 1)
  if (count === undefined ? operands.length === 0 : operands.length !== count)
    throw new Error(`${op} takes ${count ?? "at least 1"} operands, got ${operands.length}`)
  const inputs = operands.map(({ dtype, shape }, i) => ops.input(`operand ${i}`, dtype, shape))
  return (applications[op] as Apply<Attributes[O]>)(inputs, attributes).map(({ dtype, shape }) => ({ dtype, shape }))
}

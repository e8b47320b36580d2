/** Each op in operators of ONNX; those that take several are in expansions.ts. Which operators are not used, and why, lower.ts says. */
import type { ProgramOp } from "../../tensor/primitives.ts"
import { sameShape } from "../../tensor/shape.ts"
import { elements } from "../../tensor/Tensor.ts"
import { carrier, type Lower, type Lowering } from "./builder.ts"
import { columnSum, dequantiseNf4, logSoftmax, matmul, random, rotate, scatterAdd, sine } from "./expansions.ts"
import { groupedMatmul, groupedOuter } from "./grouped.ts"
import { Float } from "./onnx.ts"

const plain =
  (op: string) =>
  ({ b, inputs }: Lowering): string =>
    b.one(op, inputs)

/** From so many elements on, a column of width 1 is worth being made flat. */
const longColumn = 512

/** With a column of width 1 and a scalar, ONNX Runtime's operators on the processor go element by element, ten times slower than flat. */
const arithmetic =
  (op: string) =>
  ({ b, inputs, out: { shape }, target, types }: Lowering): string => {
    const isScalar = types.map(type => type.shape.length === 0)
    const isColumn = target === "cpu" && shape.at(-1) === 1 && elements(shape) >= longColumn && isScalar.includes(true)
    if (!isColumn) return b.one(op, inputs)
    const flat = inputs.map((input, i) => (isScalar[i] === true ? input : b.reshape(input, [-1])))
    return b.reshape(b.one(op, flat), shape)
  }

/** Comparisons of small integers and truth values go by i32, for which every kernel exists. */
const comparison =
  (op: string) =>
  ({ b, inputs, types }: Lowering): string =>
    b.one(
      op,
      types[0]!.dtype === "u8" || types[0]!.dtype === "bool" ? inputs.map(input => b.cast(input, "i32")) : inputs
    )

const reduction =
  (op: string): Lower<"sum"> =>
  ({ attributes: { axes, keepDims }, b, inputs: [x] }) =>
    axes.length === 0 ? x : b.one(op, [x, b.i64(axes)], { keepdims: Number(keepDims) })

/** Sums over all axes but the last of f32: on the processor, a product is the faster way. */
const sum: Lower<"sum"> = context => {
  const {
    attributes: { axes },
    b,
    inputs: [x],
    out,
    target,
    types: [type]
  } = context
  const { dtype, shape } = type
  const ofColumns = shape.length > 1 && axes.length === shape.length - 1 && axes.every((axis, i) => axis === i)
  return target === "cpu" && dtype === "f32" && ofColumns
    ? columnSum(b, x, shape, out.shape)
    : reduction("ReduceSum")(context)
}

/** ReduceMax passes over NaN, which must win. WebGPU need not keep NaN at all. */
const max: Lower<"max"> = context => {
  const {
    attributes,
    b,
    inputs: [x],
    out,
    target
  } = context
  const largest = reduction("ReduceMax")(context) as string
  if (carrier(out.dtype) !== "f32" || attributes.axes.length === 0 || target === "webgpu") return largest
  const isNaN = b.cast(b.one("IsNaN", [x]), "f32")
  const anyNaN = b.cast(reduction("ReduceMax")({ ...context, inputs: [isNaN] }) as string, "bool")
  return b.one("Where", [anyNaN, b.f32(NaN), largest])
}

/** For WebGPU, Pow fails on some shapes that broadcast. */
const pow: Lower<"pow"> = ({ b, inputs, out: { shape }, target, types }) =>
  b.one(
    "Pow",
    target === "webgpu"
      ? inputs.map((input, i) => (sameShape(types[i]!.shape, shape) ? input : b.one("Expand", [input, b.i64(shape)])))
      : inputs
  )

/** WebGPU lacks Sign. */
const sign: Lower<"sign"> = ({ b, inputs: [x], out, target }) => {
  if (target !== "webgpu" || carrier(out.dtype) !== "f32") return b.one("Sign", [x])
  const is = (comparison: string): string => b.cast(b.one(comparison, [x, b.f32(0)]), "f32")
  return b.one("Sub", [is("Greater"), is("Less")])
}

export const lowerings: { readonly [O in ProgramOp]: Lower<O> } = {
  iota: ({ attributes: { axis, dtype, shape }, b }) => {
    const size = shape[axis]!
    const line = shape.map((_, i) => (i === axis ? size : 1))
    const index = (_: unknown, i: number): number => i
    const data =
      dtype === "i64"
        ? BigInt64Array.from({ length: size }, (_, i) => BigInt(i))
        : dtype === "i32"
          ? Int32Array.from({ length: size }, index)
          : Float32Array.from({ length: size }, index)
    return b.one("Expand", [b.constant(carrier(dtype), line, data), b.i64(shape)])
  },
  random,

  neg: plain("Neg"),
  abs: plain("Abs"),
  sign,
  floor: plain("Floor"),
  exp: plain("Exp"),
  log: plain("Log"),
  sqrt: plain("Sqrt"),
  rsqrt: ({ b, inputs: [x] }) => b.one("Reciprocal", [b.one("Sqrt", [x])]),
  sin: ({ b, inputs: [x], target }) => (target === "webgpu" ? sine(b, x, 0) : b.one("Sin", [x])),
  cos: ({ b, inputs: [x], target }) => (target === "webgpu" ? sine(b, x, 1) : b.one("Cos", [x])),
  tanh: plain("Tanh"),
  erf: plain("Erf"),
  sigmoid: plain("Sigmoid"),
  not: plain("Not"),
  cast: ({ attributes: { dtype }, b, inputs: [x], types: [from] }) =>
    carrier(from!.dtype) === carrier(dtype) ? x : b.cast(x, carrier(dtype)),

  add: arithmetic("Add"),
  sub: arithmetic("Sub"),
  mul: arithmetic("Mul"),
  div: arithmetic("Div"),
  rem: ({ b, inputs }) => b.one("Mod", inputs, { fmod: 1 }),
  pow,
  maximum: plain("Max"),
  minimum: plain("Min"),
  and: plain("And"),
  or: plain("Or"),
  equal: comparison("Equal"),
  less: comparison("Less"),
  lessEqual: comparison("LessOrEqual"),
  select: ({ b, inputs: [condition, x, y], out }) => {
    if (out.dtype !== "bool") return b.one("Where", [condition, x, y])
    return b.cast(b.one("Where", [condition, b.cast(x, "u8"), b.cast(y, "u8")]), "bool")
  },

  matmul,
  groupedMatmul,
  groupedOuter,
  sum,
  max,
  argmax: ({ attributes: { axis }, b, inputs }) => b.one("ArgMax", inputs, { axis, keepdims: 0 }),
  topK: ({ attributes: { k }, b, inputs: [x] }) => b.node("TopK", [x, b.i64([k])], { axis: -1 }, { outputs: 2 }),
  cumulativeSum: ({ attributes: { axis, reverse }, b, inputs: [x] }) =>
    b.one("CumSum", [x, b.i64Scalar(axis)], { reverse: Number(reverse) }),
  softmax: ({ attributes: { axis }, b, inputs }) => b.one("Softmax", inputs, { axis }),
  logSoftmax: ({ attributes: { axis }, b, inputs, target }) =>
    target === "webgpu" ? logSoftmax(b, inputs[0]!, axis) : b.one("LogSoftmax", inputs, { axis }),
  rmsNorm: ({ attributes: { epsilon }, b, inputs, target }) =>
    b.one(target === "standard" ? "RMSNormalization" : "SimplifiedLayerNormalization", inputs, {
      axis: -1,
      epsilon: new Float(epsilon),
      stash_type: 1
    }),
  rotate,

  dequantiseNf4,
  // One process.
  allReduce: ({ inputs: [x] }) => x,

  gather: ({ attributes: { axis }, b, inputs }) => b.one("Gather", inputs, { axis }),
  gatherAlong: ({ attributes: { axis }, b, inputs }) => b.one("GatherElements", inputs, { axis }),
  scatterAdd,
  scatterAddAlong: ({ attributes: { axis }, b, inputs }) =>
    b.one("ScatterElements", inputs, { axis, reduction: "add" }),

  reshape: ({ attributes: { shape }, b, inputs: [x] }) => b.one("Reshape", [x, b.i64(shape)], { allowzero: 1 }),
  transpose: ({ attributes: { permutation }, b, inputs }) => b.one("Transpose", inputs, { perm: permutation }),
  // For WebGPU, Expand fails on scalars of one byte.
  broadcastTo: ({ attributes: { shape }, b, inputs: [x], target, types: [{ shape: from }] }) => {
    if (sameShape(from, shape)) return x
    const operand = target === "webgpu" && from.length === 0 ? b.one("Reshape", [x, b.i64([1])]) : x
    return b.one("Expand", [operand, b.i64(shape)])
  },
  concat: ({ attributes: { axis }, b, inputs }) => b.one("Concat", inputs, { axis }),
  // Neither operator takes a scalar, of which there is nothing to cut, nor anything to add to.
  slice: ({ attributes: { ends, starts, strides }, b, inputs: [x] }) =>
    starts.length === 0
      ? x
      : b.one("Slice", [x, b.i64(starts), b.i64(ends), b.i64(starts.map((_, axis) => axis)), b.i64(strides)]),
  pad: ({ attributes: { high, low, value }, b, inputs: [x], out }) => {
    if (low.length === 0) return x
    const fill =
      carrier(out.dtype) === "f32"
        ? b.f32(value)
        : out.dtype === "i64"
          ? b.i64Scalar(value)
          : b.constant("i32", [], Int32Array.of(value))
    return b.one("Pad", [x, b.i64([...low, ...high]), fill])
  },
  // Segments are cut at it.
  after: ({ inputs: [x] }) => x
}

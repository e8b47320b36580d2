/**
 * Programs as ONNX. The 16-bit floats are carried as f32 and rounded after every op, because ONNX Runtime lacks most kernels for
 * them; at the borders they are raw bits (u16). Operators that were found to return wrong numbers are not used: MatMulBnb4 with transB = 0,
 * the second output of SimplifiedLayerNormalization, ScatterND with a reduction; for WebGPU, Sin and Cos.
 */
import type { DType } from "../../tensor/dtype.ts"
import type { Instruction, Program, ValueId, ValueType } from "../../tensor/Program.ts"
import type { Attributes, ProgramOp } from "../../tensor/primitives.ts"
import { Builder, carrier, isHalf, type Lower, type Target } from "./builder.ts"
import {
  columnSum,
  dequantiseNf4,
  logSoftmax,
  matmul,
  random,
  rotate,
  scatterAdd,
  sine,
  squareSum,
  vectorSum
} from "./expansions.ts"
import { Float, type OnnxModel, type OnnxType, onnxTypes } from "./onnx.ts"
import { sameShape } from "../../tensor/shape.ts"
import { elements } from "../../tensor/Tensor.ts"
import type { Segment } from "./segments.ts"

const plain =
  (op: string): Lower<unknown> =>
  ({ b, inputs }) =>
    b.one(op, inputs)

/** From so many elements on, a column of width 1 is worth being made flat. */
const longColumn = 512

/** With a column of width 1 and a scalar, ONNX Runtime's operators on the processor go element by element, ten times slower than flat. */
const arithmetic =
  (op: string): Lower<unknown> =>
  ({ b, inputs, out: { shape }, target, types }) => {
    const isScalar = types.map(type => type.shape.length === 0)
    const isColumn = target === "cpu" && shape.at(-1) === 1 && elements(shape) >= longColumn && isScalar.includes(true)
    if (!isColumn) return b.one(op, inputs)
    const flat = inputs.map((input, i) => (isScalar[i] === true ? input : b.one("Reshape", [input, b.i64([-1])])))
    return b.one("Reshape", [b.one(op, flat), b.i64(shape)])
  }

/** Comparisons of small integers and truth values go by i32, for which every kernel exists. */
const comparison =
  (op: string): Lower<unknown> =>
  ({ b, inputs, types }) =>
    b.one(
      op,
      types[0]!.dtype === "u8" || types[0]!.dtype === "bool" ? inputs.map(input => b.cast(input, "i32")) : inputs
    )

const reduction =
  (op: string): Lower<Attributes["sum"]> =>
  ({ attributes: { axes, keepDims }, b, inputs: [x] }) =>
    axes.length === 0 ? x! : b.one(op, [x!, b.i64(axes)], { keepdims: Number(keepDims) })

/** Sums over all axes but the last of f32: on the processor, a product is the faster way. */
const sum: Lower<Attributes["sum"]> = context => {
  const {
    attributes: { axes },
    b,
    inputs: [x],
    out,
    target,
    types: [type]
  } = context
  const { dtype, shape } = type!
  const ofColumns = shape.length > 1 && axes.length === shape.length - 1 && axes.every((axis, i) => axis === i)
  return target === "cpu" && dtype === "f32" && ofColumns
    ? columnSum(b, x!, shape, out.shape)
    : reduction("ReduceSum")(context)
}

/** ReduceMax passes over NaN, which must win. WebGPU need not keep NaN at all. */
const max: Lower<Attributes["max"]> = context => {
  const {
    attributes,
    b,
    inputs: [x],
    out,
    target
  } = context
  const largest = reduction("ReduceMax")(context) as string
  if (carrier(out.dtype) !== "f32" || attributes.axes.length === 0 || target === "webgpu") return largest
  const isNaN = b.cast(b.one("IsNaN", [x!]), "f32")
  const anyNaN = b.cast(reduction("ReduceMax")({ ...context, inputs: [isNaN] }) as string, "bool")
  return b.one("Where", [anyNaN, b.f32(NaN), largest])
}

/** For WebGPU, Pow fails on some shapes that broadcast. */
const pow: Lower<unknown> = ({ b, inputs, out: { shape }, target, types }) =>
  b.one(
    "Pow",
    target === "webgpu"
      ? inputs.map((input, i) => (sameShape(types[i]!.shape, shape) ? input : b.one("Expand", [input, b.i64(shape)])))
      : inputs
  )

/** WebGPU lacks Sign. */
const sign: Lower<unknown> = ({ b, inputs: [x], out, target }) => {
  if (target !== "webgpu" || carrier(out.dtype) !== "f32") return b.one("Sign", [x!])
  const is = (comparison: string): string => b.cast(b.one(comparison, [x!, b.f32(0)]), "f32")
  return b.one("Sub", [is("Greater"), is("Less")])
}

const lowerings: { readonly [O in ProgramOp]: Lower<Attributes[O]> } = {
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
  rsqrt: ({ b, inputs: [x] }) => b.one("Reciprocal", [b.one("Sqrt", [x!])]),
  sin: ({ b, inputs: [x], target }) => (target === "webgpu" ? sine(b, x!, 0) : b.one("Sin", [x!])),
  cos: ({ b, inputs: [x], target }) => (target === "webgpu" ? sine(b, x!, 1) : b.one("Cos", [x!])),
  tanh: plain("Tanh"),
  erf: plain("Erf"),
  sigmoid: plain("Sigmoid"),
  not: plain("Not"),
  cast: ({ attributes: { dtype }, b, inputs: [x], types: [from] }) =>
    carrier(from!.dtype) === carrier(dtype) ? x! : b.cast(x!, carrier(dtype)),

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
    if (out.dtype !== "bool") return b.one("Where", [condition!, x!, y!])
    const [whenTrue, whenFalse] = [x!, y!].map(input => b.cast(input, "u8"))
    return b.cast(b.one("Where", [condition!, whenTrue!, whenFalse!]), "bool")
  },

  matmul,
  sum,
  max,
  argmax: ({ attributes: { axis }, b, inputs }) => b.one("ArgMax", inputs, { axis, keepdims: 0 }),
  topK: ({ attributes: { k }, b, inputs: [x] }) => b.node("TopK", [x!, b.i64([k])], { axis: -1 }, { outputs: 2 }),
  cumulativeSum: ({ attributes: { axis, reverse }, b, inputs: [x] }) =>
    b.one("CumSum", [x!, b.i64Scalar(axis)], { reverse: Number(reverse) }),
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
  allReduce: ({ inputs: [x] }) => x!,

  gather: ({ attributes: { axis }, b, inputs }) => b.one("Gather", inputs, { axis }),
  gatherAlong: ({ attributes: { axis }, b, inputs }) => b.one("GatherElements", inputs, { axis }),
  scatterAdd,
  scatterAddAlong: ({ attributes: { axis }, b, inputs }) =>
    b.one("ScatterElements", inputs, { axis, reduction: "add" }),

  reshape: ({ attributes: { shape }, b, inputs: [x] }) => b.one("Reshape", [x!, b.i64(shape)], { allowzero: 1 }),
  transpose: ({ attributes: { permutation }, b, inputs }) => b.one("Transpose", inputs, { perm: permutation }),
  broadcastTo: ({ attributes: { shape }, b, inputs: [x] }) => b.one("Expand", [x!, b.i64(shape)]),
  concat: ({ attributes: { axis }, b, inputs }) => b.one("Concat", inputs, { axis }),
  slice: ({ attributes: { ends, starts, strides }, b, inputs: [x] }) =>
    b.one("Slice", [x!, b.i64(starts), b.i64(ends), b.i64(starts.map((_, axis) => axis)), b.i64(strides)]),
  pad: ({ attributes: { high, low, value }, b, inputs: [x], out }) => {
    const fill =
      carrier(out.dtype) === "f32"
        ? b.f32(value)
        : out.dtype === "i64"
          ? b.i64Scalar(value)
          : b.constant("i32", [], Int32Array.of(value))
    return b.one("Pad", [x!, b.i64([...low, ...high]), fill])
  },
  // Segments are cut at it.
  after: ({ inputs: [x] }) => x!
}

/**
 * The instructions, with those at the end whose results nothing but the world outside needs, the first last. ONNX Runtime computes results one
 * after the other, beginning with that of the last node, each with all that it needs. In this order a gradient is made as soon as
 * its cotangent is there; in the order of the program all of them would wait for the end of the backward pass, with what they are made from.
 */
const resultsLast = ({ instructions, outputs }: Segment): ReadonlyArray<Instruction> => {
  const used = new Set(instructions.flatMap(({ inputs }) => inputs))
  const results = new Set(outputs)
  const isLast = (instruction: Instruction): boolean =>
    instruction.outputs.every(value => results.has(value) && !used.has(value))
  return [...instructions.filter(instruction => !isLast(instruction)), ...instructions.filter(isLast).toReversed()]
}

/** Elements of a row from which on its product with itself is the faster way to sum their squares. */
const longRow = 1024

/** The sum along rows of the product of two values: one with itself, or rows with a vector. */
interface RowProduct {
  readonly operands: readonly [ValueId, ValueId]
  readonly sum: ValueId
}

/**
 * Elementwise products of f32 that are for nothing but sums along rows, and those sums, each by its value: squares of long rows, and products with a
 * vector.
 */
const rowProducts = (program: Program, { instructions, outputs }: Segment): ReadonlyMap<ValueId, RowProduct> => {
  const uses = Map.groupBy(
    instructions.flatMap(user => [...new Set(user.inputs)].map(value => ({ user, value }))),
    ({ value }) => value
  )
  const rankOf = (value: ValueId): number => program.values[value]!.shape.length
  return new Map(
    instructions.flatMap(({ inputs, op, outputs: [product] }) => {
      const { dtype, shape } = program.values[product!]!
      const [use, another] = uses.get(product!) ?? []
      if (op !== "mul" || use?.user.op !== "sum") return []
      const sum = use.user as Instruction<"sum">
      const alongRows = sum.attributes.axes.join() === String(shape.length - 1)
      const isAlone = another === undefined && !outputs.includes(product!)
      const operands = inputs.toSorted((a, b) => rankOf(b) - rankOf(a)) as [ValueId, ValueId]
      const isSquare = operands[0] === operands[1] && shape.at(-1)! >= longRow
      const isByVector =
        shape.length > 1 &&
        rankOf(operands[1]) === 1 &&
        sameShape(program.values[operands[0]]!.shape, shape) &&
        program.values[operands[1]]!.shape[0] === shape.at(-1)
      if (!alongRows || !isAlone || dtype !== "f32" || elements(shape) === 0 || !(isSquare || isByVector)) return []
      const found = { operands, sum: sum.outputs[0]! }
      return [[product!, found] as const, [found.sum, found] as const]
    })
  )
}

/** Which value of the program each input and output of a model is, in the model's order. */
export interface Lowered {
  readonly model: OnnxModel
  readonly inputs: ReadonlyArray<ValueId>
  readonly outputs: ReadonlyArray<ValueId>
}

/** Raw bits travel over the border of a graph as u16. Buffers of WebGPU cannot hold those: there, 16-bit floats are f32 outside, too. */
export const borderType = (dtype: DType, target: Target): OnnxType =>
  target === "webgpu" ? carrier(dtype) : isHalf(dtype) ? "u16" : dtype

/**
 * One segment as a model. Equal segments give equal models, whatever the numbers of their values. What has no elements is not computed: several
 * operators fail on empty tensors, and TopK never ends.
 */
export const lowerSegment = (program: Program, segment: Segment, target: Target = "cpu"): Lowered => {
  const b = new Builder()
  const half = halves[target]
  const names = new Map<ValueId, string>()
  const typeOf = (value: ValueId): ValueType => program.values[value]!
  for (const value of segment.inputs) {
    const { dtype, shape } = typeOf(value)
    const name = b.name()
    b.model.inputs.push({ name, type: borderType(dtype, target), shape })
    names.set(value, isHalf(dtype) ? half.enter(b, name, dtype) : name)
  }
  const constants = new Map(program.constants.map(({ data, value }) => [value, data]))
  const nameOf = (value: ValueId): string => {
    const known = names.get(value)
    if (known !== undefined) return known
    const { dtype, shape } = typeOf(value)
    const raw = b.constant(dtype, shape, constants.get(value)!)
    const name = isHalf(dtype) ? b.cast(raw, ...half.through, "f32") : raw
    names.set(value, name)
    return name
  }
  const products = target === "cpu" ? rowProducts(program, segment) : new Map<ValueId, RowProduct>()
  for (const { attributes, inputs, op, outputs } of resultsLast(segment)) {
    const product = products.get(outputs[0]!)
    if (product !== undefined) {
      // The product itself is not made.
      if (op === "sum") {
        const [x, y] = product.operands
        const { shape } = typeOf(outputs[0]!)
        const result =
          x === y
            ? squareSum(b, nameOf(x), typeOf(x).shape, shape)
            : vectorSum(b, nameOf(x), nameOf(y), typeOf(x).shape, shape)
        names.set(outputs[0]!, result)
      }
      continue
    }
    if (outputs.every(value => elements(typeOf(value).shape) === 0)) {
      for (const value of outputs) {
        const { dtype, shape } = typeOf(value)
        names.set(value, b.constant(carrier(dtype), shape, new Uint8Array(0)))
      }
      continue
    }
    const results = (lowerings[op] as Lower<unknown>)({
      b,
      inputs: inputs.map(nameOf),
      types: inputs.map(typeOf),
      attributes,
      out: typeOf(outputs[0]!),
      target
    })
    for (const [i, value] of outputs.entries()) {
      const result = typeof results === "string" ? results : results[i]!
      const { dtype } = typeOf(value)
      names.set(
        value,
        isHalf(dtype) && !moves.has(op) ? b.cast(result, ...half.through, dtype, ...half.through, "f32") : result
      )
    }
  }
  for (const value of segment.outputs) {
    const { dtype, shape } = typeOf(value)
    const result = nameOf(value)
    // A fresh name: a value may be an output twice, or an input that passes through.
    const name = isHalf(dtype) ? half.leave(b, result, dtype) : b.one("Identity", [result])
    b.model.outputs.push({ name, type: borderType(dtype, target), shape })
  }
  return { model: b.model, inputs: segment.inputs, outputs: segment.outputs }
}

/** Ops that only move elements: nothing to round. */
const moves = new Set<ProgramOp>([
  "reshape",
  "transpose",
  "broadcastTo",
  "concat",
  "slice",
  "gather",
  "gatherAlong",
  "neg",
  "abs",
  "select",
  "allReduce"
])

interface Halves {
  /** Types that a conversion between f32 and 16 bits goes through. */
  readonly through: ReadonlyArray<OnnxType>
  /** From the border to f32, and back. */
  readonly enter: (b: Builder, x: string, dtype: "f16" | "bf16") => string
  readonly leave: (b: Builder, x: string, dtype: "f16" | "bf16") => string
}

const bits: Halves = {
  through: [],
  enter: (b, x, dtype) => b.cast(b.one("BitCast", [x], { to: onnxTypes[dtype] }), "f32"),
  leave: (b, x, dtype) => b.one("BitCast", [b.cast(x, dtype)], { to: onnxTypes.u16 })
}

/**
 * How 16-bit floats cross borders and are rounded. Most WebGPU devices cannot convert to f16, and none to bf16; none knows f64 either, so
 * that a conversion through it is left to the processor.
 */
const halves: { readonly [T in Target]: Halves } = {
  cpu: bits,
  standard: bits,
  webgpu: { through: ["f64"], enter: (_, x) => x, leave: (b, x) => b.one("Identity", [x]) }
}

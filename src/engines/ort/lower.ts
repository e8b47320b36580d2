/**
 * Programs as ONNX. The 16-bit floats are carried as f32 and rounded after every op, because ONNX Runtime's CPU kernels lack most of
 * them; at the borders they are raw bits (u16). Operators that were found to return wrong numbers are not used: MatMulBnb4 with transB = 0,
 * the second output of SimplifiedLayerNormalization, ScatterND with a reduction.
 */
import type { DType } from "../../tensor/dtype.ts"
import type { Program, ProgramOp, ValueId, ValueType } from "../../tensor/Program.ts"
import type { Attributes } from "../../tensor/primitives.ts"
import { threefryParity, threefryRotations, threefryRounds } from "../../tensor/random.ts"
import { elements, type Shape } from "../../tensor/Tensor.ts"
import { contribDomain, Float, type OnnxAttribute, type OnnxModel, type OnnxType } from "./onnx.ts"
import type { Segment } from "./segments.ts"

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends ReadonlyArray<infer E> ? Array<E> : T[K] }

/** Collects the nodes of a graph under names that only depend on their order. */
class Builder {
  readonly model: Mutable<OnnxModel> = { nodes: [], constants: [], inputs: [], outputs: [] }
  readonly #constants = new Map<string, string>()
  #names = 0

  name(): string {
    return `t${this.#names++}`
  }
  node(
    op: string,
    inputs: ReadonlyArray<string>,
    attributes: { readonly [name: string]: OnnxAttribute } = {},
    { domain = "", outputs = 1 }: { readonly domain?: string; readonly outputs?: number } = {}
  ): ReadonlyArray<string> {
    const names = Array.from({ length: outputs }, () => this.name())
    this.model.nodes.push({ op, domain, inputs, outputs: names, attributes })
    return names
  }
  one(op: string, inputs: ReadonlyArray<string>, attributes: { readonly [name: string]: OnnxAttribute } = {}): string {
    return this.node(op, inputs, attributes)[0]!
  }
  constant(type: OnnxType, shape: Shape, data: ArrayBufferView): string {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    const key = `${type} ${shape.join(",")} ${bytes.toString("latin1")}`
    const known = this.#constants.get(key)
    if (known !== undefined) return known
    const name = this.name()
    this.#constants.set(key, name)
    this.model.constants.push({ name, type, shape, data })
    return name
  }
  f32(value: number): string {
    return this.constant("f32", [], Float32Array.of(value))
  }
  i64(values: ReadonlyArray<number>): string {
    return this.constant("i64", [values.length], BigInt64Array.from(values, BigInt))
  }
  i64Scalar(value: number): string {
    return this.constant("i64", [], BigInt64Array.of(BigInt(value)))
  }
}

const isHalf = (dtype: DType): dtype is "f16" | "bf16" => dtype === "f16" || dtype === "bf16"

/** How values of a dtype travel inside of a graph. */
const carrier = (dtype: DType): OnnxType => (isHalf(dtype) ? "f32" : dtype)

/** `TensorProto.DataType` numbers for the attribute of Cast. */
const castTo = { f32: 1, u8: 2, u16: 4, i32: 6, i64: 7, bool: 9, f16: 10, bf16: 16 } as const

interface Lowering<A> {
  readonly b: Builder
  readonly inputs: ReadonlyArray<string>
  readonly types: ReadonlyArray<ValueType>
  readonly attributes: A
  readonly out: ValueType
  /** Whether only operators of the ONNX standard may be used, and none of ONNX Runtime's own. */
  readonly standard: boolean
}

type Lower<A> = (context: Lowering<A>) => string | ReadonlyArray<string>

const plain =
  (op: string): Lower<unknown> =>
  ({ b, inputs }) =>
    b.one(op, inputs)

/** Comparisons of small integers and truth values go by i32, for which every kernel exists. */
const comparison =
  (op: string): Lower<unknown> =>
  ({ b, inputs, types }) =>
    b.one(
      op,
      types[0]!.dtype === "u8" || types[0]!.dtype === "bool"
        ? inputs.map(input => b.one("Cast", [input], { to: castTo.i32 }))
        : inputs
    )

const reduction =
  (op: string): Lower<Attributes["sum"]> =>
  ({ attributes: { axes, keepDims }, b, inputs: [x] }) =>
    axes.length === 0 ? x! : b.one(op, [x!, b.i64(axes)], { keepdims: Number(keepDims) })

/** ReduceMax passes over NaN, which must win. */
const max: Lower<Attributes["max"]> = context => {
  const {
    attributes,
    b,
    inputs: [x],
    out
  } = context
  const largest = reduction("ReduceMax")(context) as string
  if (carrier(out.dtype) !== "f32" || attributes.axes.length === 0) return largest
  const isNaN = b.one("Cast", [b.one("IsNaN", [x!])], { to: castTo.f32 })
  const anyNaN = b.one("Cast", [reduction("ReduceMax")({ ...context, inputs: [isNaN] }) as string], { to: castTo.bool })
  return b.one("Where", [anyNaN, b.f32(NaN), largest])
}

/**
 * Adds slices at indices, as [before, axis, behind]. Not by ScatterND: its threads add to the same element at once, and updates get lost where
 * indices repeat. ScatterElements works through them in one thread.
 */
const scatterAdd: Lower<Attributes["scatterAdd"]> = ({
  attributes: { axis },
  b,
  inputs: [x, indices, updates],
  types
}) => {
  const [{ shape }, { shape: indexShape }, { shape: updateShape }] = types as [ValueType, ValueType, ValueType]
  if (elements(updateShape) === 0) return x!
  const before = elements(shape.slice(0, axis))
  const behind = elements(shape.slice(axis + 1))
  const count = elements(indexShape)
  const reshaped = (value: string, to: Shape): string => b.one("Reshape", [value, b.i64(to)], { allowzero: 1 })
  const at = b.one("Expand", [reshaped(indices!, [1, count, 1]), b.i64([before, count, behind])])
  const result = b.one(
    "ScatterElements",
    [reshaped(x!, [before, shape[axis]!, behind]), at, reshaped(updates!, [before, count, behind])],
    { axis: 1, reduction: "add" }
  )
  return reshaped(result, shape)
}

/** Products. FusedMatMul transposes on the way. Where there is nothing to sum, MatMul gets the shape wrong. */
const matmul: Lower<Attributes["matmul"]> = ({
  attributes: { transposeA, transposeB },
  b,
  inputs: [left, right],
  out,
  standard,
  types
}) => {
  if (elements(types[0]!.shape) === 0) return b.one("Expand", [b.f32(0), b.i64(out.shape)])
  if (!transposeA && !transposeB) return b.one("MatMul", [left!, right!])
  if (!standard)
    return b.node(
      "FusedMatMul",
      [left!, right!],
      { transA: Number(transposeA), transB: Number(transposeB), alpha: new Float(1) },
      { domain: contribDomain }
    )
  const turned = (x: string, { shape: { length } }: ValueType): string =>
    b.one("Transpose", [x], { perm: [...Array(length - 2).keys(), length - 1, length - 2] })
  return b.one("MatMul", [
    transposeA ? turned(left!, types[0]!) : left!,
    transposeB ? turned(right!, types[1]!) : right!
  ])
}

/** Threefry-2x32-20 in 64-bit integers: words stay below 2^32 by a mask, rotations are products and quotients. */
const random: Lower<Attributes["random"]> = ({ attributes: { shape }, b, inputs: [key] }) => {
  const count = elements(shape)
  const blocks = Math.ceil(count / 2)
  const low = b.i64Scalar(0xffffffff)
  const wrap = (x: string): string => b.one("BitwiseAnd", [x, low])
  const word = (at: number): string =>
    wrap(b.one("Slice", [key!, b.i64([at]), b.i64([at + 1]), b.i64([0]), b.i64([1])]))
  const first = word(0)
  const second = word(1)
  const third = b.one("BitwiseXor", [b.one("BitwiseXor", [first, second]), b.i64Scalar(threefryParity)])
  const keys = [first, second, third]
  const counter = b.constant(
    "i64",
    [blocks],
    BigInt64Array.from({ length: blocks }, (_, i) => BigInt(i))
  )
  let x0 = wrap(b.one("Add", [counter, first]))
  let x1 = b.one("Expand", [second, b.i64([blocks])])
  for (let round = 0; round < threefryRounds; round++) {
    const bits = threefryRotations[round % 8]!
    x0 = wrap(b.one("Add", [x0, x1]))
    const up = wrap(b.one("Mul", [x1, b.i64Scalar(2 ** bits)]))
    const down = b.one("Div", [x1, b.i64Scalar(2 ** (32 - bits))])
    x1 = b.one("BitwiseXor", [b.one("BitwiseOr", [up, down]), x0])
    if (round % 4 !== 3) continue
    const injection = (round + 1) / 4
    x0 = wrap(b.one("Add", [x0, keys[injection % 3]!]))
    x1 = wrap(b.one("Add", [b.one("Add", [x1, keys[(injection + 1) % 3]!]), b.i64Scalar(injection)]))
  }
  const column = (x: string): string => b.one("Reshape", [x, b.i64([blocks, 1])])
  const words = b.one("Concat", [column(x0), column(x1)], { axis: 1 })
  const flat = b.one("Slice", [
    b.one("Reshape", [words, b.i64([-1])]),
    b.i64([0]),
    b.i64([count]),
    b.i64([0]),
    b.i64([1])
  ])
  const top = b.one("Cast", [b.one("Div", [flat, b.i64Scalar(256)])], { to: castTo.f32 })
  return b.one("Reshape", [b.one("Mul", [top, b.f32(2 ** -24)]), b.i64(shape)])
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
  sign: plain("Sign"),
  floor: plain("Floor"),
  exp: plain("Exp"),
  log: plain("Log"),
  sqrt: plain("Sqrt"),
  rsqrt: ({ b, inputs: [x] }) => b.one("Reciprocal", [b.one("Sqrt", [x!])]),
  sin: plain("Sin"),
  cos: plain("Cos"),
  tanh: plain("Tanh"),
  erf: plain("Erf"),
  sigmoid: plain("Sigmoid"),
  not: plain("Not"),
  cast: ({ attributes: { dtype }, b, inputs: [x], types: [from] }) =>
    carrier(from!.dtype) === carrier(dtype) ? x! : b.one("Cast", [x!], { to: castTo[carrier(dtype)] }),

  add: plain("Add"),
  sub: plain("Sub"),
  mul: plain("Mul"),
  div: plain("Div"),
  rem: ({ b, inputs }) => b.one("Mod", inputs, { fmod: 1 }),
  pow: plain("Pow"),
  maximum: plain("Max"),
  minimum: plain("Min"),
  and: plain("And"),
  or: plain("Or"),
  equal: comparison("Equal"),
  less: comparison("Less"),
  lessEqual: comparison("LessOrEqual"),
  select: ({ b, inputs: [condition, x, y], out }) => {
    if (out.dtype !== "bool") return b.one("Where", [condition!, x!, y!])
    const [whenTrue, whenFalse] = [x!, y!].map(input => b.one("Cast", [input], { to: castTo.u8 }))
    return b.one("Cast", [b.one("Where", [condition!, whenTrue!, whenFalse!])], { to: castTo.bool })
  },

  matmul,
  sum: reduction("ReduceSum"),
  max,
  argmax: ({ attributes: { axis }, b, inputs }) => b.one("ArgMax", inputs, { axis, keepdims: 0 }),
  topK: ({ attributes: { k }, b, inputs: [x] }) => b.node("TopK", [x!, b.i64([k])], { axis: -1 }, { outputs: 2 }),
  cumulativeSum: ({ attributes: { axis, reverse }, b, inputs: [x] }) =>
    b.one("CumSum", [x!, b.i64Scalar(axis)], { reverse: Number(reverse) }),
  softmax: ({ attributes: { axis }, b, inputs }) => b.one("Softmax", inputs, { axis }),
  logSoftmax: ({ attributes: { axis }, b, inputs }) => b.one("LogSoftmax", inputs, { axis }),
  rmsNorm: ({ attributes: { epsilon }, b, inputs, standard }) =>
    b.one(standard ? "RMSNormalization" : "SimplifiedLayerNormalization", inputs, {
      axis: -1,
      epsilon: new Float(epsilon),
      stash_type: 1
    }),

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

/** Which value of the program each input and output of a model is, in the model's order. */
export interface Lowered {
  readonly model: OnnxModel
  readonly inputs: ReadonlyArray<ValueId>
  readonly outputs: ReadonlyArray<ValueId>
}

/** Raw bits travel over the border of a graph as u16. */
export const borderType = (dtype: DType): OnnxType => (isHalf(dtype) ? "u16" : dtype)

/**
 * One segment as a model. Equal segments give equal models, whatever the numbers of their values. What has no elements is not computed: several
 * operators fail on empty tensors, and TopK never ends.
 */
export const lowerSegment = (
  program: Program,
  segment: Segment,
  { standard = false }: { readonly standard?: boolean } = {}
): Lowered => {
  const b = new Builder()
  const names = new Map<ValueId, string>()
  const typeOf = (value: ValueId): ValueType => program.values[value]!
  for (const value of segment.inputs) {
    const { dtype, shape } = typeOf(value)
    const name = b.name()
    b.model.inputs.push({ name, type: borderType(dtype), shape })
    names.set(value, isHalf(dtype) ? fromBits(b, name, dtype) : name)
  }
  const constants = new Map(program.constants.map(({ data, value }) => [value, data]))
  const nameOf = (value: ValueId): string => {
    const known = names.get(value)
    if (known !== undefined) return known
    const { dtype, shape } = typeOf(value)
    const raw = b.constant(borderType(dtype), shape, constants.get(value)!)
    const name = isHalf(dtype) ? fromBits(b, raw, dtype) : raw
    names.set(value, name)
    return name
  }
  for (const { attributes, inputs, op, outputs } of segment.instructions) {
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
      standard
    })
    for (const [i, value] of outputs.entries()) {
      const result = typeof results === "string" ? results : results[i]!
      const { dtype } = typeOf(value)
      names.set(value, isHalf(dtype) && !moves.has(op) ? rounded(b, result, dtype) : result)
    }
  }
  for (const value of segment.outputs) {
    const { dtype, shape } = typeOf(value)
    const result = nameOf(value)
    // A fresh name: a value may be an output twice, or an input that passes through.
    const name = isHalf(dtype) ? toBits(b, result, dtype) : b.one("Identity", [result])
    b.model.outputs.push({ name, type: borderType(dtype), shape })
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
  "select"
])

const rounded = (b: Builder, x: string, dtype: "f16" | "bf16"): string =>
  b.one("Cast", [b.one("Cast", [x], { to: castTo[dtype] })], { to: castTo.f32 })

const fromBits = (b: Builder, bits: string, dtype: "f16" | "bf16"): string =>
  b.one("Cast", [b.one("BitCast", [bits], { to: castTo[dtype] })], { to: castTo.f32 })

const toBits = (b: Builder, x: string, dtype: "f16" | "bf16"): string =>
  b.one("BitCast", [b.one("Cast", [x], { to: castTo[dtype] })], { to: castTo.u16 })

/**
 * The primitive ops: the whole language that engines must speak, each declared once. Tracing, the reading of programs, engines and the conformance suite
 * follow these declarations, which are one table however long it gets. Broadcasting is numpy's throughout. Arithmetic on f16 and bf16 is done in at least f32 and rounded once at the end.
 */
import { Schema } from "effect"
import { declare, type Each, type OperandType } from "./declaration.ts"
import { canHold, type DType, dtypes as all, floats, type HostArray, isFloat, numbers } from "./dtype.ts"
import { axisProblem, broadcastShapes, sameShape, sizesProblem } from "./shape.ts"
import { elements, type Shape, shapeText as text, type Tensor } from "./Tensor.ts"

const Whole = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Sizes = Schema.Array(Whole)

interface Elementwise {
  readonly inPlace?: boolean
  readonly exact?: boolean
}

/** For ops that are one operator of every engine. */
const inPlace = { inPlace: true } as const

const unary = (dtypes: ReadonlyArray<DType>, more: Elementwise) => declare({ dtypes, ...more }, ([x]) => x.shape)

const binary = (dtypes: ReadonlyArray<DType>, more: Elementwise) =>
  declare({ dtypes, operands: ["T", "T"], ...more }, ([a, b]) => broadcastShapes(a.shape, b.shape))

const comparison = (dtypes: ReadonlyArray<DType>) =>
  declare({ dtypes, operands: ["T", "T"], results: ["bool"] }, ([a, b]) => broadcastShapes(a.shape, b.shape))

const reduction = (ofEmpty: (shape: Shape) => string | undefined) =>
  declare(
    { dtypes: numbers, attributes: { axes: Sizes, keepDims: Schema.Boolean } },
    ([{ shape }], { axes, keepDims }) => {
      const outside = axes.map(axis => axisProblem(axis, shape)).find(problem => problem !== undefined)
      if (outside !== undefined) return outside
      if (axes.some((axis, i) => axis <= (axes[i - 1] ?? -1))) return `axes [${axes.join(", ")}] repeat`
      const empty = axes.some(axis => shape[axis] === 0) ? ofEmpty(shape) : undefined
      return empty ?? shape.flatMap((size, axis) => (axes.includes(axis) ? (keepDims ? [1] : []) : [size]))
    }
  )

const indices = { name: "indices", dtypes: ["i32", "i64"] } as const

const taken = (shape: Shape, axis: number, at: Shape): Shape => shape.toSpliced(axis, 1, ...at)

const alignmentProblem = (x: Shape, at: Shape, axis: number): string | undefined =>
  x.length === at.length && x.every((size, i) => i === axis || size === at[i])
    ? undefined
    : `indices ${text(at)} must have the shape of x ${text(x)} but along axis ${axis}`

const updatesProblem = (updates: Shape, expected: Shape): string | undefined =>
  sameShape(updates, expected) ? undefined : `updates must be ${text(expected)}, got ${text(updates)}`

/** How many rows each group has: the first belong to the first group, and so on. Together they must not be more than there are. */
const groupSizes = { name: "the sizes of groups", dtypes: ["i32", "i64"] } as const

const lastTwo = (shape: Shape, transposed: boolean): ReadonlyArray<number> =>
  transposed ? shape.slice(-2).toReversed() : shape.slice(-2)

export const primitives = {
  // Leaves
  /** The index along the axis. */
  iota: declare(
    {
      operands: [],
      results: ["attribute"],
      attributes: { dtype: Schema.Literals(["f32", "i32", "i64"]), shape: Sizes, axis: Whole }
    },
    (_, { axis, shape }) => sizesProblem(shape) ?? axisProblem(axis, shape) ?? shape
  ),
  /** (key [2]) -> uniform numbers in [0, 1): Threefry-2x32-20, see random.ts */
  random: declare(
    {
      operands: [{ name: "the key", dtypes: ["i64"] }],
      results: ["f32"],
      attributes: { shape: Sizes }
    },
    ([key], { shape }) =>
      sizesProblem(shape) ?? (sameShape(key.shape, [2]) ? shape : `the key must be [2], got ${text(key.shape)}`)
  ),

  // Elementwise, one operand
  neg: unary(numbers, { inPlace: true, exact: true }),
  abs: unary(numbers, { inPlace: true, exact: true }),
  sign: unary(numbers, inPlace), // 0 at 0; NaN stays NaN
  floor: unary(floats, inPlace),
  exp: unary(floats, inPlace),
  log: unary(floats, inPlace),
  sqrt: unary(floats, inPlace),
  rsqrt: unary(floats, {}),
  sin: unary(floats, inPlace),
  cos: unary(floats, inPlace),
  tanh: unary(floats, inPlace),
  erf: unary(floats, inPlace),
  sigmoid: unary(floats, inPlace),
  not: unary(["bool"], {}),
  /** Float to integer truncates; to bool is != 0. */
  cast: declare({ dtypes: all, results: ["attribute"], attributes: { dtype: Schema.Literals(all) } }, ([x]) => x.shape),

  // Elementwise, two operands
  add: binary(numbers, inPlace),
  sub: binary(numbers, inPlace),
  mul: binary(numbers, inPlace),
  div: binary(numbers, inPlace), // integers: truncated
  rem: binary(numbers, {}), // sign of the dividend, as C's fmod
  pow: binary(floats, {}),
  maximum: binary(numbers, {}), // NaN wins
  minimum: binary(numbers, {}), // NaN wins
  and: binary(["bool"], {}),
  or: binary(["bool"], {}),
  equal: comparison(all),
  less: comparison([...numbers, "u8"]),
  lessEqual: comparison([...numbers, "u8"]),
  /** (condition, where it holds, where it does not) */
  select: declare(
    { dtypes: all, operands: [{ name: "the condition", dtypes: ["bool"] }, "T", "T"], exact: true },
    ([condition, a, b]) => {
      const branches = broadcastShapes(a.shape, b.shape)
      return typeof branches === "string" ? branches : broadcastShapes(condition.shape, branches)
    }
  ),

  // Contractions and reductions
  /** Of the last two axes; leading axes broadcast. */
  matmul: declare(
    {
      dtypes: floats,
      operands: ["T", "T"],
      attributes: { transposeA: Schema.Boolean, transposeB: Schema.Boolean }
    },
    ([a, b], { transposeA, transposeB }) => {
      const wrong = (why: string): string =>
        `${why}: ${text(a.shape)}${transposeA ? "ᵀ" : ""} by ${text(b.shape)}${transposeB ? "ᵀ" : ""}`
      const [[m, k], [k2, n]] = [lastTwo(a.shape, transposeA), lastTwo(b.shape, transposeB)]
      if (m === undefined || k === undefined || k2 === undefined || n === undefined)
        return wrong("operands need at least two axes")
      if (k !== k2) return wrong(`inner sizes ${k} and ${k2} differ`)
      const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2))
      return typeof batch === "string" ? wrong("leading axes do not broadcast") : [...batch, m, n]
    }
  ),
  /** (a [n, K], b [G, K, M], sizes [G]): each row times the matrix of its group -> [n, M]; rows behind the last group give 0. With `transposeB`, b is [G, M, K]. */
  groupedMatmul: declare(
    { dtypes: floats, operands: ["T", "T", groupSizes], attributes: { transposeB: Schema.Boolean } },
    ([a, b, sizes], { transposeB }) => {
      const [n, k] = a.shape
      const [k2, m] = lastTwo(b.shape, transposeB)
      const fits = a.shape.length === 2 && b.shape.length === 3 && k === k2 && sameShape(sizes.shape, [b.shape[0]!])
      return fits
        ? [n!, m!]
        : `rows [n, K], matrices ${transposeB ? "[G, M, K]" : "[G, K, M]"} and sizes [G] are needed, got ${text(a.shape)}, ${text(b.shape)} and ${text(sizes.shape)}`
    }
  ),
  /** (a [n, K], b [n, M], sizes [G]): for each group the sum over its rows of a's row, as a column, times b's -> [G, K, M]. The transpose of `groupedMatmul`. */
  groupedOuter: declare({ dtypes: floats, operands: ["T", "T", groupSizes] }, ([a, b, sizes]) => {
    const [[n, k], [n2, m], [groups]] = [a.shape, b.shape, sizes.shape]
    const fits = a.shape.length === 2 && b.shape.length === 2 && n === n2 && sizes.shape.length === 1
    return fits
      ? [groups!, k!, m!]
      : `rows [n, K] and [n, M] and sizes [G] are needed, got ${text(a.shape)}, ${text(b.shape)} and ${text(sizes.shape)}`
  }),
  sum: reduction(() => undefined),
  /** NaN wins. */
  max: reduction(shape => `there is no largest element along an empty axis of ${text(shape)}`),
  /** The first of equals; the axis goes. */
  argmax: declare({ dtypes: numbers, results: ["i64"], attributes: { axis: Whole } }, ([{ shape }], { axis }) =>
    shape[axis] === 0
      ? `axis ${axis} of ${text(shape)} is empty`
      : (axisProblem(axis, shape) ?? shape.toSpliced(axis, 1))
  ),
  /** The k largest along the last axis and their indices, descending; of equals the lower index first. */
  topK: declare({ dtypes: numbers, results: ["T", "i64"], attributes: { k: Schema.Int } }, ([{ shape }], { k }) =>
    Number.isInteger(k) && k >= 1 && k <= (shape.at(-1) ?? 0)
      ? [...shape.slice(0, -1), k]
      : `k = ${k} does not fit the last axis of ${text(shape)}`
  ),
  cumulativeSum: declare(
    { dtypes: numbers, attributes: { axis: Whole, reverse: Schema.Boolean } },
    ([x], { axis }) => axisProblem(axis, x.shape) ?? x.shape
  ),
  softmax: declare(
    { dtypes: floats, attributes: { axis: Whole } },
    ([x], { axis }) => axisProblem(axis, x.shape) ?? x.shape
  ),
  logSoftmax: declare(
    { dtypes: floats, attributes: { axis: Whole } },
    ([x], { axis }) => axisProblem(axis, x.shape) ?? x.shape
  ),
  /** (x, weight): weight * x / sqrt(mean(x^2, last axis) + epsilon) */
  rmsNorm: declare(
    { dtypes: floats, operands: ["T", "T"], attributes: { epsilon: Schema.Number } },
    ([{ dtype, shape }, weight], { epsilon }) => {
      if (!Number.isFinite(epsilon)) return `epsilon must be finite, got ${epsilon}`
      return shape.length > 0 && sameShape(weight.shape, shape.slice(-1))
        ? shape
        : `the weight must be ${dtype} [${shape.at(-1) ?? ""}] for x ${text(shape)}, got ${text(weight.shape)}`
    }
  ),
  /** (x [B, L, H, D], cos and sin [B or 1, L, D / 2]): halves a, b of the last axis -> a cos - b sin, b cos + a sin */
  rotate: declare({ dtypes: floats, operands: ["T", "T", "T"] }, ([x, cosines, sines]) => {
    const [batch, length, , size] = x.shape
    const fits = [batch, 1].some(rows => sameShape(cosines.shape, [rows!, length!, size! / 2]))
    return x.shape.length === 4 && fits && sameShape(cosines.shape, sines.shape)
      ? x.shape
      : `for x ${text(x.shape)}, [B, L, H, D], cosines and sines must be [B or 1, L, D / 2], got ${text(cosines.shape)} and ${text(sines.shape)}`
  }),

  /** (packed [ceil(n / 2)], absmax [ceil(n / blockSize)]) -> floats of n elements; see nf4.ts */
  dequantiseNf4: declare(
    {
      operands: [
        { name: "packed", dtypes: ["u8"] },
        { name: "absmax", dtypes: ["f32"] }
      ],
      results: ["attribute"],
      attributes: { shape: Sizes, blockSize: Schema.Int, dtype: Schema.Literals(all) }
    },
    ([packed, absmax], { blockSize, dtype, shape }) => {
      if (!isFloat(dtype)) return `makes floats, not ${dtype}`
      if (!Number.isInteger(blockSize) || blockSize < 1) return `blocks of ${blockSize} numbers`
      const [bytes, blocks] = [Math.ceil(elements(shape) / 2), Math.ceil(elements(shape) / blockSize)]
      return sameShape(packed.shape, [bytes]) && sameShape(absmax.shape, [blocks])
        ? shape
        : `${text(shape)} in blocks of ${blockSize} needs u8 [${bytes}] and absmax f32 [${blocks}], got ${text(packed.shape)} and ${text(absmax.shape)}`
    }
  ),

  /** The sum over all processes that compute together; the operand itself where there is one. */
  allReduce: unary(numbers, { exact: true }),

  // Indexing; indices must lie within the axis
  /** (x, indices of any shape): numpy's take */
  gather: declare(
    { dtypes: all, operands: ["T", indices], attributes: { axis: Whole }, exact: true },
    ([x, at], { axis }) => axisProblem(axis, x.shape) ?? taken(x.shape, axis, at.shape)
  ),
  /** (x, indices): numpy's take_along_axis */
  gatherAlong: declare(
    { dtypes: all, operands: ["T", indices], attributes: { axis: Whole }, exact: true },
    ([x, at], { axis }) => axisProblem(axis, x.shape) ?? alignmentProblem(x.shape, at.shape, axis) ?? at.shape
  ),
  /** (x, indices, updates): the transpose of gather; repeated indices add up */
  scatterAdd: declare(
    { dtypes: numbers, operands: ["T", indices, "T"], attributes: { axis: Whole } },
    ([x, at, updates], { axis }) =>
      axisProblem(axis, x.shape) ?? updatesProblem(updates.shape, taken(x.shape, axis, at.shape)) ?? x.shape
  ),
  /** (x, indices, updates): the transpose of gatherAlong */
  scatterAddAlong: declare(
    { dtypes: numbers, operands: ["T", indices, "T"], attributes: { axis: Whole } },
    ([x, at, updates], { axis }) =>
      axisProblem(axis, x.shape) ??
      alignmentProblem(x.shape, at.shape, axis) ??
      updatesProblem(updates.shape, at.shape) ??
      x.shape
  ),

  // Shape
  reshape: declare({ dtypes: all, attributes: { shape: Sizes }, exact: true }, ([x], { shape }) =>
    sizesProblem(shape) === undefined && elements(shape) === elements(x.shape)
      ? shape
      : `${text(x.shape)} does not fit into ${text(shape)}`
  ),
  /** Axis i of the result is axis permutation[i] of the operand. */
  transpose: declare({ dtypes: all, attributes: { permutation: Sizes }, exact: true }, ([x], { permutation }) =>
    permutation.length === x.shape.length && permutation.toSorted((a, b) => a - b).every((axis, i) => axis === i)
      ? permutation.map(axis => x.shape[axis]!)
      : `[${permutation.join(", ")}] does not permute the axes of ${text(x.shape)}`
  ),
  broadcastTo: declare({ dtypes: all, attributes: { shape: Sizes }, exact: true }, ([x], { shape }) => {
    const found = broadcastShapes(x.shape, shape)
    const fits = typeof found !== "string" && sameShape(found, shape)
    return fits ? shape : `${text(x.shape)} does not broadcast to ${text(shape)}`
  }),
  concat: declare(
    {
      dtypes: all,
      operands: ["T"] as readonly ["T", ...ReadonlyArray<"T">],
      repeats: true,
      attributes: { axis: Whole },
      exact: true
    },
    (parts, { axis }) => {
      const [{ shape }] = parts
      const unlike = parts.find(
        other => other.shape.length !== shape.length || other.shape.some((size, i) => i !== axis && size !== shape[i])
      )
      if (unlike !== undefined) return `${text(unlike.shape)} does not fit ${text(shape)} along axis ${axis}`
      const sizes = parts.map(part => part.shape[axis]!)
      return (
        axisProblem(axis, shape) ??
        shape.with(
          axis,
          sizes.reduce((total, size) => total + size)
        )
      )
    }
  ),
  /** Elements starts <= i < ends, each `strides`-th. */
  slice: declare(
    { dtypes: all, attributes: { starts: Sizes, ends: Sizes, strides: Sizes }, exact: true },
    ([{ shape }], { ends, starts, strides }) => {
      const lists = [starts, ends, strides].map(list => `[${list.join(", ")}]`)
      const fits =
        [starts, ends, strides].every(list => list.length === shape.length && sizesProblem(list) === undefined) &&
        shape.every((size, i) => starts[i]! <= ends[i]! && ends[i]! <= size && strides[i]! >= 1)
      return fits
        ? shape.map((_, i) => Math.ceil((ends[i]! - starts[i]!) / strides[i]!))
        : `${lists[0]} to ${lists[1]} by ${lists[2]} does not lie within ${text(shape)}`
    }
  ),
  pad: declare(
    { dtypes: numbers, attributes: { low: Sizes, high: Sizes, value: Schema.Number } },
    ([{ dtype, shape }], { high, low, value }) => {
      if (![low, high].every(list => list.length === shape.length && sizesProblem(list) === undefined))
        return `[${low.join(", ")}] and [${high.join(", ")}] do not pad the axes of ${text(shape)}`
      if (!Number.isFinite(value)) return `the value must be finite, got ${value}`
      return canHold(dtype, value) ? shape.map((size, i) => low[i]! + size + high[i]!) : `${value} is no ${dtype}`
    }
  ),

  /** (value, dependency…): the value, computed from here on only when the dependencies are */
  after: declare(
    {
      dtypes: all,
      operands: ["T", { name: "a dependency", dtypes: all }] as readonly ["T", ...ReadonlyArray<OperandType>],
      repeats: true,
      exact: true
    },
    ([value]) => value.shape
  )
}

/** Ops that reach engines. */
export type ProgramOp = keyof typeof primitives

/** What a trace has besides: leaves, which programs list by themselves, and annotations for differentiation, through which values pass unchanged. */
interface Traced {
  input: { readonly name: string; readonly dtype: DType; readonly shape: Shape }
  constant: { readonly dtype: DType; readonly shape: Shape; readonly data: HostArray }
  stopGradient: object
  checkpoint: { readonly mark: number } // (values…): nodes younger than the mark are recomputed in the backward pass
  customGradient: { readonly rule: CustomRule } // (values…, inputs…): the rule replaces differentiation of what made the values
}

/** Cotangents of the values (undefined: none), and the inputs -> cotangents of the inputs (undefined or left out: none). */
export type CustomRule = (
  gradients: ReadonlyArray<Tensor | undefined>,
  inputs: ReadonlyArray<Tensor>
) => ReadonlyArray<Tensor | undefined>

type Declarations = typeof primitives
export type Attributes = {
  readonly [O in ProgramOp]: Declarations[O]["attributes"] extends infer F extends Schema.Struct.Fields
    ? Schema.Struct.Type<F>
    : never
} & Traced
export type Op = keyof Attributes

/** Something for each operand of an op, and for each of its results. */
export type Operands<O extends ProgramOp, V> = Each<Declarations[O]["operands"], V>
export type Results<O extends ProgramOp, V> = Each<Declarations[O]["results"], V>

export const isProgramOp = (op: string): op is ProgramOp => Object.hasOwn(primitives, op)

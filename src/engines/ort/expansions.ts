/** Ops that take several operators of ONNX. */
import { nf4Codes } from "../../tensor/nf4.ts"
import type { Attributes } from "../../tensor/primitives.ts"
import { threefryParity, threefryRotations, threefryRounds } from "../../tensor/random.ts"
import { elements, type Shape } from "../../tensor/Tensor.ts"
import type { Builder, Lower } from "./builder.ts"
import { contribDomain, Float } from "./onnx.ts"

/**
 * Adds slices at indices, as [before, axis, behind]. Not by ScatterND: its threads add to the same element at once, and updates get lost where
 * indices repeat. ScatterElements works through them in one thread.
 */
export const scatterAdd: Lower<"scatterAdd"> = ({ attributes: { axis }, b, inputs: [x, indices, updates], types }) => {
  const [{ shape }, { shape: indexShape }, { shape: updateShape }] = types
  if (elements(updateShape) === 0) return x
  const before = elements(shape.slice(0, axis))
  const behind = elements(shape.slice(axis + 1))
  const count = elements(indexShape)
  const reshaped = (value: string, to: Shape): string => b.one("Reshape", [value, b.i64(to)], { allowzero: 1 })
  const at = b.one("Expand", [reshaped(indices, [1, count, 1]), b.i64([before, count, behind])])
  const result = b.one(
    "ScatterElements",
    [reshaped(x, [before, shape[axis]!, behind]), at, reshaped(updates, [before, count, behind])],
    { axis: 1, reduction: "add" }
  )
  return reshaped(result, shape)
}

/** For the processor: the product of operands that are transposed on the way. */
export const fusedMatmul = (
  b: Builder,
  x: string,
  y: string,
  { transposeA, transposeB }: Attributes["matmul"]
): string =>
  b.node(
    "FusedMatMul",
    [x, y],
    { transA: Number(transposeA), transB: Number(transposeB), alpha: new Float(1) },
    { domain: contribDomain }
  )[0]!

/** x [..., n] as rows of n. */
const rowsOf = (b: Builder, x: string, shape: Shape): string => b.reshape(x, [-1, shape.at(-1)!])

/** Where it pays to turn a product round: up to so many rows, from so many weights on (`node bench/fewRows.ts`). */
const [fewRows, manyWeights] = [32, 2 ** 18]

/**
 * Products. On the processor, ONNX Runtime rearranges transposed weights before it multiplies, which takes longer than the product where there are few rows. The
 * turned product reads the weights as they lie, and only its small result is transposed. (One row has a way of its own there.) FusedMatMul is also slow where the
 * left sides of a batch are large and transposed, as in the backward pass of attention; that product is turned, too. For WebGPU, Gemm transposes on the way with two
 * matrices. Where there is nothing to sum, MatMul gets the shape wrong.
 */
export const matmul: Lower<"matmul"> = ({ attributes, b, inputs: [left, right], out, target, types }) => {
  const { transposeA, transposeB } = attributes
  const [{ shape: leftShape }, { shape: rightShape }] = types
  if (elements(leftShape) === 0) return b.one("Expand", [b.f32(0), b.i64(out.shape)])
  if (!transposeA && !transposeB) return b.one("MatMul", [left, right])
  const turned = (x: string, { length }: Shape): string =>
    b.one("Transpose", [x], { perm: [...Array(length - 2).keys(), length - 1, length - 2] })
  const matrices = leftShape.length === 2 && rightShape.length === 2
  const moved = elements(rightShape) + elements(out.shape)
  const rows = elements(leftShape) / leftShape.at(-1)!
  const isFew = rows > 1 && rows <= fewRows && rightShape.length === 2 && elements(rightShape) >= manyWeights
  if (target === "cpu" && isFew && !transposeA) {
    const product = fusedMatmul(b, right, rowsOf(b, left, leftShape), { transposeA: false, transposeB: true })
    return b.reshape(b.one("Transpose", [product], { perm: [1, 0] }), out.shape)
  }
  if (target === "cpu" && !matrices && transposeA && !transposeB && moved < elements(leftShape))
    return turned(fusedMatmul(b, right, left, attributes), out.shape)
  if (target === "cpu") return fusedMatmul(b, left, right, attributes)
  if (target === "webgpu" && matrices)
    return b.one("Gemm", [left, right], {
      transA: Number(transposeA),
      transB: Number(transposeB),
      alpha: new Float(1)
    })
  return b.one("MatMul", [transposeA ? turned(left, leftShape) : left, transposeB ? turned(right, rightShape) : right])
}

/** Sums of squares along the last axis, each the product of a row with itself: nothing is written but the sums. */
export const squareSum = (b: Builder, x: string, shape: Shape, out: Shape): string => {
  const columns = shape.at(-1)!
  const rows = b.reshape(x, [elements(shape) / columns, 1, columns])
  return b.reshape(fusedMatmul(b, rows, rows, { transposeA: false, transposeB: true }), out)
}

/** Sums along the last axis of x [..., n] times a vector [n]. */
export const vectorSum = (b: Builder, x: string, vector: string, shape: Shape, out: Shape): string => {
  const column = b.reshape(vector, [shape.at(-1)!, 1])
  return b.reshape(b.one("MatMul", [rowsOf(b, x, shape), column]), out)
}

/** The sum of all rows of x [..., n]. */
export const columnSum = (b: Builder, x: string, shape: Shape, out: Shape): string => {
  const ones = b.one("Expand", [b.f32(1), b.i64([1, elements(shape.slice(0, -1))])])
  return b.reshape(b.one("MatMul", [ones, rowsOf(b, x, shape)]), out)
}

/** RotaryEmbedding; WebGPU has none, so that there it is spelled out. */
export const rotate: Lower<"rotate"> = ({ b, inputs: [x, cosines, sines], target, types }) => {
  const [{ shape }, angles] = types
  const [batch, length, heads, size] = shape as [number, number, number, number]
  const half = size / 2
  if (target !== "webgpu") {
    const all = [cosines, sines].map(y =>
      angles.shape[0] === batch ? y : b.one("Expand", [y, b.i64([batch, length, half])])
    )
    const flat = b.reshape(x, [batch, length, heads * size])
    return b.reshape(b.one("RotaryEmbedding", [flat, ...all], { num_heads: heads }), shape)
  }
  const part = (from: number): string => b.slice(x, 3, from, from + half)
  const [first, second] = [part(0), part(half)]
  const overHeads = (y: string): string => b.reshape(y, [angles.shape[0]!, length, 1, half])
  const [c, s] = [overHeads(cosines), overHeads(sines)]
  const mul = (y: string, factor: string): string => b.one("Mul", [y, factor])
  const turned = [b.one("Sub", [mul(first, c), mul(second, s)]), b.one("Add", [mul(second, c), mul(first, s)])]
  return b.one("Concat", turned, { axis: 3 })
}

/** Threefry-2x32-20 in 64-bit integers: words stay below 2^32 by a mask, rotations are products and quotients. */
export const random: Lower<"random"> = ({ attributes: { shape }, b, inputs: [key] }) => {
  const count = elements(shape)
  const blocks = Math.ceil(count / 2)
  const low = b.i64Scalar(0xffffffff)
  const wrap = (x: string): string => b.one("BitwiseAnd", [x, low])
  const word = (at: number): string => wrap(b.slice(key, 0, at, at + 1))
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
  const column = (x: string): string => b.reshape(x, [blocks, 1])
  const words = b.one("Concat", [column(x0), column(x1)], { axis: 1 })
  const flat = b.slice(b.reshape(words, [-1]), 0, 0, count)
  const top = b.cast(b.one("Div", [flat, b.i64Scalar(256)]), "f32")
  return b.reshape(b.one("Mul", [top, b.f32(2 ** -24)]), shape)
}

/** Two codes for every byte, from a table: the operator for it (MatMulBnb4) cannot multiply from the other side. */
export const dequantiseNf4: Lower<"dequantiseNf4"> = ({
  attributes: { blockSize, shape },
  b,
  inputs: [packed, absmax]
}) => {
  const n = elements(shape)
  if (n === 0) return b.constant("f32", shape, new Float32Array(0))
  const pairs = Float32Array.from({ length: 512 }, (_, i) => nf4Codes[i % 2 === 0 ? i >> 5 : (i >> 1) & 15]!)
  const table = b.constant("f32", [256, 2], pairs)
  const codes = b.one("Gather", [table, b.cast(packed, "i32")], { axis: 0 })
  const blocks = Math.ceil(n / blockSize)
  const missing = blocks * blockSize - 2 * Math.ceil(n / 2)
  const flat = b.reshape(codes, [-1])
  const whole = missing > 0 ? b.one("Pad", [flat, b.i64([0, missing]), b.f32(0)]) : flat
  // A block of odd size may end within a byte.
  const cut = missing < 0 ? b.slice(whole, 0, 0, blocks * blockSize) : whole
  const scaled = b.one("Mul", [b.reshape(cut, [blocks, blockSize]), b.reshape(absmax, [blocks, 1])])
  const all = b.reshape(scaled, [-1])
  const values = blocks * blockSize === n ? all : b.slice(all, 0, 0, n)
  return b.reshape(values, shape)
}

/** For WebGPU, which lacks LogSoftmax: x - max - log(sum(exp(x - max))). */
export const logSoftmax = (b: Builder, x: string, axis: number): string => {
  const over = (op: string, value: string): string => b.one(op, [value, b.i64([axis])], { keepdims: 1 })
  const shifted = b.one("Sub", [x, over("ReduceMax", x)])
  return b.one("Sub", [shifted, b.one("Log", [over("ReduceSum", b.one("Exp", [shifted]))])])
}

/** pi / 2 in parts whose products with whole numbers are exact, and series around 0: those of Cephes (Moshier), sinf.c. */
const halfPi = [1.5703125, 4.837512969970703125e-4, 7.549789948768648e-8]
const sineSeries = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]
const cosineSeries = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]

/**
 * sin(x + quarters pi / 2) for WebGPU, whose own sin and cos may be wrong by 2^-11 (WGSL, "Accuracy of built-in functions"): the angle less its
 * whole quarter turns, then a series for what is left. For |x| below some 30,000.
 */
export const sine = (b: Builder, x: string, quarters: 0 | 1): string => {
  const scaled = (value: string, factor: number): string => b.one("Mul", [value, b.f32(factor)])
  const plus = (value: string, term: number): string => b.one("Add", [value, b.f32(term)])
  const turns = b.one("Floor", [plus(scaled(x, 2 / Math.PI), 0.5)])
  const angle = halfPi.reduce((left, part) => b.one("Sub", [left, scaled(turns, part)]), x)
  const square = b.one("Mul", [angle, angle])
  const series = ([first, ...others]: ReadonlyArray<number>): string =>
    b.one("Mul", [
      others.reduce((sum, term, i) => plus(i === 0 ? sum : b.one("Mul", [sum, square]), term), scaled(square, first!)),
      square
    ])
  const sin = b.one("Add", [angle, b.one("Mul", [angle, series(sineSeries)])])
  const cos = plus(b.one("Sub", [b.one("Mul", [square, series(cosineSeries)]), scaled(square, 0.5)]), 1)
  const quarter = quarters === 0 ? turns : plus(turns, quarters)
  const half = b.one("Floor", [scaled(quarter, 0.5)])
  const odd = b.one("Sub", [quarter, scaled(half, 2)])
  const halfOdd = b.one("Sub", [half, scaled(b.one("Floor", [scaled(half, 0.5)]), 2)])
  const value = b.one("Where", [b.cast(odd, "bool"), cos, sin])
  return b.one("Mul", [value, plus(scaled(halfOdd, -2), 1)])
}

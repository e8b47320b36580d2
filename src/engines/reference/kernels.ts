/**
 * Every op in plain float64 loops: slow, obvious, and the judge of the other engines. Values are numbers whatever their dtype;
 * an i64 is exact up to 2^53.
 */
import { isInteger } from "../../tensor/dtype.ts"
import { nf4Codes } from "../../tensor/nf4.ts"
import type { Instruction, ValueType } from "../../tensor/Program.ts"
import type { ProgramOp } from "../../tensor/primitives.ts"
import { uniformAt } from "../../tensor/random.ts"
import { rowMajorStrides } from "../../tensor/shape.ts"
import { elements } from "../../tensor/Tensor.ts"
import type { Elements, Kernel, Operand } from "./kernel.ts"
import { groupedMatmul, groupedOuter, matmul } from "./products.ts"
import { alongAxis, elementsAt, indices, sources, takeAlong, takeEach } from "./walks.ts"

const unary =
  (f: (x: number) => number): Kernel<"exp"> =>
  ([x]) =>
    x.data.map(f)

const binary =
  (f: (a: number, b: number) => number, onIntegers = f): Kernel<"add"> =>
  ([a, b], _, out) => {
    const ia = sources(a.shape, out.shape)
    const ib = sources(b.shape, out.shape)
    const g = a.dtype.startsWith("i") ? onIntegers : f
    const result = new Float64Array(ia.length)
    for (let n = 0; n < result.length; n++) result[n] = g(a.data[ia[n]!]!, b.data[ib[n]!]!)
    return result
  }

const softmaxLines = (x: Operand, axis: number, log: boolean): Elements => {
  const out = new Float64Array(x.data.length)
  alongAxis(x.shape, axis, (start, stride, length) => {
    let peak = -Infinity
    for (let i = 0; i < length; i++) peak = Math.max(peak, x.data[start + i * stride]!)
    let total = 0
    for (let i = 0; i < length; i++) total += Math.exp(x.data[start + i * stride]! - peak)
    for (let i = 0; i < length; i++) {
      const shifted = x.data[start + i * stride]! - peak
      out[start + i * stride] = log ? shifted - Math.log(total) : Math.exp(shifted) / total
    }
  })
  return out
}

const reduce =
  (initial: number, f: (a: number, b: number) => number): Kernel<"sum" | "max"> =>
  ([x], { axes }, out) => {
    const result = new Float64Array(elements(out.shape)).fill(initial)
    const kept = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size))
    const target = indices(
      x.shape,
      rowMajorStrides(kept).map((stride, axis) => (axes.includes(axis) ? 0 : stride))
    )
    for (let i = 0; i < target.length; i++) result[target[i]!] = f(result[target[i]!]!, x.data[i]!)
    return result
  }

/** erf by its series of positive terms: 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!! */
const erf = (x: number): number => {
  if (Number.isNaN(x)) return NaN
  if (Math.abs(x) > 6) return Math.sign(x)
  let term = x
  let sum = x
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-18; n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

const largest = (a: number, b: number): number => Math.max(a, b)

export const kernels: { readonly [O in ProgramOp]: Kernel<O> } = {
  iota: (_, { axis, shape }) =>
    Float64Array.from(
      indices(
        shape,
        shape.map((_size, i) => Number(i === axis))
      )
    ),
  random: ([key], { shape }) =>
    Float64Array.from({ length: elements(shape) }, (_, i) => uniformAt([key.data[0]!, key.data[1]!], i)),

  neg: unary(x => -x),
  abs: unary(Math.abs),
  sign: unary(Math.sign),
  floor: unary(Math.floor),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sqrt: unary(Math.sqrt),
  rsqrt: unary(x => 1 / Math.sqrt(x)),
  sin: unary(Math.sin),
  cos: unary(Math.cos),
  tanh: unary(Math.tanh),
  erf: unary(erf),
  sigmoid: unary(x => 1 / (1 + Math.exp(-x))),
  not: unary(x => 1 - x),
  cast: ([x], { dtype }) =>
    x.data.map(dtype === "bool" ? x => Number(x !== 0) : isInteger(dtype) ? Math.trunc : x => x),

  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: binary(
    (a, b) => a * b,
    (a, b) => Number(BigInt(a) * BigInt(b))
  ),
  div: binary(
    (a, b) => a / b,
    (a, b) => Math.trunc(a / b)
  ),
  rem: binary((a, b) => a % b),
  pow: binary((a, b) => a ** b),
  maximum: binary(Math.max),
  minimum: binary(Math.min),
  and: binary((a, b) => a * b),
  or: binary((a, b) => Math.max(a, b)),
  equal: binary((a, b) => Number(a === b)),
  less: binary((a, b) => Number(a < b)),
  lessEqual: binary((a, b) => Number(a <= b)),
  select: ([condition, a, b], _, out) => {
    const ic = sources(condition.shape, out.shape)
    const ia = sources(a.shape, out.shape)
    const ib = sources(b.shape, out.shape)
    const result = new Float64Array(ic.length)
    for (let n = 0; n < result.length; n++) result[n] = condition.data[ic[n]!] !== 0 ? a.data[ia[n]!]! : b.data[ib[n]!]!
    return result
  },

  matmul,
  groupedMatmul,
  groupedOuter,
  sum: reduce(0, (a, b) => a + b),
  max: reduce(-Infinity, largest),
  argmax: ([x], { axis }) => {
    const found: Array<number> = []
    alongAxis(x.shape, axis, (start, stride, length) => {
      let best = 0
      for (let i = 1; i < length; i++) if (x.data[start + i * stride]! > x.data[start + best * stride]!) best = i
      found.push(best)
    })
    return Float64Array.from(found)
  },
  topK: ([x], { k }) => {
    const values: Array<number> = []
    const where: Array<number> = []
    alongAxis(x.shape, x.shape.length - 1, (start, _, length) => {
      const order = Array.from({ length }, (_element, i) => i)
      order.sort((i, j) => x.data[start + j]! - x.data[start + i]! || i - j)
      for (const i of order.slice(0, k)) {
        values.push(x.data[start + i]!)
        where.push(i)
      }
    })
    return [Float64Array.from(values), Float64Array.from(where)]
  },
  cumulativeSum: ([x], { axis, reverse }) => {
    const out = new Float64Array(x.data.length)
    alongAxis(x.shape, axis, (start, stride, length) => {
      let sum = 0
      for (let i = 0; i < length; i++) {
        const at = start + (reverse ? length - 1 - i : i) * stride
        sum += x.data[at]!
        out[at] = sum
      }
    })
    return out
  },
  softmax: ([x], { axis }) => softmaxLines(x, axis, false),
  logSoftmax: ([x], { axis }) => softmaxLines(x, axis, true),
  rmsNorm: ([x, weight], { epsilon }) => {
    const out = new Float64Array(x.data.length)
    alongAxis(x.shape, x.shape.length - 1, (start, _, length) => {
      let squares = 0
      for (let i = 0; i < length; i++) squares += x.data[start + i]! ** 2
      const inverse = 1 / Math.sqrt(squares / length + epsilon)
      for (let i = 0; i < length; i++) out[start + i] = weight.data[i]! * x.data[start + i]! * inverse
    })
    return out
  },
  rotate: ([x, cosines, sines]) => {
    const [, length, heads, size] = x.shape as [number, number, number, number]
    const half = size / 2
    const out = x.data.map((value, i) => {
      const place = i % size
      const token = Math.floor(i / (heads * size))
      const angle = (cosines.shape[0] === 1 ? token % length : token) * half + (place % half)
      const other = place < half ? -x.data[i + half]! : x.data[i - half]!
      return value * cosines.data[angle]! + other * sines.data[angle]!
    })
    return out
  },

  dequantiseNf4: ([packed, absmax], { blockSize }, out) =>
    Float64Array.from({ length: elements(out.shape) }, (_, i) => {
      const byte = packed.data[i >> 1]!
      return Math.fround(nf4Codes[i % 2 === 0 ? byte >> 4 : byte & 15]! * absmax.data[Math.floor(i / blockSize)]!)
    }),
  // One process.
  allReduce: ([x]) => x.data,

  gather: ([x, index], { axis }, out) => {
    const result = new Float64Array(elements(out.shape))
    takeAlong("gather", x, index, axis, (from, to) => (result[to] = x.data[from]!))
    return result
  },
  gatherAlong: ([x, index], { axis }) => {
    const result = new Float64Array(index.data.length)
    takeEach("gatherAlong", x, index, axis, (from, to) => (result[to] = x.data[from]!))
    return result
  },
  scatterAdd: ([x, index, updates], { axis }) => {
    const result = x.data.slice()
    takeAlong("scatterAdd", x, index, axis, (to, from) => (result[to]! += updates.data[from]!))
    return result
  },
  scatterAddAlong: ([x, index, updates], { axis }) => {
    const result = x.data.slice()
    takeEach("scatterAddAlong", x, index, axis, (to, from) => (result[to]! += updates.data[from]!))
    return result
  },

  reshape: ([x]) => x.data,
  transpose: ([x], { permutation }, out) => {
    const strides = rowMajorStrides(x.shape)
    const from = indices(
      out.shape,
      permutation.map(axis => strides[axis]!)
    )
    return elementsAt(x.data, from)
  },
  broadcastTo: ([x], { shape }) => elementsAt(x.data, sources(x.shape, shape)),
  concat: (parts, { axis }, out) => {
    const result = new Float64Array(elements(out.shape))
    const strides = rowMajorStrides(out.shape)
    let start = 0
    for (const part of parts) {
      const to = indices(part.shape, strides, start * strides[axis]!)
      for (let i = 0; i < to.length; i++) result[to[i]!] = part.data[i]!
      start += part.shape[axis]!
    }
    return result
  },
  slice: ([x], { starts, strides: every }, out) => {
    const strides = rowMajorStrides(x.shape)
    const first = strides.reduce((sum, stride, axis) => sum + stride * starts[axis]!, 0)
    const from = indices(
      out.shape,
      strides.map((stride, axis) => stride * every[axis]!),
      first
    )
    return Float64Array.from(from, i => x.data[i]!)
  },
  pad: ([x], { low, value }, out) => {
    const result = new Float64Array(elements(out.shape)).fill(value)
    const strides = rowMajorStrides(out.shape)
    const first = strides.reduce((sum, stride, axis) => sum + stride * low[axis]!, 0)
    const to = indices(x.shape, strides, first)
    for (const [i, element] of x.data.entries()) result[to[i]!] = element
    return result
  },
  after: ([value]) => value.data
}

/** The results of one instruction. */
export const apply = (
  { attributes, op }: Instruction,
  inputs: ReadonlyArray<Operand>,
  out: ValueType
): ReadonlyArray<Elements> => {
  const results = (kernels[op] as Kernel<ProgramOp>)(inputs as never, attributes as never, out)
  return results instanceof Float64Array ? [results] : results
}

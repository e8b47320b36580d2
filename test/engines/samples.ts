/**
 * What the declarations of ops do not say of their tests: shapes and attributes to try, and how exact results must be. A new op needs an entry:
 * one table, however long it gets.
 */
import { dtypes, floats } from "../../src/tensor/dtype.ts"
import * as ops from "../../src/tensor/ops.ts"
import type { Attributes, Operands, ProgramOp } from "../../src/tensor/primitives.ts"
import { type RandomKey, uniformAt } from "../../src/tensor/random.ts"
import { elements, type Shape, type Tensor } from "../../src/tensor/Tensor.ts"

/** How the elements of an input are drawn. */
export type Fill =
  | "normal" // floats around 0, small whole numbers
  | "positive"
  | "nonzero"
  | { readonly below: number } // indices

/** Cases of each dtype, where an op's sample does not say. */
export const usualRounds = 8

/** A stream of random choices, the same for the same key. */
export class Choices {
  readonly #key: RandomKey
  /** Of all cases of a dtype, from 0: what must not be left to chance goes by it. */
  readonly round: number
  #drawn = 0

  constructor(key: RandomKey, round: number) {
    this.#key = key
    this.round = round
  }
  /** A whole number, both ends included. */
  whole(low: number, high: number): number {
    return low + Math.floor(uniformAt(this.#key, this.#drawn++) * (high - low + 1))
  }
  pick<A>(list: ReadonlyArray<A>): A {
    return list[this.whole(0, list.length - 1)]!
  }
  /** The elements of a list one after the other. */
  turn<A>(list: ReadonlyArray<A>, every = 1): A {
    return list[Math.floor(this.round / every) % list.length]!
  }
  yes(): boolean {
    return this.whole(0, 1) === 1
  }
  /** Seldom 0, often 1. */
  size(least = 0): number {
    return Math.max(least, this.pick([0, 1, 1, 2, 2, 3, 3, 4, 5, 7]))
  }
  /** The last round's has an axis of the least size. */
  shape(lowestRank = 0, highestRank = 4, least = 0): Shape {
    const isLast = this.round % usualRounds === usualRounds - 1
    const shape = Array.from({ length: this.whole(isLast ? 1 : lowestRank, highestRank) }, () => this.size(least))
    return isLast ? shape.with(this.axis(shape), least) : shape
  }
  axis(shape: Shape): number {
    return this.whole(0, shape.length - 1)
  }
  /** A shape that broadcasts to another: leading axes left out, some sizes 1. */
  part(shape: Shape): Shape {
    return shape.slice(this.whole(0, shape.length)).map(size => (this.whole(0, 3) === 0 ? 1 : size))
  }
  permutation(rank: number): ReadonlyArray<number> {
    const left = Array.from({ length: rank }, (_, i) => i)
    return Array.from({ length: rank }, () => left.splice(this.whole(0, left.length - 1), 1)[0]!)
  }
}

export interface Drawn<O extends ProgramOp> {
  readonly shapes: Operands<O, Shape>
  readonly attributes: Attributes[O]
}

export interface Sample<O extends ProgramOp> {
  readonly draw: (choices: Choices) => Drawn<O>
  /** By default exact. */
  readonly ulps?: number
  /** Of operands in the op's own dtype. */
  readonly fill?: Fill | ((drawn: Drawn<O>) => Fill)
  readonly rounds?: number
  /** What is computed, where the op alone would show too little. */
  readonly f?: (...inputs: ReadonlyArray<Tensor>) => ReadonlyArray<Tensor>
}

const shapes: ReadonlyArray<Shape> = [[], [5], [3, 4], [2, 1, 3], [0, 3]]
const pairs: ReadonlyArray<readonly [Shape, Shape]> = [
  [
    [3, 4],
    [3, 4]
  ],
  [[3, 4], [4]],
  [
    [2, 1, 4],
    [3, 1]
  ],
  [[], [2, 3]],
  [[0, 3], [3]]
]

const unary = (ulps = 4, fill: Fill = "normal"): Sample<"exp"> => ({
  ulps,
  fill,
  draw: c => ({ shapes: [shapes[c.round] ?? c.shape()], attributes: {} })
})

const binary = (ulps = 2, fill: Fill = "normal"): Sample<"add"> => ({
  ulps,
  fill,
  draw: c => ({ shapes: pairs[c.round] ?? broadcasting(c, c.shape()), attributes: {} })
})

const broadcasting = (c: Choices, whole: Shape): readonly [Shape, Shape] =>
  c.yes() ? [whole, c.part(whole)] : [c.part(whole), whole]

/** Along an axis that has `least` elements. */
const along = (least: number, ulps = 0): Sample<"softmax"> => ({
  ulps,
  draw: c => {
    const shape = c.round === 0 ? [3, 17] : c.shape(1, 4, least)
    return { shapes: [shape], attributes: { axis: c.axis(shape) } }
  }
})

const reduction = (least: number, ulps: number): Sample<"sum"> => ({
  ulps,
  draw: c => {
    const shape = c.turn([c.shape(0, 4, least), [3, 4, 5]])
    return {
      shapes: [shape],
      attributes: { axes: shape.flatMap((_, axis) => (c.yes() ? [axis] : [])), keepDims: c.yes() }
    }
  }
})

/** An operand whose axis is not empty, with indices of any shape along it: what gather reads and scatterAdd adds to. */
const taken = (c: Choices) => {
  const shape = c.shape(1, 3)
  const axis = c.axis(shape)
  const x = shape.with(axis, c.size(1))
  const at = c.round === 0 ? [64] : c.shape(0, 2)
  return { attributes: { axis }, x, at, result: x.toSpliced(axis, 1, ...at) }
}

/** The same with indices of the operand's rank. */
const takenAlong = (c: Choices) => {
  const shape = c.shape(1, 3)
  const axis = c.axis(shape)
  const at = shape.with(axis, c.round === 0 ? 16 : c.size())
  return { attributes: { axis }, x: shape.with(axis, c.size(1)), at }
}

/** Rows in groups, of which some have none; sometimes rows for many groups. */
const grouped = (c: Choices) => ({
  n: c.turn([c.size(), 23, 64], 2),
  groups: c.turn([c.size(), 3, 9], 2),
  k: c.turn([c.size(), 17], 3),
  m: c.turn([c.size(), 7], 3)
})

/** Any shape, or a part of it, and attributes for it. */
const moved = <A>(attributesOf: (c: Choices, shape: Shape) => A, part = false) => ({
  draw: (c: Choices): { readonly shapes: readonly [Shape]; readonly attributes: A } => {
    const shape = c.shape()
    return { shapes: [part ? c.part(shape) : shape], attributes: attributesOf(c, shape) }
  }
})

export const samples: { readonly [O in ProgramOp]: Sample<O> } = {
  iota: {
    draw: c => {
      const shape = c.shape(1)
      return { shapes: [], attributes: { dtype: c.turn(["f32", "i32", "i64"]), shape, axis: c.axis(shape) } }
    }
  },
  random: { draw: c => ({ shapes: [[2]], attributes: { shape: c.shape() } }) },

  neg: unary(),
  abs: unary(),
  sign: unary(),
  floor: unary(),
  exp: unary(),
  log: unary(4, "positive"),
  sqrt: unary(4, "positive"),
  rsqrt: unary(4, "positive"),
  sin: unary(),
  cos: unary(),
  tanh: unary(16),
  erf: unary(16),
  sigmoid: unary(16),
  not: unary(),
  cast: {
    draw: c => ({ shapes: [c.shape()], attributes: { dtype: c.turn(dtypes) } }),
    fill: ({ attributes }) => (attributes.dtype === "u8" ? "positive" : "normal"),
    rounds: 2 * dtypes.length
  },

  add: binary(),
  sub: binary(),
  mul: binary(),
  div: binary(2, "nonzero"),
  rem: binary(2, "nonzero"),
  pow: binary(16, "positive"),
  maximum: binary(),
  minimum: binary(),
  and: binary(),
  or: binary(),
  equal: binary(),
  less: binary(),
  lessEqual: binary(),
  select: {
    draw: c => {
      const whole = c.shape()
      const [condition, a, b] = c.permutation(3).map(i => (i === 0 ? whole : c.part(whole)))
      return { shapes: [condition!, a!, b!], attributes: {} }
    }
  },

  matmul: {
    ulps: 32,
    rounds: 24,
    draw: c => {
      const [transposeA, transposeB] = [c.turn([false, true]), c.turn([false, true], 2)]
      const [m, k, n] = c.turn([false, true], 4) ? [5, 17, 7] : [c.size(), c.size(), c.size()]
      const [a, b] = broadcasting(c, c.shape(0, 2))
      return {
        shapes: [
          [...a, ...(transposeA ? [k, m] : [m, k])],
          [...b, ...(transposeB ? [n, k] : [k, n])]
        ],
        attributes: { transposeA, transposeB }
      }
    }
  },
  groupedMatmul: {
    ulps: 32,
    rounds: 24,
    draw: c => {
      const transposeB = c.turn([false, true])
      const { groups, k, m, n } = grouped(c)
      return { shapes: [[n, k], [groups, ...(transposeB ? [m, k] : [k, m])], [groups]], attributes: { transposeB } }
    }
  },
  groupedOuter: {
    ulps: 32,
    rounds: 24,
    draw: c => {
      const { groups, k, m, n } = grouped(c)
      return { shapes: [[n, k], [n, m], [groups]], attributes: {} }
    }
  },
  sum: reduction(0, 64),
  max: reduction(1, 0),
  argmax: along(1),
  topK: {
    draw: c => {
      const shape = [...c.shape(0, 2), c.turn([c.size(1), 17])]
      return { shapes: [shape], attributes: { k: c.whole(1, shape.at(-1)!) } }
    }
  },
  cumulativeSum: {
    ulps: 16,
    draw: c => {
      const { attributes, shapes: given } = along(0).draw(c)
      return { shapes: given, attributes: { ...attributes, reverse: c.turn([false, true]) } }
    }
  },
  softmax: along(0, 16),
  logSoftmax: along(0, 16),
  rmsNorm: {
    ulps: 16,
    draw: c => {
      const shape = [...c.shape(0, 3, 1), c.turn([c.size(1), 16])]
      return { shapes: [shape, shape.slice(-1)], attributes: { epsilon: c.turn([1e-6, 1e-3]) } }
    }
  },
  rotate: {
    ulps: 8,
    rounds: 12,
    draw: c => {
      const [batch, length, heads] = [c.size(), c.size(), c.size()]
      const half = c.turn([c.size(), c.size(), 24, 64])
      const angles = [c.yes() ? 1 : batch, length, half]
      return { shapes: [[batch, length, heads, 2 * half], angles, angles], attributes: {} }
    }
  },

  dequantiseNf4: {
    rounds: 24,
    draw: c => {
      const shape = c.turn([c.shape(1, 3), [5, 27], [3, 64]])
      const n = elements(shape)
      const blockSize = c.pick([1, 3, 4, 64])
      return {
        shapes: [[Math.ceil(n / 2)], [Math.ceil(n / blockSize)]],
        attributes: { shape, blockSize, dtype: c.turn(floats, 2) }
      }
    }
  },
  // In one process; the interop tests have two.
  allReduce: unary(0),

  gather: {
    draw: c => {
      const { at, attributes, x } = taken(c)
      return { shapes: [x, at], attributes }
    }
  },
  gatherAlong: {
    draw: c => {
      const { at, attributes, x } = takenAlong(c)
      return { shapes: [x, at], attributes }
    }
  },
  scatterAdd: {
    ulps: 64,
    draw: c => {
      const { at, attributes, result, x } = taken(c)
      return { shapes: [x, at, result], attributes }
    }
  },
  scatterAddAlong: {
    ulps: 32,
    draw: c => {
      const { at, attributes, x } = takenAlong(c)
      return { shapes: [x, at, at], attributes }
    }
  },

  reshape: moved((c, shape) => {
    const order = c.permutation(shape.length).map(axis => shape[axis]!)
    return { shape: c.yes() ? [1, ...order] : [...order, 1] }
  }),
  transpose: moved((c, shape) => ({ permutation: c.permutation(shape.length) })),
  broadcastTo: moved((_, shape) => ({ shape }), true),
  concat: {
    draw: c => {
      const shape = c.shape(1)
      const axis = c.axis(shape)
      const part = (): Shape => shape.with(axis, c.size())
      return { shapes: [part(), ...Array.from({ length: c.whole(1, 3) }, part)], attributes: { axis } }
    }
  },
  slice: moved((c, shape) => {
    const starts = shape.map(size => c.whole(0, size))
    return {
      starts,
      ends: shape.map((size, axis) => c.whole(starts[axis]!, size)),
      strides: shape.map(() => c.whole(1, 3))
    }
  }),
  pad: moved((c, shape) => ({
    low: shape.map(() => c.whole(0, 3)),
    high: shape.map(() => c.whole(0, 3)),
    value: c.whole(-3, 7)
  })),
  after: {
    draw: c => ({ shapes: [c.shape(1), c.shape()], attributes: {} }),
    f: (x, other) => [ops.concat([ops.after(x!, [ops.exp(ops.cast(other!, "f32"))]), x!], 0)]
  }
}

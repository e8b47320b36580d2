/** Cases of the conformance suite with random shapes, axes and attributes: any rank up to 4, sizes of 1 and 0 among them. */
import { dtypes as all, type DType } from "../../src/tensor/dtype.ts"
import * as ops from "../../src/tensor/ops.ts"
import type { ProgramOp } from "../../src/tensor/primitives.ts"
import { randomKey, type RandomKey, uniformAt } from "../../src/tensor/random.ts"
import { elements, type Shape, type Tensor } from "../../src/tensor/Tensor.ts"
import { type Case, type Fill, floats, numbers } from "./conformance.ts"

/** A stream of random choices: the same key gives the same ones. Dtypes come in turns, so that some consecutive cases have them all. */
class Choices {
  readonly #key: RandomKey
  readonly #turn: number
  #drawn = 0

  constructor(key: RandomKey, turn: number) {
    this.#key = key
    this.#turn = turn
  }
  dtype<D extends DType>(list: ReadonlyArray<D>): D {
    return list[this.#turn % list.length]!
  }
  /** A whole number, both ends included. */
  whole(low: number, high: number): number {
    return low + Math.floor(uniformAt(this.#key, this.#drawn++) * (high - low + 1))
  }
  pick<A>(list: ReadonlyArray<A>): A {
    return list[this.whole(0, list.length - 1)]!
  }
  yes(): boolean {
    return this.whole(0, 1) === 1
  }
  /** Seldom 0, often 1. */
  size(least = 0): number {
    return Math.max(least, this.pick([0, 1, 1, 2, 2, 3, 3, 4, 5, 7]))
  }
  shape(lowestRank = 0, highestRank = 4, least = 0): Shape {
    return Array.from({ length: this.whole(lowestRank, highestRank) }, () => this.size(least))
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

type Make = (choices: Choices) => Case

const unary =
  (f: (x: Tensor) => Tensor, dtypes: ReadonlyArray<DType> = floats, fill: Fill = "normal", ulps = 16): Make =>
  choices => ({
    inputs: [{ dtype: choices.dtype(dtypes), shape: choices.shape(), fill }],
    f: x => f(x!),
    ulps
  })

const binary =
  (f: (a: Tensor, b: Tensor) => Tensor, dtypes = numbers, fill: Fill = "normal", ulps = 4): Make =>
  choices => {
    const dtype = choices.dtype(dtypes)
    const whole = choices.shape()
    const shapes = choices.yes() ? [whole, choices.part(whole)] : [choices.part(whole), whole]
    return { inputs: shapes.map(shape => ({ dtype, shape, fill })), f: (a, b) => f(a!, b!), ulps }
  }

/** A function of a tensor and one of its axes. */
const along =
  (
    f: (x: Tensor, axis: number) => Tensor,
    dtypes: ReadonlyArray<DType>,
    { least = 0, ulps = 32 }: { readonly least?: number; readonly ulps?: number } = {}
  ): Make =>
  choices => {
    const shape = choices.shape(1, 4, least)
    const axis = choices.axis(shape)
    return { inputs: [{ dtype: choices.dtype(dtypes), shape }], f: x => f(x!, axis), ulps }
  }

const reduction =
  (f: typeof ops.sum, least: number): Make =>
  choices => {
    const shape = choices.shape(0, 4, least)
    const axes = shape.flatMap((_, axis) => (choices.yes() ? [axis] : []))
    const keepDims = choices.yes()
    return {
      inputs: [{ dtype: choices.dtype(numbers), shape }],
      f: x => f(x!, axes, { keepDims }),
      ulps: 64
    }
  }

const indexDtypes = ["i32", "i64"] as const

/** An operand whose axis is not empty, with indices of any shape along it: what gather reads and scatterAdd adds to. */
const taken = (choices: Choices, dtypes: ReadonlyArray<DType>) => {
  const dtype = choices.dtype(dtypes)
  const shape = choices.shape(1, 3)
  const axis = choices.axis(shape)
  const x = shape.with(axis, choices.size(1))
  const at = choices.shape(0, 2)
  const index = { dtype: choices.pick(indexDtypes), shape: at, fill: { below: x[axis]! } }
  return { axis, inputs: [{ dtype, shape: x }, index], result: x.toSpliced(axis, 1, ...at), dtype }
}

/** The same with indices of the operand's rank. */
const takenAlong = (choices: Choices, dtypes: ReadonlyArray<DType>) => {
  const dtype = choices.dtype(dtypes)
  const shape = choices.shape(1, 3)
  const axis = choices.axis(shape)
  const x = shape.with(axis, choices.size(1))
  const result = shape.with(axis, choices.size())
  const index = { dtype: choices.pick(indexDtypes), shape: result, fill: { below: x[axis]! } }
  return { axis, inputs: [{ dtype, shape: x }, index], result, dtype }
}

export const randomCases: { readonly [op in ProgramOp]: Make } = {
  iota: choices => {
    const dtype = choices.dtype(["f32", "i32", "i64"] as const)
    const shape = choices.shape(1)
    const axis = choices.axis(shape)
    return { inputs: [{ dtype, shape: [] }], f: x => ops.add(ops.iota(dtype, shape, axis), x!) }
  },
  random: choices => {
    const shape = choices.shape()
    return {
      inputs: [{ dtype: "i64", shape: [2], fill: { below: 2 ** 32 } }],
      f: key => ops.random(key!, shape),
      ulps: 0
    }
  },

  neg: unary(ops.neg, numbers),
  abs: unary(ops.abs, numbers),
  sign: unary(ops.sign, numbers),
  floor: unary(ops.floor),
  exp: unary(ops.exp),
  log: unary(ops.log, floats, "positive"),
  sqrt: unary(ops.sqrt, floats, "positive"),
  rsqrt: unary(ops.rsqrt, floats, "positive"),
  sin: unary(ops.sin),
  cos: unary(ops.cos),
  tanh: unary(ops.tanh),
  erf: unary(ops.erf),
  sigmoid: unary(ops.sigmoid),
  not: unary(ops.not, ["bool"]),
  cast: choices => {
    const to = choices.pick(all)
    return {
      inputs: [{ dtype: choices.dtype(all), shape: choices.shape(), fill: to === "u8" ? "positive" : "normal" }],
      f: x => ops.cast(x!, to),
      ulps: 0
    }
  },

  add: binary(ops.add),
  sub: binary(ops.sub),
  mul: binary(ops.mul),
  div: binary(ops.div, numbers, "nonzero"),
  rem: binary(ops.rem, numbers, "nonzero"),
  pow: binary(ops.pow, floats, "positive", 16),
  maximum: binary(ops.maximum),
  minimum: binary(ops.minimum),
  and: binary(ops.and, ["bool"]),
  or: binary(ops.or, ["bool"]),
  equal: binary(ops.equal, all),
  less: binary(ops.less, [...numbers, "u8"]),
  lessEqual: binary(ops.lessEqual, [...numbers, "u8"]),
  select: choices => {
    const dtype = choices.dtype(all)
    const whole = choices.shape()
    const [condition, a, b] = choices.permutation(3).map(i => (i === 0 ? whole : choices.part(whole)))
    return {
      inputs: [
        { dtype: "bool", shape: condition! },
        { dtype, shape: a! },
        { dtype, shape: b! }
      ],
      f: (c, x, y) => ops.select(c!, x!, y!)
    }
  },

  matmul: choices => {
    const dtype = choices.dtype(floats)
    const [m, k, n] = [choices.size(), choices.size(), choices.size()]
    const batch = choices.shape(0, 2)
    const batches = choices.yes() ? [batch, choices.part(batch)] : [choices.part(batch), batch]
    const [transposeA, transposeB] = [choices.yes(), choices.yes()]
    return {
      inputs: [
        { dtype, shape: [...batches[0]!, ...(transposeA ? [k, m] : [m, k])] },
        { dtype, shape: [...batches[1]!, ...(transposeB ? [n, k] : [k, n])] }
      ],
      f: (a, b) => ops.matmul(a!, b!, { transposeA, transposeB }),
      ulps: 32
    }
  },
  sum: reduction(ops.sum, 0),
  max: reduction(ops.max, 1),
  argmax: along((x, axis) => ops.argmax(x, axis), numbers, { least: 1 }),
  topK: choices => {
    const shape = [...choices.shape(0, 2), choices.size(1)]
    const k = choices.whole(1, shape.at(-1)!)
    const what = choices.pick(["values", "indices"] as const)
    return { inputs: [{ dtype: choices.dtype(numbers), shape }], f: x => ops.topK(x!, k)[what] }
  },
  cumulativeSum: choices => {
    const reverse = choices.yes()
    return along((x, axis) => ops.cumulativeSum(x, axis, { reverse }), numbers)(choices)
  },
  softmax: along((x, axis) => ops.softmax(x, axis), floats),
  logSoftmax: along((x, axis) => ops.logSoftmax(x, axis), floats),
  rmsNorm: choices => {
    const dtype = choices.dtype(floats)
    const shape = choices.shape(1, 4, 1)
    return {
      inputs: [
        { dtype, shape },
        { dtype, shape: shape.slice(-1) }
      ],
      f: (x, w) => ops.rmsNorm(x!, w!, 1e-3),
      ulps: 32
    }
  },
  rotate: choices => {
    const dtype = choices.dtype(floats)
    const [batch, length, heads, half] = [choices.size(), choices.size(), choices.size(), choices.size()] as const
    const angles = { dtype, shape: [choices.yes() ? 1 : batch, length, half] }
    return {
      inputs: [{ dtype, shape: [batch, length, heads, 2 * half] }, angles, angles],
      f: (x, c, s) => ops.rotate(x!, c!, s!),
      ulps: 16
    }
  },

  dequantiseNf4: choices => {
    const shape = choices.shape(1, 3)
    const n = elements(shape)
    const blockSize = choices.pick([1, 3, 4, 64])
    const dtype = choices.dtype(floats)
    return {
      inputs: [
        { dtype: "u8", shape: [Math.ceil(n / 2)], fill: { below: 256 } },
        { dtype: "f32", shape: [Math.ceil(n / blockSize)] }
      ],
      f: (packed, absmax) => ops.dequantiseNf4(packed!, absmax!, { shape, blockSize, dtype })
    }
  },
  // In one process; the interop tests have two.
  allReduce: unary(ops.allReduce, numbers),

  gather: choices => {
    const { axis, inputs } = taken(choices, all)
    return { inputs, f: (x, at) => ops.gather(x!, at!, axis) }
  },
  gatherAlong: choices => {
    const { axis, inputs } = takenAlong(choices, all)
    return { inputs, f: (x, at) => ops.gatherAlong(x!, at!, axis) }
  },
  scatterAdd: choices => {
    const { axis, dtype, inputs, result } = taken(choices, numbers)
    return {
      inputs: [...inputs, { dtype, shape: result }],
      f: (x, at, updates) => ops.scatterAdd(x!, at!, updates!, axis),
      ulps: 64
    }
  },
  scatterAddAlong: choices => {
    const { axis, dtype, inputs, result } = takenAlong(choices, numbers)
    return {
      inputs: [...inputs, { dtype, shape: result }],
      f: (x, at, updates) => ops.scatterAddAlong(x!, at!, updates!, axis),
      ulps: 64
    }
  },

  reshape: choices => {
    const shape = choices.shape()
    const order = choices.permutation(shape.length).map(axis => shape[axis]!)
    const to = choices.yes() ? [1, ...order] : [...order, 1]
    return { inputs: [{ dtype: choices.dtype(all), shape }], f: x => ops.reshape(x!, to) }
  },
  transpose: choices => {
    const shape = choices.shape()
    const order = choices.permutation(shape.length)
    return { inputs: [{ dtype: choices.dtype(all), shape }], f: x => ops.transpose(x!, order) }
  },
  broadcastTo: choices => {
    const shape = choices.shape()
    return { inputs: [{ dtype: choices.dtype(all), shape: choices.part(shape) }], f: x => ops.broadcastTo(x!, shape) }
  },
  concat: choices => {
    const dtype = choices.dtype(all)
    const shape = choices.shape(1)
    const axis = choices.axis(shape)
    const parts = Array.from({ length: choices.whole(2, 4) }, () => shape.with(axis, choices.size()))
    return { inputs: parts.map(part => ({ dtype, shape: part })), f: (...x) => ops.concat(x, axis) }
  },
  slice: choices => {
    const shape = choices.shape()
    const starts = shape.map(size => choices.whole(0, size))
    const ends = shape.map((size, axis) => choices.whole(starts[axis]!, size))
    const strides = shape.map(() => choices.whole(1, 3))
    return { inputs: [{ dtype: choices.dtype(all), shape }], f: x => ops.slice(x!, starts, ends, strides) }
  },
  pad: choices => {
    const shape = choices.shape()
    const [low, high] = [shape.map(() => choices.whole(0, 3)), shape.map(() => choices.whole(0, 3))]
    const value = choices.whole(-3, 3)
    return { inputs: [{ dtype: choices.dtype(numbers), shape }], f: x => ops.pad(x!, low, high, value) }
  },
  after: choices => ({
    inputs: [
      { dtype: choices.dtype(all), shape: choices.shape(1) },
      { dtype: "f32", shape: choices.shape() }
    ],
    f: (x, other) => ops.concat([ops.after(x!, [ops.exp(other!)]), x!], 0)
  })
}

/** Random case `i` of an op. */
export const randomCase = (op: ProgramOp, i: number): Case =>
  randomCases[op](new Choices(randomKey(i, `shapes of ${op}`), i))

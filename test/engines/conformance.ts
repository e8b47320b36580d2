/**
 * What every engine must compute: each op, for each dtype that it takes, on shapes that broadcast, have size 1 or are empty. The reference
 * engine is the judge. A list, so that other engines and other languages can run the same cases.
 */
import { isFloat, type DType } from "../../src/tensor/dtype.ts"
import * as ops from "../../src/tensor/ops.ts"
import type { ProgramOp } from "../../src/tensor/primitives.ts"
import { randomKey, uniforms } from "../../src/tensor/random.ts"
import { elements, type Shape, type Tensor } from "../../src/tensor/Tensor.ts"

/** How the elements of an input are drawn. */
export type Fill =
  | "normal" // floats around 0, small whole numbers
  | "positive"
  | "nonzero"
  | { readonly below: number } // indices

export interface Input {
  readonly dtype: DType
  readonly shape: Shape
  readonly fill?: Fill
}

export interface Case {
  readonly inputs: ReadonlyArray<Input>
  readonly f: (...inputs: ReadonlyArray<Tensor>) => Tensor
  /** Sums of many products lose more than the last bit: allowed error in units of the dtype's last place. */
  readonly ulps?: number
}

export const floats: ReadonlyArray<DType> = ["f32", "f16", "bf16"]
export const numbers: ReadonlyArray<DType> = [...floats, "i32", "i64"]
const all: ReadonlyArray<DType> = [...numbers, "u8", "bool"]

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

const unary = (
  f: (x: Tensor) => Tensor,
  dtypes: ReadonlyArray<DType> = floats,
  fill: Fill = "normal",
  ulps = 4
): ReadonlyArray<Case> =>
  dtypes.flatMap(dtype => shapes.map(shape => ({ inputs: [{ dtype, shape, fill }], f: x => f(x!), ulps })))

const binary = (
  f: (a: Tensor, b: Tensor) => Tensor,
  dtypes: ReadonlyArray<DType> = numbers,
  fill: Fill = "normal",
  ulps = 2
): ReadonlyArray<Case> =>
  dtypes.flatMap(dtype =>
    pairs.map(([a, b]) => ({
      inputs: [
        { dtype, shape: a, fill },
        { dtype, shape: b, fill }
      ],
      f: (x, y) => f(x!, y!),
      ulps
    }))
  )

/** One case for each dtype. */
const each = (dtypes: ReadonlyArray<DType>, make: (dtype: DType) => ReadonlyArray<Case>): ReadonlyArray<Case> =>
  dtypes.flatMap(make)

const x = (dtype: DType, ...shape: ReadonlyArray<number>): Input => ({ dtype, shape })
const at = (below: number, dtype: "i32" | "i64", ...shape: ReadonlyArray<number>): Input => ({
  dtype,
  shape,
  fill: { below }
})

const matmuls = (dtype: DType): ReadonlyArray<Case> =>
  [false, true].flatMap(transposeA =>
    [false, true].flatMap(transposeB =>
      [
        [[], []],
        [[3], []],
        [[], [3]],
        [[2, 1], [3]],
        [[0], []]
      ].map(([batchA, batchB]): Case => ({
        inputs: [
          x(dtype, ...batchA!, ...(transposeA ? [17, 5] : [5, 17])),
          x(dtype, ...batchB!, ...(transposeB ? [7, 17] : [17, 7]))
        ],
        f: (a, b) => ops.matmul(a!, b!, { transposeA, transposeB }),
        ulps: 32
      }))
    )
  )

export const conformance: { readonly [op in ProgramOp]: ReadonlyArray<Case> } = {
  iota: (["f32", "i32", "i64"] as const).map(dtype => ({
    inputs: [x(dtype, 3)],
    f: a => ops.add(ops.iota(dtype, [2, 3], 1), a!)
  })),
  random: [[7], [2, 3], [4, 1, 5]].map(shape => ({
    inputs: [{ dtype: "i64", shape: [2], fill: { below: 2 ** 32 } }],
    f: key => ops.random(key!, shape),
    ulps: 0
  })),

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
  tanh: unary(ops.tanh, floats, "normal", 16),
  erf: unary(ops.erf, floats, "normal", 16),
  sigmoid: unary(ops.sigmoid, floats, "normal", 16),
  not: unary(ops.not, ["bool"]),
  cast: all.flatMap(from =>
    all.map((to): Case => ({
      inputs: [{ dtype: from, shape: [3, 4], fill: to === "u8" ? "positive" : "normal" }],
      f: a => ops.cast(a!, to),
      ulps: 0
    }))
  ),

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
  select: each(all, dtype =>
    pairs.map(([a, b]) => ({
      inputs: [x("bool", ...a), x(dtype, ...a), x(dtype, ...b)],
      f: (c, y, z) => ops.select(c!, y!, z!)
    }))
  ),

  matmul: each(floats, matmuls),
  sum: each(numbers, dtype => [
    { inputs: [x(dtype, 3, 4)], f: a => ops.sum(a!), ulps: 16 },
    { inputs: [x(dtype, 3, 4, 5)], f: a => ops.sum(a!, [0, 2]), ulps: 16 },
    { inputs: [x(dtype, 3, 4)], f: a => ops.sum(a!, 1, { keepDims: true }), ulps: 16 },
    { inputs: [x(dtype)], f: a => ops.sum(a!) }
  ]),
  max: each(numbers, dtype => [
    { inputs: [x(dtype, 3, 4)], f: a => ops.max(a!) },
    { inputs: [x(dtype, 3, 4, 5)], f: a => ops.max(a!, [0, 2], { keepDims: true }) }
  ]),
  argmax: each(numbers, dtype => [
    { inputs: [x(dtype, 3, 7)], f: a => ops.argmax(a!) },
    { inputs: [x(dtype, 3, 4, 5)], f: a => ops.argmax(a!, 1) }
  ]),
  topK: each(numbers, dtype => [
    { inputs: [x(dtype, 3, 17)], f: a => ops.topK(a!, 5).values },
    { inputs: [x(dtype, 3, 17)], f: a => ops.topK(a!, 17).indices }
  ]),
  cumulativeSum: each(numbers, dtype => [
    { inputs: [x(dtype, 3, 4)], f: a => ops.cumulativeSum(a!, 1), ulps: 16 },
    { inputs: [x(dtype, 3, 4)], f: a => ops.cumulativeSum(a!, 0, { reverse: true }), ulps: 16 }
  ]),
  softmax: each(floats, dtype => [
    { inputs: [x(dtype, 3, 9)], f: a => ops.softmax(a!), ulps: 16 },
    { inputs: [x(dtype, 3, 4, 5)], f: a => ops.softmax(a!, 1), ulps: 16 }
  ]),
  logSoftmax: each(floats, dtype => [
    { inputs: [x(dtype, 3, 9)], f: a => ops.logSoftmax(a!), ulps: 16 },
    { inputs: [x(dtype, 3, 4, 5)], f: a => ops.logSoftmax(a!, 1), ulps: 16 }
  ]),
  rmsNorm: each(floats, dtype => [
    { inputs: [x(dtype, 3, 16), x(dtype, 16)], f: (a, w) => ops.rmsNorm(a!, w!, 1e-6), ulps: 16 },
    { inputs: [x(dtype, 2, 3, 2, 5), x(dtype, 5)], f: (a, w) => ops.rmsNorm(a!, w!, 1e-3), ulps: 16 }
  ]),
  rotate: each(floats, dtype =>
    (
      [
        [2, 3, 4, 8, 2],
        [2, 3, 1, 2, 1],
        [1, 5, 2, 6, 1],
        [3, 2, 3, 48, 1],
        [2, 1, 2, 128, 2],
        [0, 2, 1, 4, 0]
      ] as const
    ).map(([batch, length, heads, size, rows]) => ({
      inputs: [
        x(dtype, batch, length, heads, size),
        x(dtype, rows, length, size / 2),
        x(dtype, rows, length, size / 2)
      ],
      f: (a, c, s) => ops.rotate(a!, c!, s!),
      ulps: 8
    }))
  ),
  dequantiseNf4: each(floats, dtype =>
    (
      [
        [[3, 64], 64],
        [[5, 27], 64],
        [[7], 3],
        [[2, 3, 4], 5],
        [[0], 64]
      ] as const
    ).map(([shape, blockSize]): Case => {
      const n = elements(shape)
      return {
        inputs: [{ dtype: "u8", shape: [Math.ceil(n / 2)], fill: { below: 256 } }, x("f32", Math.ceil(n / blockSize))],
        f: (packed, absmax) => ops.dequantiseNf4(packed!, absmax!, { shape, blockSize, dtype })
      }
    })
  ),
  // In one process; test/interop has two.
  allReduce: each(numbers, dtype => [{ inputs: [x(dtype, 3, 4)], f: a => ops.allReduce(a!) }]),

  gather: each(all, dtype => [
    { inputs: [x(dtype, 5, 3), at(5, "i32", 4)], f: (a, i) => ops.gather(a!, i!) },
    { inputs: [x(dtype, 2, 5, 3), at(5, "i64", 2, 2)], f: (a, i) => ops.gather(a!, i!, 1) }
  ]),
  gatherAlong: each(all, dtype => [
    { inputs: [x(dtype, 5, 3), at(5, "i32", 4, 3)], f: (a, i) => ops.gatherAlong(a!, i!, 0) },
    { inputs: [x(dtype, 2, 5), at(5, "i64", 2, 7)], f: (a, i) => ops.gatherAlong(a!, i!, 1) }
  ]),
  scatterAdd: each(numbers, dtype => [
    {
      inputs: [x(dtype, 5, 3), at(5, "i32", 64), x(dtype, 64, 3)],
      f: (a, i, u) => ops.scatterAdd(a!, i!, u!),
      ulps: 64
    },
    {
      inputs: [x(dtype, 2, 5, 3), at(5, "i64", 2, 4), x(dtype, 2, 2, 4, 3)],
      f: (a, i, u) => ops.scatterAdd(a!, i!, u!, 1),
      ulps: 32
    }
  ]),
  scatterAddAlong: each(numbers, dtype => [
    {
      inputs: [x(dtype, 5, 3), at(5, "i32", 16, 3), x(dtype, 16, 3)],
      f: (a, i, u) => ops.scatterAddAlong(a!, i!, u!, 0),
      ulps: 32
    },
    {
      inputs: [x(dtype, 2, 5), at(5, "i64", 2, 7), x(dtype, 2, 7)],
      f: (a, i, u) => ops.scatterAddAlong(a!, i!, u!, 1),
      ulps: 32
    }
  ]),

  reshape: unary(a => ops.reshape(a, [1, ...a.shape]), all),
  transpose: each(all, dtype => [{ inputs: [x(dtype, 2, 3, 4)], f: a => ops.transpose(a!, [2, 0, 1]) }]),
  broadcastTo: each(all, dtype => [{ inputs: [x(dtype, 2, 1)], f: a => ops.broadcastTo(a!, [3, 2, 4]) }]),
  concat: each(all, dtype => [{ inputs: [x(dtype, 2, 1), x(dtype, 2, 3)], f: (a, b) => ops.concat([a!, b!, a!], 1) }]),
  slice: each(all, dtype => [
    { inputs: [x(dtype, 5, 6)], f: a => ops.slice(a!, [1, 0], [4, 6], [1, 2]) },
    { inputs: [x(dtype, 5, 6)], f: a => ops.slice(a!, [2, 0], [2, 6]) }
  ]),
  pad: each(numbers, dtype => [{ inputs: [x(dtype, 2, 3)], f: a => ops.pad(a!, [1, 0], [0, 2], 7) }]),
  after: each(all, dtype => [
    { inputs: [x(dtype, 3), x("f32", 2)], f: (a, b) => ops.concat([ops.after(a!, [ops.exp(b!)]), a!], 0) }
  ])
}

/** The elements of a case's input, the same on every machine. */
export const draw = ({ dtype, fill = "normal", shape }: Input, seed: number): Float64Array => {
  const u = uniforms(randomKey(seed, "conformance"), elements(shape))
  return Float64Array.from(u, value => {
    if (typeof fill === "object") return Math.floor(value * fill.below)
    if (dtype === "bool") return Number(value < 0.5)
    const spread = isFloat(dtype) ? 6 * value - 3 : Math.floor(13 * value) - 6
    if (fill === "positive" || dtype === "u8") return Math.abs(spread) + (isFloat(dtype) ? 0.1 : 0)
    if (fill === "nonzero") return spread + (spread < 0 ? -0.5 : 0.5) * (isFloat(dtype) ? 1 : 2)
    return spread
  })
}

/** Distance of neighbours near 1. */
export const lastPlace: { readonly [D in DType]: number } = {
  f32: 2 ** -23,
  f16: 2 ** -10,
  bf16: 2 ** -7,
  i32: 0,
  i64: 0,
  u8: 0,
  bool: 0
}

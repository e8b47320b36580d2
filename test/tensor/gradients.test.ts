import { describe, expect, it } from "vitest"
import { evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { gradients, vjp } from "../../src/tensor/autodiff.ts"
import * as composites from "../../src/tensor/composites.ts"
import * as ops from "../../src/tensor/ops.ts"
import type { Op } from "../../src/tensor/primitives.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { rules } from "../../src/tensor/rules.ts"
import { normals, randomKey, uniforms } from "../../src/tensor/random.ts"
import { elements, type Shape, type Tensor } from "../../src/tensor/Tensor.ts"

interface Case {
  readonly shapes: ReadonlyArray<Shape>
  readonly f: (...x: ReadonlyArray<Tensor>) => Tensor
  /** Maps standard normal numbers to where the function is smooth. */
  readonly domain?: (x: number, i: number) => number
}

const positive = (x: number): number => Math.abs(x) + 0.5
const awayFromZero = (x: number): number => x + Math.sign(x || 1) * 0.3
const one = (f: (x: Tensor) => Tensor, domain?: Case["domain"], shape: Shape = [2, 3]): ReadonlyArray<Case> => [
  { shapes: [shape], f: x => f(x!), ...(domain === undefined ? {} : { domain }) }
]
/** Two operands, alike and broadcast in both directions. */
const two = (f: (a: Tensor, b: Tensor) => Tensor, domain?: Case["domain"]): ReadonlyArray<Case> =>
  [
    [
      [2, 3],
      [2, 3]
    ],
    [[2, 3], [3]],
    [
      [1, 3],
      [4, 2, 1]
    ],
    [[], [2, 2]]
  ].map(shapes => ({ shapes, f: (a, b) => f(a!, b!), ...(domain === undefined ? {} : { domain }) }))
const indices = (shape: Shape, ...values: ReadonlyArray<number>): Tensor =>
  ops.constant(Int32Array.from(values), "i32", shape)
/** Of six rows: one group without any, and a row behind all. */
const groups = indices([4], 2, 0, 1, 2)
const mask = ops.constant(Uint8Array.from([1, 0, 1]), "bool", [3])

/** Products of matrices under every combination of transposes and batch axes. */
const matmuls = [false, true].flatMap(transposeA =>
  [false, true].flatMap(transposeB =>
    [
      [[], []],
      [[3], []],
      [[], [3]],
      [[2, 1], [3]]
    ].map(([batchA, batchB]): Case => ({
      shapes: [
        [...batchA!, ...(transposeA ? [4, 2] : [2, 4])],
        [...batchB!, ...(transposeB ? [5, 4] : [4, 5])]
      ],
      f: (a, b) => ops.matmul(a!, b!, { transposeA, transposeB })
    }))
  )
)

const cases: { readonly [op in Op]?: ReadonlyArray<Case> } = {
  neg: one(ops.neg),
  abs: one(ops.abs, awayFromZero),
  exp: one(ops.exp),
  log: one(ops.log, positive),
  sqrt: one(ops.sqrt, positive),
  rsqrt: one(ops.rsqrt, positive),
  sin: one(ops.sin),
  cos: one(ops.cos),
  tanh: one(ops.tanh),
  erf: one(ops.erf),
  sigmoid: one(ops.sigmoid),
  cast: one(x => ops.cast(ops.cast(x, "bf16"), "f32")),
  add: two(ops.add),
  sub: two(ops.sub),
  mul: two(ops.mul),
  div: two(ops.div, awayFromZero),
  rem: [
    {
      shapes: [[4], [4]],
      f: (a, b) => ops.rem(a!, b!),
      domain: (_, i) => [5.3, -4.4, 3.1, 7.9, 2, 3, 1.3, -1.7][i % 8]!
    }
  ],
  pow: two(ops.pow, positive),
  maximum: two(ops.maximum),
  minimum: two(ops.minimum),
  select: two((a, b) => ops.select(mask, ops.broadcastTo(a, [4, 2, 3]), b)).slice(1, 3),
  matmul: matmuls,
  groupedMatmul: [false, true].map(transposeB => ({
    shapes: [[6, 3], transposeB ? [4, 2, 3] : [4, 3, 2]],
    f: (a, b) => ops.groupedMatmul(a!, b!, groups, { transposeB })
  })),
  groupedOuter: [
    {
      shapes: [
        [6, 3],
        [6, 2]
      ],
      f: (a, b) => ops.groupedOuter(a!, b!, groups)
    }
  ],
  sum: [
    ...one(x => ops.sum(x)),
    ...one(x => ops.sum(x, [0, 2], { keepDims: true }), undefined, [2, 3, 4]),
    ...one(x => ops.sum(x, 1))
  ],
  max: [...one(x => ops.max(x)), ...one(x => ops.max(x, [0, 2]), undefined, [2, 3, 4])],
  topK: one(x => ops.topK(x, 2).values, undefined, [3, 5]),
  cumulativeSum: [...one(x => ops.cumulativeSum(x, 1)), ...one(x => ops.cumulativeSum(x, 0, { reverse: true }))],
  softmax: [...one(x => ops.softmax(x)), ...one(x => ops.softmax(x, 0))],
  logSoftmax: [...one(x => ops.logSoftmax(x)), ...one(x => ops.logSoftmax(x, 0))],
  allReduce: one(ops.allReduce),
  rmsNorm: [{ shapes: [[2, 3, 4], [4]], f: (x, w) => ops.rmsNorm(x!, w!, 1e-3) }],
  rotate: [1, 2].map(rows => ({
    shapes: [
      [2, 3, 2, 6],
      [rows, 3, 3],
      [rows, 3, 3]
    ],
    f: (x, c, s) => ops.rotate(x!, c!, s!)
  })),
  gather: [
    ...one(x => ops.gather(x, indices([2, 2], 1, 0, 1, 1), 0)),
    ...one(x => ops.gather(x, indices([4], 2, 2, 0, 1), 1))
  ],
  gatherAlong: one(x => ops.gatherAlong(x, indices([2, 2], 1, 1, 0, 2), 1)),
  scatterAdd: [
    {
      shapes: [
        [3, 2],
        [4, 2]
      ],
      f: (x, u) => ops.scatterAdd(x!, indices([4], 1, 0, 1, 1), u!)
    },
    {
      shapes: [
        [2, 3],
        [2, 2, 2]
      ],
      f: (x, u) => ops.scatterAdd(x!, indices([2, 2], 2, 0, 2, 2), u!, 1)
    }
  ],
  scatterAddAlong: [
    {
      shapes: [
        [2, 3],
        [2, 2]
      ],
      f: (x, u) => ops.scatterAddAlong(x!, indices([2, 2], 1, 1, 0, 2), u!, 1)
    }
  ],
  reshape: one(x => ops.reshape(x, [3, -1])),
  transpose: one(x => ops.transpose(x, [2, 0, 1]), undefined, [2, 3, 4]),
  broadcastTo: one(x => ops.broadcastTo(x, [4, 2, 3]), undefined, [2, 1]),
  concat: [
    {
      shapes: [
        [2, 1],
        [2, 3]
      ],
      f: (a, b) => ops.concat([a!, b!, a!], 1)
    }
  ],
  slice: [
    ...one(x => ops.slice(x, [0, 1], [2, 3])),
    ...one(x => ops.slice(x, [1, 0], [6, 4], [2, 3]), undefined, [7, 5])
  ],
  pad: one(x => ops.pad(x, [1, 0], [0, 2], 7)),
  after: [{ shapes: [[2], [2]], f: (a, b) => ops.after(a!, [b!]) }],
  checkpoint: one(x => ops.checkpoint(() => ops.sin(ops.exp(x)))),
  customGradient: one(composites.silu)
}

/** Ops along which nothing flows, and leaves. */
const without: ReadonlyArray<Op> = [
  "input",
  "constant",
  "iota",
  "random",
  "dequantiseNf4",
  "sign",
  "floor",
  "not",
  "and",
  "or",
  "equal",
  "less",
  "lessEqual",
  "argmax",
  "stopGradient"
]

const close = (actual: ArrayLike<number>, expected: ReadonlyArray<number>, tolerance: number): void => {
  expect(actual.length).toBe(expected.length)
  for (const [i, value] of expected.entries())
    expect(Math.abs(actual[i]! - value), `element ${i}: ${actual[i]} against ${value}`).toBeLessThan(
      tolerance * (1 + Math.abs(value))
    )
}

/** Compares all gradients of a random weighting of the outputs with central differences in float64. */
const check = ({ domain = x => x, f, shapes }: Case, seed: number): void => {
  const inputs = shapes.map((shape, i) => ops.input(`x${i}`, "f32", shape))
  const output = f(...inputs)
  const weights = ops.constant(normals(randomKey(seed, "weights"), output.size), "f32", output.shape)
  const loss = ops.sum(ops.mul(output, weights))
  const values = Object.fromEntries(
    shapes.map((shape, i) => [
      `x${i}`,
      Float64Array.from(normals(randomKey(seed, "values", i), elements(shape)), (x, j) =>
        domain(x, j + i * elements(shape))
      )
    ])
  )
  const traced = evaluateTensors(Object.fromEntries(gradients(loss, inputs).map((g, i) => [`g${i}`, g])), values, {
    exact: true
  })
  const step = 1e-5
  for (const [i, shape] of shapes.entries()) {
    const expected = Array.from({ length: elements(shape) }, (_, j) => {
      const at = (delta: number): number => {
        const moved = values[`x${i}`]!.slice()
        moved[j]! += delta
        return evaluateTensors({ loss }, { ...values, [`x${i}`]: moved }, { exact: true })["loss"]![0]!
      }
      return (at(step) - at(-step)) / (2 * step)
    })
    close(traced[`g${i}`]!, expected, 1e-6)
  }
}

describe("gradients", () => {
  for (const [op, list] of Object.entries(cases))
    it(`of ${op} are the central differences`, () => {
      for (const [i, testCase] of list.entries()) for (let seed = 0; seed < 3; seed++) check(testCase, 100 * i + seed)
    })

  it("are tested for every op that has any", () => {
    expect([...Object.keys(cases), ...without].toSorted()).toEqual(Object.keys(rules).toSorted())
  })

  it("of composites are the central differences", () => {
    const targets = indices([3], 1, 4, 0)
    for (const f of [
      composites.gelu,
      composites.geluTanh,
      composites.silu,
      composites.softplus,
      composites.square,
      (x: Tensor) => composites.layerNorm(x),
      (x: Tensor) => composites.mean(x, 0),
      (x: Tensor) => composites.logSumExp(x)
    ])
      for (const testCase of one(f)) check(testCase, 7)
    for (const testCase of one(x => composites.softmaxCrossEntropy(x, targets), undefined, [3, 5])) check(testCase, 8)
  })

  it("do not pass what is stopped, and are zeros where nothing flows", () => {
    const x = ops.input("x", "f32", [2])
    const y = ops.input("y", "f32", [3])
    const loss = ops.sum(ops.mul(x, ops.stopGradient(ops.exp(x))))
    const [gx, gy] = gradients(loss, [x, y])
    const found = evaluateTensors({ gx: gx!, gy: gy! }, { x: [0, 1] }, { exact: true })
    close(found["gx"]!, [1, Math.E], 1e-12)
    close(found["gy"]!, [0, 0, 0], 1e-12)
  })

  it("add up over several uses and long chains", () => {
    const x = ops.input("x", "f32", [])
    let y = x
    for (let i = 0; i < 20_000; i++) y = ops.add(y, x)
    const [g] = gradients(y, [x])
    expect(evaluateTensors({ g: g! }, { x: [1] })["g"]![0]).toBe(20_001)
  })

  it("share the cotangent among equal maxima", () => {
    const x = ops.input("x", "f32", [4])
    const [g] = gradients(ops.max(x), [x])
    expect([...evaluateTensors({ g: g! }, { x: [3, 1, 3, 2] })["g"]!]).toEqual([0.5, 0, 0.5, 0])
  })

  it("of powers with exponent 0 are 0, also at 0", () => {
    const x = ops.input("x", "f32", [3])
    const [g] = gradients(ops.sum(ops.pow(x, ops.constant(Float32Array.of(0, 2, 1), "f32", [3]))), [x])
    expect([...evaluateTensors({ g: g! }, { x: [0, 0, 0] })["g"]!]).toEqual([0, 0, 1])
  })

  it("of products over nothing are empty", () => {
    const a = ops.input("a", "f32", [2, 3, 0])
    const b = ops.input("b", "f32", [0, 4])
    expect(gradients(ops.sum(ops.matmul(a, b)), [a, b]).map(({ shape }) => shape)).toEqual([a.shape, b.shape])
    const columns = ops.input("columns", "f32", [5, 0])
    const c = ops.input("c", "f32", [2, 3, 5])
    expect(gradients(ops.sum(ops.matmul(c, columns)), [columns])[0]!.shape).toEqual([5, 0])
  })

  it("take cotangents of several outputs", () => {
    const x = ops.input("x", "f32", [2])
    const [g] = vjp([ops.exp(x), ops.mul(x, 3)], [ops.constant(1, "f32", [2]), ops.constant(2, "f32", [2])], [x])
    close(evaluateTensors({ g: g! }, { x: [0, 1] }, { exact: true })["g"]!, [7, 6 + Math.E], 1e-12)
  })

  it("refuse a loss that is no scalar", () => {
    expect(() => gradients(ops.input("x", "f32", [2]), [])).toThrow(/gradients: needs a scalar, got \[2\]/)
  })
})

describe("checkpointing", () => {
  const x = ops.input("x", "f32", [3, 4])
  const w = ops.input("w", "f32", [4, 4])
  const block = (h: Tensor): Tensor => ops.tanh(ops.matmul(h, w))
  const values = { x: uniforms(randomKey(1, "x"), 12), w: uniforms(randomKey(1, "w"), 16) }
  const gradientsOf = (body: (h: Tensor) => Tensor) => {
    const [gx, gw] = gradients(ops.sum(ops.sin(body(x))), [x, w])
    return { gx: gx!, gw: gw! }
  }
  const nested = (h: Tensor): Tensor =>
    ops.checkpoint(() => {
      const inner = ops.checkpoint(() => block(block(h)))
      return ops.mul(block(inner), 2)
    })
  const plain = (h: Tensor): Tensor => ops.mul(block(block(block(h))), 2)

  it("leaves gradients as they are, nested too", () => {
    const expected = evaluateTensors(gradientsOf(plain), values, { exact: true })
    const actual = evaluateTensors(gradientsOf(nested), values, { exact: true })
    close(actual["gx"]!, [...expected["gx"]!], 1e-12)
    close(actual["gw"]!, [...expected["gw"]!], 1e-12)
  })

  it("keeps nothing of a region for the rules of gradients of its own", () => {
    const targets = indices([3], 1, 3, 0)
    const bodies: ReadonlyArray<(h: Tensor) => Tensor> = [
      h => composites.silu(block(h)),
      h => composites.softmaxCrossEntropy(block(h), targets),
      h => composites.acos(ops.mul(block(h), 0.5))
    ]
    for (const body of bodies) {
      const again = gradientsOf(h => ops.checkpoint(() => body(h)))
      const { instructions } = makeProgram(again)
      const start = instructions.findIndex(({ op }) => op === "after")
      const before = new Set(instructions.slice(0, start).flatMap(({ outputs }) => outputs))
      const kept = instructions.slice(start).flatMap(({ inputs }) => inputs.filter(input => before.has(input)))
      // The cotangent of the region's result, for which everything waits.
      expect(new Set(kept).size).toBe(1)
      const expected = evaluateTensors(gradientsOf(body), values, { exact: true })
      const actual = evaluateTensors(again, values, { exact: true })
      close(actual["gx"]!, [...expected["gx"]!], 1e-12)
      close(actual["gw"]!, [...expected["gw"]!], 1e-12)
    }
  })

  it("refuses a rule that reaches into its region", () => {
    const body = (h: Tensor): Tensor => {
      const inner = block(h)
      return ops.customGradient(ops.exp(inner), [inner], g => [ops.mul(g, ops.exp(inner))])
    }
    expect(() => gradientsOf(h => ops.checkpoint(() => body(h)))).toThrow(
      /customGradient: its rule uses a tensor made inside of a checkpoint that is not among its inputs/
    )
    expect(() => gradientsOf(body)).not.toThrow()
  })

  it("computes the region again instead of keeping it, and only once its cotangent is there", () => {
    const matmuls = (body: (h: Tensor) => Tensor) =>
      makeProgram(gradientsOf(body)).instructions.filter(({ op }) => op === "matmul").length
    // One forward product more for each block that is computed again; the inner region's two blocks are so twice.
    expect(matmuls(nested) - matmuls(plain)).toBe(5)
    const { instructions } = makeProgram(gradientsOf(h => ops.checkpoint(() => block(h))))
    const again = instructions.filter(({ recomputation }) => recomputation !== 0)
    expect(again.map(({ op }) => op)).toEqual(["matmul", "tanh"])
    const barriers = new Set(instructions.filter(({ op }) => op === "after").flatMap(({ outputs }) => outputs))
    expect(again[0]!.inputs.every(input => barriers.has(input))).toBe(true)
  })
})

/**
 * How each op is differentiated: cotangents of its outputs to cotangents of its inputs, in the same ops. Rules use outputs where that
 * saves work (softmax, exp, sigmoid, …). A missing entry of a rule's list: no gradient flows there.
 */
import { isFloat } from "./dtype.ts"
import { mean, square, sumTo, zeros } from "./composites.ts"
import {
  add,
  allReduce,
  broadcastTo,
  cast,
  constant,
  cos,
  cumulativeSum,
  div,
  equal,
  exp,
  gather,
  gatherAlong,
  less,
  log,
  mul,
  neg,
  pad,
  pow,
  reshape,
  rotate,
  rsqrt,
  scatterAdd,
  scatterAddAlong,
  select,
  sign,
  sin,
  slice,
  sliceAxis,
  sub,
  sum,
  transpose
} from "./ops.ts"
import type { Op } from "./primitives.ts"
import { groupedMatmulRule, groupedOuterRule, matmulRule } from "./productRules.ts"
import type { Cotangents, Rule, RuleContext } from "./rule.ts"
import type { Tensor } from "./Tensor.ts"

/** The cotangent times a factor. */
const unary =
  (derivative: (x: Tensor, y: Tensor, g: Tensor) => Tensor): Rule<"exp"> =>
  ({ g, inputs: [x], outputs: [y] }) => [() => derivative(x, y, g)]

const binary =
  (
    left: (g: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor,
    right: (g: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor
  ): Rule<"add"> =>
  ({ g, inputs: [a, b], outputs: [y] }) => [
    () => sumTo(left(g, a, b, y), a.shape),
    () => sumTo(right(g, a, b, y), b.shape)
  ]

/** Where the winner's cotangent goes: all of it to the greater, half to each of equals. */
const towards =
  (wins: (a: Tensor, b: Tensor) => Tensor) =>
  (g: Tensor, a: Tensor, b: Tensor): Tensor =>
    select(wins(a, b), g, select(equal(a, b), mul(g, 0.5), 0))

/** Along which nothing flows: the result does not depend smoothly on the inputs. */
const none = (): Cotangents => []

/** Puts the axes that a reduction took away back, with size 1. */
const keepDims = (x: Tensor, g: Tensor, axes: ReadonlyArray<number>): Tensor =>
  reshape(
    g,
    x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size))
  )

const rmsNormRule: Rule<"rmsNorm"> = ({ attributes: { epsilon }, g, inputs: [x, weight] }) => {
  const inverse = rsqrt(add(mean(square(x), -1, { keepDims: true }), epsilon))
  const normalised = mul(x, inverse)
  const ofWeight = mul(g, normalised)
  return [
    () => mul(sub(mul(g, weight), mul(normalised, mean(mul(ofWeight, weight), -1, { keepDims: true }))), inverse),
    () => sumTo(ofWeight, weight.shape)
  ]
}

/** A cotangent is rotated back. */
const rotateRule: Rule<"rotate"> = ({ g, inputs: [x, cosines, sines] }) => {
  const half = x.shape[3]! / 2
  const halves = (y: Tensor): readonly [Tensor, Tensor] => [sliceAxis(y, 3, 0, half), sliceAxis(y, 3, half, 2 * half)]
  const overHeads = (y: Tensor, angles: Tensor): Tensor => sumTo(sum(y, [2]), angles.shape)
  return [
    () => rotate(g, cosines, neg(sines)),
    () => {
      const [[a, b], [ofA, ofB]] = [halves(x), halves(g)]
      return overHeads(add(mul(ofA, a), mul(ofB, b)), cosines)
    },
    () => {
      const [[a, b], [ofA, ofB]] = [halves(x), halves(g)]
      return overHeads(sub(mul(ofB, a), mul(ofA, b)), sines)
    }
  ]
}

/** The transpose of taking every n-th element: zeros in between. */
const sliceRule: Rule<"slice"> = ({ attributes: { ends, starts, strides }, g, inputs: [x] }) => [
  () => {
    let spread = g
    for (const [axis, stride] of strides.entries()) {
      if (stride === 1) continue
      const count = spread.shape[axis]!
      const at = Int32Array.from({ length: count }, (_, i) => i * stride)
      const length = ends[axis]! - starts[axis]!
      spread = scatterAdd(zeros(g.dtype, spread.shape.with(axis, length)), constant(at, "i32", [count]), spread, axis)
    }
    const high = x.shape.map((size, axis) => size - starts[axis]! - spread.shape[axis]!)
    return pad(spread, starts, high)
  }
]

export const rules: { readonly [O in Op]: Rule<O> } = {
  input: none,
  constant: none,
  iota: none,
  random: none,

  neg: unary((_x, _y, g) => neg(g)),
  abs: unary((x, _, g) => mul(g, sign(x))),
  sign: none,
  floor: none,
  exp: unary((_, y, g) => mul(g, y)),
  log: unary((x, _, g) => div(g, x)),
  sqrt: unary((_, y, g) => div(mul(g, 0.5), y)),
  rsqrt: unary((_, y, g) => mul(mul(g, -0.5), mul(square(y), y))),
  sin: unary((x, _, g) => mul(g, cos(x))),
  cos: unary((x, _, g) => neg(mul(g, sin(x)))),
  tanh: unary((_, y, g) => mul(g, sub(1, square(y)))),
  erf: unary((x, _, g) => mul(mul(g, 2 / Math.sqrt(Math.PI)), exp(neg(square(x))))),
  sigmoid: unary((_, y, g) => mul(g, mul(y, sub(1, y)))),
  not: none,
  cast: unary((x, _, g) => cast(g, x.dtype)),

  add: binary(
    g => g,
    g => g
  ),
  sub: binary(g => g, neg),
  mul: binary(
    (g, _, b) => mul(g, b),
    (g, a) => mul(g, a)
  ),
  div: binary(
    (g, _, b) => div(g, b),
    (g, _, b, y) => neg(div(mul(g, y), b))
  ),
  rem: binary(
    g => g,
    // a - b trunc(a / b): the quotient is constant but at jumps.
    (g, a, b, y) => neg(mul(g, div(sub(a, y), b)))
  ),
  pow: binary(
    // b a^(b - 1), which is 0 for b = 0 even where a is 0.
    (g, a, b) => mul(g, select(equal(b, 0), 0, mul(b, pow(a, sub(b, 1))))),
    (g, a, _, y) => mul(g, select(less(0, a), mul(y, log(select(less(0, a), a, 1))), 0))
  ),
  maximum: binary(
    towards((a, b) => less(b, a)),
    (g, a, b) => towards((x, y) => less(y, x))(g, b, a)
  ),
  minimum: binary(
    towards((a, b) => less(a, b)),
    (g, a, b) => towards((x, y) => less(x, y))(g, b, a)
  ),
  and: none,
  or: none,
  equal: none,
  less: none,
  lessEqual: none,
  select: ({ g, inputs: [condition, a, b] }) => [
    undefined,
    () => sumTo(select(condition, g, 0), a.shape),
    () => sumTo(select(condition, 0, g), b.shape)
  ],

  matmul: matmulRule,
  groupedMatmul: groupedMatmulRule,
  groupedOuter: groupedOuterRule,
  sum: ({ attributes: { axes }, g, inputs: [x] }) => [() => broadcastTo(keepDims(x, g, axes), x.shape)],
  max: ({ attributes: { axes }, g, inputs: [x], outputs: [y] }) => [
    () => {
      // Equals share the cotangent.
      const isMax = cast(equal(x, keepDims(x, y, axes)), x.dtype)
      return mul(isMax, div(keepDims(x, g, axes), sum(isMax, axes, { keepDims: true })))
    }
  ],
  argmax: none,
  topK: ({ g, inputs: [x], outputs: [, indices] }) => [
    () => scatterAddAlong(zeros(x.dtype, x.shape), indices, g, x.rank - 1)
  ],
  cumulativeSum: ({ attributes: { axis, reverse }, g }) => [() => cumulativeSum(g, axis, { reverse: !reverse })],
  softmax: ({ attributes: { axis }, g, outputs: [y] }) => [
    () => mul(y, sub(g, sum(mul(g, y), axis, { keepDims: true })))
  ],
  logSoftmax: ({ attributes: { axis }, g, outputs: [y] }) => [
    () => sub(g, mul(exp(y), sum(g, axis, { keepDims: true })))
  ],
  rmsNorm: rmsNormRule,
  rotate: rotateRule,
  // Quantised weights are frozen.
  dequantiseNf4: none,
  // Every process's sum feels what each of them adds.
  allReduce: ({ g }) => [() => allReduce(g)],

  gather: ({ attributes: { axis }, g, inputs: [x, indices] }) => [
    () => scatterAdd(zeros(x.dtype, x.shape), indices, g, axis)
  ],
  gatherAlong: ({ attributes: { axis }, g, inputs: [x, indices] }) => [
    () => scatterAddAlong(zeros(x.dtype, x.shape), indices, g, axis)
  ],
  scatterAdd: ({ attributes: { axis }, g, inputs: [, indices] }) => [
    () => g,
    undefined,
    () => gather(g, indices, axis)
  ],
  scatterAddAlong: ({ attributes: { axis }, g, inputs: [, indices] }) => [
    () => g,
    undefined,
    () => gatherAlong(g, indices, axis)
  ],

  reshape: unary((x, _, g) => reshape(g, x.shape)),
  transpose: ({ attributes: { permutation }, g }) => [
    () =>
      transpose(
        g,
        permutation.map((_, axis) => permutation.indexOf(axis))
      )
  ],
  broadcastTo: unary((x, _, g) => sumTo(g, x.shape)),
  concat: ({ attributes: { axis }, g, inputs }) => {
    let start = 0
    return inputs.map(({ shape }) => {
      const from = g.shape.map((_, i) => (i === axis ? start : 0))
      start += shape[axis]!
      const to = g.shape.with(axis, start)
      return () => slice(g, from, to)
    })
  },
  slice: sliceRule,
  pad: ({ attributes: { low }, g, inputs: [x] }) => [
    () =>
      slice(
        g,
        low,
        x.shape.map((size, axis) => low[axis]! + size)
      )
  ],

  stopGradient: none,
  // autodiff.ts treats these two itself: they concern more than their own node.
  checkpoint: none,
  customGradient: none,
  after: ({ g }) => [() => g]
}

/** The rule of an op applied; undefined for inputs that are no floats. */
export const cotangents = <O extends Op>(op: O, context: RuleContext<O>): Cotangents => {
  const rule = rules[op] as Rule<O> | undefined
  if (rule === undefined) throw new Error(`there is no rule to differentiate the op ${op}`)
  return rule(context).map((cotangent, i) => (isFloat(context.inputs[i]!.dtype) ? cotangent : undefined))
}

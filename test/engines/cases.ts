/**
 * What every engine must compute: each op, for each dtype that it takes, on shapes that broadcast, have size 1 or are empty. Operands, dtypes and results
 * follow from the ops' declarations (src/tensor/primitives.ts), shapes and attributes from samples.ts. The reference engine is the judge.
 */
import { type DType, isFloat } from "../../src/tensor/dtype.ts"
import { applyAll } from "../../src/tensor/ops/apply.ts"
import * as ops from "../../src/tensor/ops.ts"
import { primitives, type ProgramOp } from "../../src/tensor/primitives.ts"
import { randomKey, uniforms } from "../../src/tensor/random.ts"
import { elements, type Shape, type Tensor } from "../../src/tensor/Tensor.ts"
import { Choices, type Drawn, type Fill, type Sample, samples, usualRounds } from "./samples.ts"

interface Input {
  readonly dtype: DType
  readonly shape: Shape
  readonly fill?: Fill
}

export interface Case {
  readonly inputs: ReadonlyArray<Input>
  readonly f: (...inputs: ReadonlyArray<Tensor>) => ReadonlyArray<Tensor>
  /** Sums of many products lose more than the last bit: allowed error in units of the dtype's last place. */
  readonly ulps: number
}

/** Indices lie within the axis of the first operand, groups have no more rows than there are; keys and packed bytes are any. */
const fillOf = (name: string, { attributes, shapes }: Drawn<"gather">): Fill => {
  const [x] = shapes
  if (name === "indices") return { below: x[attributes.axis]! }
  if (name === "the sizes of groups") return { below: Math.floor(x[0]! / shapes.at(-1)![0]!) + 1 }
  return name === "the key" ? { below: 2 ** 32 } : name === "packed" ? { below: 256 } : "normal"
}

/** All cases of an op: every dtype has as many. */
export const casesOf = (op: ProgramOp): ReadonlyArray<Case> => {
  const { dtypes: own, operands } = primitives[op]
  const { draw, f, fill = "normal", rounds = usualRounds, ulps = 0 } = samples[op] as Sample<ProgramOp>
  return Array.from({ length: rounds * Math.max(1, own.length) }, (_, n): Case => {
    const choices = new Choices(randomKey(n, `cases of ${op}`), Math.floor(n / Math.max(1, own.length)))
    const drawn = draw(choices)
    const given = drawn.shapes as ReadonlyArray<Shape>
    const inputs = given.map((shape, i): Input => {
      const wanted = operands[Math.min(i, operands.length - 1)]!
      return wanted === "T"
        ? { dtype: own[n % own.length]!, shape, fill: typeof fill === "function" ? fill(drawn) : fill }
        : { dtype: choices.pick(wanted.dtypes), shape, fill: fillOf(wanted.name, drawn as Drawn<"gather">) }
    })
    const apply: Case["f"] = (...x) => applyAll(op, drawn.attributes, x as never, casesOf) as ReadonlyArray<Tensor>
    return { inputs, f: f ?? apply, ulps }
  })
}

export const allOps = Object.keys(samples) as ReadonlyArray<ProgramOp>

/** A case as a part of a program: its inputs and outputs under names that begin with the given one. */
export const traced = (name: string, { f, inputs }: Case) => {
  const x = inputs.map(({ dtype, shape }, i) => ops.input(`${name}/x${i}`, dtype, shape))
  return { x, outputs: Object.fromEntries(f(...x).map((result, i) => [`${name}/y${i}`, result])) }
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

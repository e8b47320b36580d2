/**
 * Programs as ONNX. The 16-bit floats are carried as f32 and rounded after every op, because ONNX Runtime lacks most kernels for
 * them; at the borders they are raw bits (u16). Operators that were found to return wrong numbers are not used: MatMulBnb4 with transB = 0,
 * the second output of SimplifiedLayerNormalization, ScatterND with a reduction; for WebGPU, Sin and Cos.
 */
import type { DType } from "../../tensor/dtype.ts"
import type { Instruction, Program, ValueId, ValueType } from "../../tensor/Program.ts"
import { primitives, type ProgramOp } from "../../tensor/primitives.ts"
import { sameShape } from "../../tensor/shape.ts"
import { elements } from "../../tensor/Tensor.ts"
import { Builder, carrier, isHalf, type Lower, type Target } from "./builder.ts"
import { squareSum, vectorSum } from "./expansions.ts"
import { lowerings } from "./lowerings.ts"
import { type OnnxModel, type OnnxType, onnxTypes } from "./onnx.ts"
import type { Segment } from "./segments.ts"

/**
 * The instructions, with those at the end whose results nothing but the world outside needs, the first last. ONNX Runtime computes results one
 * after the other, beginning with that of the last node, each with all that it needs. In this order a gradient is made as soon as
 * its cotangent is there; in the order of the program all of them would wait for the end of the backward pass, with what they are made from.
 */
const resultsLast = ({ instructions, outputs }: Segment): ReadonlyArray<Instruction> => {
  const used = new Set(instructions.flatMap(({ inputs }) => inputs))
  const results = new Set(outputs)
  const isLast = (instruction: Instruction): boolean =>
    instruction.outputs.every(value => results.has(value) && !used.has(value))
  return [...instructions.filter(instruction => !isLast(instruction)), ...instructions.filter(isLast).toReversed()]
}

/** Elements of a row from which on its product with itself is the faster way to sum their squares. */
const longRow = 1024

/** The sum along rows of the product of two values: one with itself, or rows with a vector. */
interface RowProduct {
  readonly operands: readonly [ValueId, ValueId]
  readonly sum: ValueId
}

/**
 * Elementwise products of f32 that are for nothing but sums along rows, and those sums, each by its value: squares of long rows, and products with a
 * vector.
 */
const rowProducts = (program: Program, { instructions, outputs }: Segment): ReadonlyMap<ValueId, RowProduct> => {
  const uses = Map.groupBy(
    instructions.flatMap(user => [...new Set(user.inputs)].map(value => ({ user, value }))),
    ({ value }) => value
  )
  const rankOf = (value: ValueId): number => program.values[value]!.shape.length
  return new Map(
    instructions.flatMap(({ inputs, op, outputs: [product] }) => {
      const { dtype, shape } = program.values[product!]!
      const [use, another] = uses.get(product!) ?? []
      if (op !== "mul" || use?.user.op !== "sum") return []
      const sum = use.user as Instruction<"sum">
      const alongRows = sum.attributes.axes.join() === String(shape.length - 1)
      const isAlone = another === undefined && !outputs.includes(product!)
      const operands = inputs.toSorted((a, b) => rankOf(b) - rankOf(a)) as [ValueId, ValueId]
      const isSquare = operands[0] === operands[1] && shape.at(-1)! >= longRow
      const isByVector =
        shape.length > 1 &&
        rankOf(operands[1]) === 1 &&
        sameShape(program.values[operands[0]]!.shape, shape) &&
        program.values[operands[1]]!.shape[0] === shape.at(-1)
      if (!alongRows || !isAlone || dtype !== "f32" || elements(shape) === 0 || !(isSquare || isByVector)) return []
      const found = { operands, sum: sum.outputs[0]! }
      return [[product!, found] as const, [found.sum, found] as const]
    })
  )
}

/** Raw bits travel over the border of a graph as u16. Buffers of WebGPU cannot hold those: there, 16-bit floats are f32 outside, too. */
export const borderType = (dtype: DType, target: Target): OnnxType =>
  target === "webgpu" ? carrier(dtype) : isHalf(dtype) ? "u16" : dtype

/**
 * One segment as a model, with inputs and outputs in its order. Equal segments give equal models, whatever the numbers of their values. What has no elements is not computed: several
 * operators fail on empty tensors, and TopK never ends.
 */
export const lowerSegment = (program: Program, segment: Segment, target: Target = "cpu"): OnnxModel => {
  const b = new Builder()
  const half = halves[target]
  const names = new Map<ValueId, string>()
  const typeOf = (value: ValueId): ValueType => program.values[value]!
  for (const value of segment.inputs) {
    const { dtype, shape } = typeOf(value)
    const name = b.name()
    b.model.inputs.push({ name, type: borderType(dtype, target), shape })
    names.set(value, isHalf(dtype) ? half.enter(b, name, dtype) : name)
  }
  const constants = new Map(program.constants.map(({ data, value }) => [value, data]))
  const nameOf = (value: ValueId): string => {
    const known = names.get(value)
    if (known !== undefined) return known
    const { dtype, shape } = typeOf(value)
    const raw = b.constant(dtype, shape, constants.get(value)!)
    const name = isHalf(dtype) ? b.cast(raw, ...half.through, "f32") : raw
    names.set(value, name)
    return name
  }
  const products = target === "cpu" ? rowProducts(program, segment) : new Map<ValueId, RowProduct>()
  for (const { attributes, inputs, op, outputs } of resultsLast(segment)) {
    const product = products.get(outputs[0]!)
    if (product !== undefined) {
      // The product itself is not made.
      if (op === "sum") {
        const [x, y] = product.operands
        const { shape } = typeOf(outputs[0]!)
        const result =
          x === y
            ? squareSum(b, nameOf(x), typeOf(x).shape, shape)
            : vectorSum(b, nameOf(x), nameOf(y), typeOf(x).shape, shape)
        names.set(outputs[0]!, result)
      }
      continue
    }
    if (outputs.every(value => elements(typeOf(value).shape) === 0)) {
      for (const value of outputs) {
        const { dtype, shape } = typeOf(value)
        names.set(value, b.constant(carrier(dtype), shape, new Uint8Array(0)))
      }
      continue
    }
    const results = (lowerings[op] as Lower<ProgramOp>)({
      b,
      inputs: inputs.map(nameOf) as never,
      types: inputs.map(typeOf) as never,
      attributes,
      out: typeOf(outputs[0]!),
      target
    })
    for (const [i, value] of outputs.entries()) {
      const result = typeof results === "string" ? results : results[i]!
      const { dtype } = typeOf(value)
      names.set(
        value,
        isHalf(dtype) && !primitives[op].exact ? b.cast(result, ...half.through, dtype, ...half.through, "f32") : result
      )
    }
  }
  for (const value of segment.outputs) {
    const { dtype, shape } = typeOf(value)
    const result = nameOf(value)
    // A fresh name: a value may be an output twice, or an input that passes through.
    const name = isHalf(dtype) ? half.leave(b, result, dtype) : b.one("Identity", [result])
    b.model.outputs.push({ name, type: borderType(dtype, target), shape })
  }
  return b.model
}

interface Halves {
  /** Types that a conversion between f32 and 16 bits goes through. */
  readonly through: ReadonlyArray<OnnxType>
  /** From the border to f32, and back. */
  readonly enter: (b: Builder, x: string, dtype: "f16" | "bf16") => string
  readonly leave: (b: Builder, x: string, dtype: "f16" | "bf16") => string
}

const bits: Halves = {
  through: [],
  enter: (b, x, dtype) => b.cast(b.one("BitCast", [x], { to: onnxTypes[dtype] }), "f32"),
  leave: (b, x, dtype) => b.one("BitCast", [b.cast(x, dtype)], { to: onnxTypes.u16 })
}

/**
 * How 16-bit floats cross borders and are rounded. Most WebGPU devices cannot convert to f16, and none to bf16; none knows f64 either, so
 * that a conversion through it is left to the processor.
 */
const halves: { readonly [T in Target]: Halves } = {
  cpu: bits,
  standard: bits,
  webgpu: { through: ["f64"], enter: (_, x) => x, leave: (b, x) => b.one("Identity", [x]) }
}

/** Runs a program in float64, instruction by instruction. */
import {
  bf16Bits,
  f16Bits,
  fromBf16Bits,
  fromF16Bits,
  hostArray,
  isFloat,
  type DType,
  type HostArray
} from "../../tensor/dtype.ts"
import { makeProgram, type Program } from "../../tensor/Program.ts"
import { elements, type Tensor } from "../../tensor/Tensor.ts"
import type { Elements, Operand } from "./kernel.ts"
import { apply } from "./kernels.ts"

/** To the numbers that a dtype can hold, each the nearest. */
const roundTo: { readonly [D in DType]: (values: Elements) => Elements } = {
  f32: values => {
    const rounded = new Float64Array(values.length)
    for (let i = 0; i < rounded.length; i++) rounded[i] = Math.fround(values[i]!)
    return rounded
  },
  f16: values => values.map(value => fromF16Bits(f16Bits(value))),
  bf16: values => values.map(value => fromBf16Bits(bf16Bits(value))),
  // Typed arrays take of a number what the operators of integers take: the bits that they have.
  i32: values => new Float64Array(new Int32Array(values)),
  i64: values => values.map(Math.trunc),
  u8: values => new Float64Array(new Uint8Array(values)),
  bool: values => values.map(value => Number(value !== 0))
}

export interface EvaluateOptions {
  /** Keeps float64 between instructions instead of rounding each result to its dtype: for finite differences. */
  readonly exact?: boolean
}

/** Elements by name: numbers whatever the dtype. */
export interface Values {
  readonly [name: string]: ArrayLike<number>
}

/** The outputs of a program. Throws RangeError for a missing input, a wrong number of elements, or an index out of range. */
export const evaluate = (
  program: Program,
  inputs: Values,
  { exact = false }: EvaluateOptions = {}
): { readonly [name: string]: Elements } => {
  const values: Array<Operand> = []
  const set = (id: number, data: Elements): void => {
    const { dtype, shape } = program.values[id]!
    const rounded = exact && isFloat(dtype) ? data : roundTo[dtype](data)
    values[id] = { dtype, shape, data: rounded }
  }
  for (const { name, value } of program.inputs) {
    const given = inputs[name]
    const size = elements(program.values[value]!.shape)
    if (given?.length !== size)
      throw new RangeError(`input ${name} needs ${size} elements, got ${given === undefined ? "none" : given.length}`)
    set(value, Float64Array.from(given))
  }
  for (const { data, value } of program.constants) set(value, toNumbers(program.values[value]!.dtype, data))
  for (const instruction of program.instructions) {
    const results = apply(
      instruction,
      instruction.inputs.map(id => values[id]!),
      program.values[instruction.outputs[0]!]!
    )
    for (const [i, id] of instruction.outputs.entries()) set(id, results[i]!)
  }
  return Object.fromEntries(program.outputs.map(({ name, value }) => [name, values[value]!.data]))
}

/** The values of traced tensors. */
export const evaluateTensors = (
  outputs: { readonly [name: string]: Tensor },
  inputs: Values = {},
  options: EvaluateOptions = {}
): { readonly [name: string]: Elements } => evaluate(makeProgram(outputs), inputs, options)

/** The numbers that the host's representation of a dtype stands for. */
export const toNumbers = (dtype: DType, data: HostArray): Elements => {
  if (dtype === "f16") return Float64Array.from(data as Uint16Array, fromF16Bits)
  if (dtype === "bf16") return Float64Array.from(data as Uint16Array, fromBf16Bits)
  return data instanceof BigInt64Array ? Float64Array.from(data, Number) : new Float64Array(data)
}

/** Numbers in the host's representation of a dtype. */
export const fromNumbers = (dtype: DType, data: ArrayLike<number>): HostArray => {
  const array = hostArray(dtype, data.length)
  if (dtype === "i64") for (let i = 0; i < data.length; i++) (array as BigInt64Array)[i] = BigInt(data[i]!)
  else {
    const encode = dtype === "f16" ? f16Bits : dtype === "bf16" ? bf16Bits : (x: number) => x
    for (let i = 0; i < data.length; i++) (array as Float32Array)[i] = encode(data[i]!)
  }
  return array
}

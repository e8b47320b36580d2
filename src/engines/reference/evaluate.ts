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

/** The number that a dtype can hold nearest to a number. */
const roundTo: { readonly [D in DType]: (value: number) => number } = {
  f32: Math.fround,
  f16: value => fromF16Bits(f16Bits(value)),
  bf16: value => fromBf16Bits(bf16Bits(value)),
  i32: value => value | 0,
  i64: Math.trunc,
  u8: value => value & 0xff,
  bool: value => Number(value !== 0)
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
    const rounded = exact && isFloat(dtype) ? data : data.map(roundTo[dtype])
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
  return Float64Array.from(data as ArrayLike<number | bigint>, Number)
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

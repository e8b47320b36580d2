/**
 * Elementwise programs as one loop in WebAssembly: ONNX Runtime passes over memory once for every operator, a loop once for all. Every
 * operator is rounded to f32 by itself, so that the results have the same bits.
 */
import type { Program, ProgramOp, ValueId } from "../../tensor/Program.ts"
import { sameShape } from "../../tensor/shape.ts"
import { elements } from "../../tensor/Tensor.ts"

export interface Kernel {
  /** Exports `memory` and `run`, which computes so many bytes of every array, a multiple of 16. */
  readonly module: Uint8Array<ArrayBuffer>
  /** By the place of each input: where in the memory it is expected. Scalars are one f32, arrays up to a block of them. */
  readonly inputs: ReadonlyArray<{ readonly at: number; readonly scalar: boolean }>
  /** By the place of each output: where in the memory it is. */
  readonly outputs: ReadonlyArray<number>
}

/** Elements that are computed at a time: few enough that all arrays of an optimiser's step stay in a cache of 256 KiB. */
export const blockElements = 8192

/** Instructions on four f32 at once (WebAssembly core specification, "Vector instructions"), behind the prefix 0xfd. */
const vectorCodes: { readonly [O in ProgramOp]?: number } = {
  abs: 0xe0,
  neg: 0xe1,
  sqrt: 0xe3,
  add: 0xe4,
  sub: 0xe5,
  mul: 0xe6,
  div: 0xe7
}

/** The program as a kernel; undefined where it is none, or has a single operator, for which the runtime's is as good. */
export const kernelOf = (program: Program): Kernel | undefined => {
  const { constants, inputs, instructions, outputs, values } = program
  const whole = values[outputs[0]!.value]!.shape
  const isScalar = (value: ValueId): boolean => !sameShape(values[value]!.shape, whole)
  const made = new Set(instructions.flatMap(instruction => instruction.outputs))
  const fits =
    instructions.length > 1 &&
    elements(whole) > 0 &&
    values.every(({ dtype, shape }) => dtype === "f32" && (sameShape(shape, whole) || elements(shape) === 1)) &&
    instructions.every(({ op }) => vectorCodes[op] !== undefined) &&
    outputs.every(({ value }) => made.has(value) && !isScalar(value))
  if (!fits) return undefined

  let end = 0
  const reserve = (bytes: number): number => {
    const at = end
    end += Math.ceil(bytes / 64) * 64
    return at
  }
  const blockBytes = blockElements * Float32Array.BYTES_PER_ELEMENT
  const places = inputs.map(({ value }) => ({
    at: reserve(isScalar(value) ? Float32Array.BYTES_PER_ELEMENT : blockBytes),
    scalar: isScalar(value)
  }))
  const results = outputs.map(() => reserve(blockBytes))

  const before: Array<number> = []
  const inLoop: Array<number> = []
  for (const { data, value } of constants)
    before.push(...code.constant((data as Float32Array)[0]!), ...code.set(local(value)))
  for (const [i, { value }] of inputs.entries()) {
    const { at, scalar } = places[i]!
    if (scalar) before.push(...code.splat(at), ...code.set(local(value)))
    else inLoop.push(...code.get(position), ...code.load(at), ...code.set(local(value)))
  }
  for (const { inputs: operands, op, outputs: made } of instructions)
    (isScalar(made[0]!) ? before : inLoop).push(
      ...operands.flatMap(value => code.get(local(value))),
      ...code.vector(vectorCodes[op]!),
      ...code.set(local(made[0]!))
    )
  for (const [i, { value }] of outputs.entries())
    inLoop.push(...code.get(position), ...code.get(local(value)), ...code.store(results[i]!))
  return { module: moduleOf({ before, inLoop, values: values.length, bytes: end }), inputs: places, outputs: results }
}

/** Locals of the function: how many bytes to compute, how many are done, and the values. */
const size = 0
const position = 1
const local = (value: ValueId): number => 2 + value

/** LEB128. */
const unsigned = (value: number): ReadonlyArray<number> =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]

const v128 = 0x7b
const i32 = 0x7f
/** As the exponent of two: these addresses are, more than that. */
const alignment = 2

const code = {
  get: (index: number) => [0x20, ...unsigned(index)],
  set: (index: number) => [0x21, ...unsigned(index)],
  load: (offset: number) => [0xfd, 0x00, alignment, ...unsigned(offset)],
  store: (offset: number) => [0xfd, 0x0b, alignment, ...unsigned(offset)],
  /** One f32 of the memory in all four places. */
  splat: (offset: number) => [0x41, 0x00, 0xfd, 0x09, alignment, ...unsigned(offset)],
  constant: (value: number) => {
    const bytes = new Uint8Array(Float32Array.of(value, value, value, value).buffer)
    return [0xfd, 0x0c, ...bytes]
  },
  vector: (opcode: number) => [0xfd, ...unsigned(opcode)]
}

/** Counted bytes, and vectors of them. */
const sized = (bytes: ReadonlyArray<number>): ReadonlyArray<number> => [...unsigned(bytes.length), ...bytes]
const section = (id: number, content: ReadonlyArray<number>): ReadonlyArray<number> => [id, ...sized(content)]
const named = (name: string): ReadonlyArray<number> => sized([...Buffer.from(name)])

/** `run(size)`: what is before the loop, then the loop over the positions 0, 16, …. */
const moduleOf = ({
  before,
  bytes,
  inLoop,
  values
}: {
  readonly before: ReadonlyArray<number>
  readonly inLoop: ReadonlyArray<number>
  readonly values: number
  readonly bytes: number
}): Uint8Array<ArrayBuffer> => {
  const locals = [2, 1, i32, ...unsigned(values), v128]
  const advance = [...code.get(position), 0x41, 16, 0x6a, 0x22, position, ...code.get(size), 0x49, 0x0d, 0x00]
  const loop = [0x03, 0x40, ...inLoop, ...advance, 0x0b]
  const body = [...locals, ...before, ...loop, 0x0b]
  const pages = Math.ceil(bytes / 65_536)
  const magic = [0x00, 0x61, 0x73, 0x6d]
  const version = [0x01, 0x00, 0x00, 0x00]
  return Uint8Array.from([
    ...magic,
    ...version,
    ...section(1, [1, 0x60, 1, i32, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0x00, ...unsigned(pages)]),
    ...section(7, [2, ...named("run"), 0x00, 0, ...named("memory"), 0x02, 0]),
    ...section(10, [1, ...sized(body)])
  ])
}

/** The part that is used of what every JavaScript engine has; TypeScript declares it for browsers only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => {
    readonly exports: { readonly memory: { readonly buffer: ArrayBuffer }; readonly run: (size: number) => void }
  }
}

/** Computes arrays from inputs, block by block: an output may be the memory of an input, but may not begin within one. */
export type RunKernel = (inputs: ReadonlyArray<Float32Array>, outputs: ReadonlyArray<Float32Array>) => void

export const startKernel = (kernel: Kernel): RunKernel => {
  const { memory, run } = new WebAssembly.Instance(new WebAssembly.Module(kernel.module)).exports
  const floats = new Float32Array(memory.buffer)
  const index = (at: number): number => at / Float32Array.BYTES_PER_ELEMENT
  return (inputs, outputs) => {
    const arrays = inputs.flatMap((data, i) => {
      const { at, scalar } = kernel.inputs[i]!
      if (scalar) floats[index(at)] = data[0]!
      return scalar ? [] : [{ data, at: index(at) }]
    })
    const total = outputs[0]!.length
    for (let start = 0; start < total; start += blockElements) {
      const end = Math.min(total, start + blockElements)
      for (const { at, data } of arrays) floats.set(data.subarray(start, end), at)
      run(Math.ceil((end - start) / 4) * 16)
      for (const [i, data] of outputs.entries()) {
        const from = index(kernel.outputs[i]!)
        data.set(floats.subarray(from, from + end - start), start)
      }
    }
  }
}

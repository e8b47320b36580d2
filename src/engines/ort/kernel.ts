/**
 * Elementwise programs as loops in WebAssembly: ONNX Runtime passes over memory once for every operator, a loop once for all. Every
 * operator is rounded to f32 by itself, so that the results have the same bits.
 */
import type { Program, ValueId } from "../../tensor/Program.ts"
import type { ProgramOp } from "../../tensor/primitives.ts"
import { sameShape } from "../../tensor/shape.ts"
import { elements } from "../../tensor/Tensor.ts"

export interface Kernel {
  /**
   * Imports a memory for every array, inputs before outputs, as `m` `0`, `1`, …; exports `run`: how many elements of all arrays to compute, the
   * addresses of the arrays, and the scalars.
   */
  readonly module: Uint8Array<ArrayBuffer>
  /** Places among the program's inputs. */
  readonly arrays: ReadonlyArray<number>
  readonly scalars: ReadonlyArray<number>
}

/** Inputs and outputs of a kernel. */
export const mostArrays = 16
/** Each is two local variables, of which V8 takes 50,000. */
const mostValues = 10_000

/** The program as a kernel; undefined where it is none, or has a single operator, for which the runtime's is as good. */
export const kernelOf = (program: Program): Kernel | undefined => {
  const { constants, inputs, instructions, outputs, values } = program
  const whole = values[outputs[0]!.value]!.shape
  const isArray = (value: ValueId): boolean => sameShape(values[value]!.shape, whole)
  const made = new Set(instructions.flatMap(instruction => instruction.outputs))
  const fits =
    instructions.length > 1 &&
    inputs.length + outputs.length <= mostArrays &&
    values.length <= mostValues &&
    constants.every(({ value }) => elements(values[value]!.shape) === 1) &&
    elements(whole) > 0 &&
    values.every(({ dtype, shape }, value) => dtype === "f32" && (isArray(value) || elements(shape) === 1)) &&
    instructions.every(({ op }) => four.operators[op] !== undefined) &&
    outputs.every(({ value }) => made.has(value) && isArray(value))
  if (!fits) return undefined
  const placesOf = (wanted: boolean) => inputs.flatMap(({ value }, i) => (isArray(value) === wanted ? [i] : []))
  const [arrays, scalars] = [placesOf(true), placesOf(false)]
  return { module: moduleOf(program, arrays, scalars), arrays, scalars }
}

/** How a loop computes: the codes of its instructions (WebAssembly core specification, chapter 5). */
interface Lanes {
  readonly bytes: number
  readonly type: number
  readonly load: ReadonlyArray<number>
  readonly store: ReadonlyArray<number>
  readonly constant: (value: number) => ReadonlyArray<number>
  /** From one f32 to all lanes. */
  readonly spread: ReadonlyArray<number>
  readonly operators: { readonly [O in ProgramOp]?: ReadonlyArray<number> }
}

const floatBytes = (count: number, value: number): ReadonlyArray<number> => [
  ...new Uint8Array(new Float32Array(count).fill(value).buffer)
]
const i32 = 0x7f
const f32 = 0x7d

const four: Lanes = {
  bytes: 16,
  type: 0x7b,
  load: [0xfd, 0x00],
  store: [0xfd, 0x0b],
  constant: value => [0xfd, 0x0c, ...floatBytes(4, value)],
  spread: [0xfd, 0x13],
  operators: {
    abs: [0xfd, 0xe0, 0x01],
    neg: [0xfd, 0xe1, 0x01],
    sqrt: [0xfd, 0xe3, 0x01],
    add: [0xfd, 0xe4, 0x01],
    sub: [0xfd, 0xe5, 0x01],
    mul: [0xfd, 0xe6, 0x01],
    div: [0xfd, 0xe7, 0x01]
  }
}

const one: Lanes = {
  bytes: 4,
  type: f32,
  load: [0x2a],
  store: [0x38],
  constant: value => [0x43, ...floatBytes(1, value)],
  spread: [],
  operators: { abs: [0x8b], neg: [0x8c], sqrt: [0x91], add: [0x92], sub: [0x93], mul: [0x94], div: [0x95] }
}

/** LEB128. */
const unsigned = (value: number): ReadonlyArray<number> =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
const get = (local: number): ReadonlyArray<number> => [0x20, ...unsigned(local)]
const set = (local: number): ReadonlyArray<number> => [0x21, ...unsigned(local)]
const i32Constant = (value: number): ReadonlyArray<number> => [0x41, value & 0x7f]
const [i32Add, i32And, i32Shl, i32GeU] = [0x6a, 0x71, 0x74, 0x4f]
const [block, loop, end, branch, branchIf, nothing] = [0x02, 0x03, 0x0b, 0x0c, 0x0d, 0x40]

/** Counted bytes, and vectors of them. */
const sized = (bytes: ReadonlyArray<number>): ReadonlyArray<number> => [...unsigned(bytes.length), ...bytes]
const named = (name: string): ReadonlyArray<number> => sized([...Buffer.from(name)])
const section = (id: number, entries: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<number> => [
  id,
  ...sized([...unsigned(entries.length), ...entries.flat()])
]

const moduleOf = (
  { constants, inputs, instructions, outputs, values }: Program,
  arrays: ReadonlyArray<number>,
  scalars: ReadonlyArray<number>
): Uint8Array<ArrayBuffer> => {
  const memories = arrays.length + outputs.length
  // Locals: the parameters, where the loops are, and the values of either loop.
  const size = 0
  const address = (memory: number): number => 1 + memory
  const scalar = (i: number): number => 1 + memories + i
  const position = 1 + memories + scalars.length
  const valuesOf = (lanes: Lanes): number => position + 1 + (lanes === four ? 0 : values.length)

  /** The loop that goes on from the position as far as whole lanes fit. */
  const pass = (lanes: Lanes): ReadonlyArray<number> => {
    const local = (value: ValueId): number => valuesOf(lanes) + value
    const at = (memory: number): ReadonlyArray<number> => [...get(address(memory)), ...get(position), i32Add]
    /** Aligned to four bytes, in the memory of that number, without an offset. */
    const argument = (memory: number): ReadonlyArray<number> => [0x42, ...unsigned(memory), 0]
    const before = [
      ...constants.flatMap(({ data, value }) => [...lanes.constant((data as Float32Array)[0]!), ...set(local(value))]),
      ...scalars.flatMap((place, i) => [...get(scalar(i)), ...lanes.spread, ...set(local(inputs[place]!.value))])
    ]
    const body = [
      ...arrays.flatMap((place, memory) => [
        ...at(memory),
        ...lanes.load,
        ...argument(memory),
        ...set(local(inputs[place]!.value))
      ]),
      ...instructions.flatMap(({ inputs: operands, op, outputs: [result] }) => [
        ...operands.flatMap(value => get(local(value))),
        ...lanes.operators[op]!,
        ...set(local(result!))
      ]),
      ...outputs.flatMap(({ value }, i) => [
        ...at(arrays.length + i),
        ...get(local(value)),
        ...lanes.store,
        ...argument(arrays.length + i)
      ])
    ]
    const stop = [...get(size), ...i32Constant(2), i32Shl, ...i32Constant(-lanes.bytes), i32And]
    const done = [...get(position), ...stop, i32GeU, branchIf, 1]
    const advance = [...get(position), ...i32Constant(lanes.bytes), i32Add, ...set(position), branch, 0]
    return [...before, block, nothing, loop, nothing, ...done, ...body, ...advance, end, end]
  }
  const locals = [[1, i32], ...[four, one].map(({ type }) => [...unsigned(values.length), type])]
  const code = [...unsigned(locals.length), ...locals.flat(), ...pass(four), ...pass(one), end]
  const parameters = [i32, ...Array<number>(memories).fill(i32), ...Array<number>(scalars.length).fill(f32)]
  const importOf = (memory: number): ReadonlyArray<number> => [...named("m"), ...named(String(memory)), 0x02, 0x00, 0]
  const [magic, version] = [Buffer.from("\0asm"), [1, 0, 0, 0]]
  return Uint8Array.from([
    ...magic,
    ...version,
    ...section(1, [[0x60, ...sized(parameters), 0]]),
    ...section(
      2,
      Array.from({ length: memories }, (_, memory) => importOf(memory))
    ),
    ...section(3, [[0]]),
    ...section(7, [[...named("run"), 0x00, 0]]),
    ...section(10, [sized(code)])
  ])
}

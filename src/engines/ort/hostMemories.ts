/** Buffers on the host. Tensors are made once, when a call is bound, over the buffers' own memory: nothing is copied between runs. */
import { bytesPerElement, type DType, hostView } from "../../tensor/dtype.ts"
import { elements, type Shape } from "../../tensor/Tensor.ts"
import type { Kernel } from "./kernel.ts"
import { allocateForKernels, bindKernel, type KernelArray, type KernelMemory } from "./kernelMemories.ts"
import { need } from "../handles.ts"
import { type Compiled, type Memories, runSegments, tensorTypes } from "./memories.ts"
import { noTransfers, type Place, type Port } from "./protocol.ts"
import * as ort from "./runtime.ts"

interface Memory {
  readonly dtype: DType
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Of which the bytes are a part, where kernels can work on them directly. */
  readonly ofKernels?: KernelMemory | undefined
}

/** f32 from which on a buffer is worth a memory of its own. */
const longForKernels = 2 ** 14

const allocate = (dtype: DType, size: number): Memory => {
  const found = dtype === "f32" && size >= longForKernels ? allocateForKernels(size) : undefined
  if (found === undefined) return { dtype, bytes: new Uint8Array(new ArrayBuffer(size * bytesPerElement[dtype])) }
  const { floats, memory } = found
  return { dtype, bytes: new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength), ofKernels: memory }
}

const tensorOver = ({ bytes }: Memory, { shape, type }: Port): ort.Tensor => {
  const [name, TypedArray] = tensorTypes[type]
  const array = new TypedArray(bytes.buffer, bytes.byteOffset, bytes.byteLength / TypedArray.BYTES_PER_ELEMENT)
  return new ort.Tensor(name as "float32", array as Float32Array, shape)
}

const overlaps = (a: Memory, b: Memory): boolean =>
  a.bytes.buffer === b.bytes.buffer &&
  a.bytes.byteOffset < b.bytes.byteOffset + b.bytes.byteLength &&
  b.bytes.byteOffset < a.bytes.byteOffset + a.bytes.byteLength

const bytesOf = (tensor: ort.Tensor): Uint8Array => {
  const data = tensor.data as Uint8Array
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

const portOf = (place: Place): number | undefined => ("port" in place ? place.port : undefined)

/** A kernel on buffers. Memory that it also reads, though from another element on, is written only at the end. */
const boundKernel = (
  kernel: Kernel,
  inputs: ReadonlyArray<Memory>,
  outputs: ReadonlyArray<Memory>
): (() => Promise<void>) => {
  const arrayOf = ({ bytes, ofKernels }: Memory): KernelArray => {
    const size = bytes.byteLength / Float32Array.BYTES_PER_ELEMENT
    const floats = new Float32Array(bytes.buffer, bytes.byteOffset, size)
    return ofKernels === undefined ? { floats } : { floats, memory: ofKernels }
  }
  const same = (a: Memory, b: Memory): boolean =>
    a.bytes.buffer === b.bytes.buffer &&
    a.bytes.byteOffset === b.bytes.byteOffset &&
    a.bytes.byteLength === b.bytes.byteLength
  const late: Array<readonly [to: Float32Array, from: Float32Array]> = []
  const results = outputs.map(memory => {
    const result = arrayOf(memory)
    if (!inputs.some(input => overlaps(memory, input) && !same(memory, input))) return result
    const floats = new Float32Array(result.floats.length)
    late.push([result.floats, floats])
    return { floats }
  })
  const run = bindKernel(kernel, inputs.map(arrayOf), results)
  return async () => {
    run()
    for (const [to, from] of late) to.set(from)
  }
}

const bound = (
  compiled: Compiled,
  inputs: ReadonlyArray<Memory>,
  outputs: ReadonlyArray<Memory>,
  inPlace: ReadonlyArray<number>
): (() => Promise<void>) => {
  const given = inputs.map((memory, port) => tensorOver(memory, compiled.inputs[port]!))
  const fetches = compiled.segments.map(plan =>
    Object.fromEntries(
      plan.outputs.map(({ name, to }) => {
        const port = to.map(portOf).find(found => found !== undefined)
        if (port === undefined) return [name, null]
        const memory = outputs[port]!
        // Memory that is also read is written only after the run, unless the program is known to read it first.
        const read = inputs.some(other => overlaps(memory, other)) && !inPlace.includes(port)
        return [name, read || memory.bytes.length === 0 ? null : tensorOver(memory, compiled.outputs[port]!)]
      })
    )
  )
  return async () => {
    const late: Array<readonly [Memory, Uint8Array]> = []
    await runSegments(compiled, {
      input: async (_, port) => given[port]!,
      fetches: segment => fetches[segment]!,
      output: (port, result) => {
        const memory = outputs[port]!
        const bytes = bytesOf(result)
        const there = bytes.buffer === memory.bytes.buffer && bytes.byteOffset === memory.bytes.byteOffset
        if (!there) late.push([memory, bytes])
      }
    })
    const copies = compiled.copies.map(({ input, output }) => [outputs[output]!, inputs[input]!.bytes.slice()] as const)
    for (const [memory, bytes] of [...late, ...copies]) memory.bytes.set(bytes)
    for (const { bytes, output } of compiled.constants) outputs[output]!.bytes.set(bytes)
  }
}

export const hostMemories = (): Memories => {
  const memories = new Map<number, Memory>()
  const memoryOf = (buffer: number): Memory => need(memories, buffer, "buffer")
  return {
    start: async () => undefined,
    allocate: (buffer: number, dtype: DType, shape: Shape) =>
      void memories.set(buffer, allocate(dtype, elements(shape))),
    view: (buffer, of, offset, shape) => {
      const { bytes, dtype, ofKernels } = memoryOf(of)
      const size = bytesPerElement[dtype]
      const view = hostView("u8", bytes.buffer, bytes.byteOffset + offset * size, elements(shape) * size)
      memories.set(buffer, { dtype, bytes: view as Uint8Array<ArrayBuffer>, ofKernels })
    },
    free: buffer => void memories.delete(buffer),
    upload: async (buffer, bytes) => memoryOf(buffer).bytes.set(bytes),
    download: async buffer => memoryOf(buffer).bytes.slice(),
    bind: (compiled, inputs, outputs, inPlace) => {
      const [given, results] = [inputs.map(memoryOf), outputs.map(memoryOf)]
      return compiled.kernel === undefined
        ? bound(compiled, given, results, inPlace)
        : boundKernel(compiled.kernel, given, results)
    },
    settle: async () => undefined,
    transfers: () => noTransfers
  }
}

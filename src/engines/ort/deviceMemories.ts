/**
 * Buffers on a WebGPU device. A run makes new tensors there and puts them in the place of what the buffers held: the runtime cannot write
 * into given memory beside results that it allocates itself, and WebGPU forbids to read and write the same memory at once.
 */
import { bf16Bits, bytesPerElement, type DType, f16Bits, fromBf16Bits, fromF16Bits } from "../../tensor/dtype.ts"
import { elements, type Shape } from "../../tensor/Tensor.ts"
import { deviceElements } from "../names.ts"
import { isHalf } from "./builder.ts"
import { DeviceTensors, emptyTensor } from "./deviceTensors.ts"
import { borderType } from "./lower.ts"
import { need } from "../handles.ts"
import { type Compiled, type Memories, runSegments } from "./memories.ts"
import type { OnnxType } from "./onnx.ts"
import { Pieces } from "./pieces.ts"
import type { Sessions } from "./sessions.ts"
import type * as ort from "./runtime.ts"

/** A buffer, or a view: a range of what another one holds. */
interface Memory {
  readonly dtype: DType
  readonly type: OnnxType
  readonly pieces: Pieces<ort.Tensor>
  readonly offset: number
  readonly length: number
}

const overlaps = (a: Memory, b: Memory): boolean =>
  a.pieces === b.pieces && a.offset < b.offset + b.length && b.offset < a.offset + a.length

/** The device holds 16-bit floats as f32. */
const toDevice = (dtype: DType, bytes: Uint8Array<ArrayBuffer>): ArrayBufferView<ArrayBuffer> => {
  if (!isHalf(dtype)) return bytes
  const raw = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
  return Float32Array.from(raw, dtype === "f16" ? fromF16Bits : fromBf16Bits)
}

const toHost = (dtype: DType, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => {
  if (!isHalf(dtype)) return bytes
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  return new Uint8Array(Uint16Array.from(values, dtype === "f16" ? f16Bits : bf16Bits).buffer)
}

export const deviceMemories = (sessions: Sessions): Memories => {
  const device = new DeviceTensors(sessions)
  const memories = new Map<number, Memory>()
  /** Buffers, without the views of them. */
  const roots = new Set<number>()
  const memoryOf = (buffer: number): Memory => need(memories, buffer, "buffer")

  /** What a memory holds as one tensor, held for the caller. What lies in pieces is joined, and stays so. */
  const read = async ({ length, offset, pieces, type }: Memory): Promise<ort.Tensor> => {
    const within = pieces.within(offset, length)
    if (within.length === 0) throw new Error("the buffer of a view was freed")
    const joined = await device.join(type, within)
    device.hold(joined)
    if (joined !== within[0]?.tensor) pieces.write(offset, length, joined)
    return joined
  }
  const upload = async ({ dtype, length, offset, pieces, type }: Memory, bytes: Uint8Array<ArrayBuffer>) => {
    if (length > 0) pieces.write(offset, length, await device.upload(type, toDevice(dtype, bytes)))
  }

  const run = async (compiled: Compiled, inputs: ReadonlyArray<Memory>, outputs: ReadonlyArray<Memory>) => {
    /** Held until the end. */
    const held: Array<ort.Tensor> = []
    const results: Array<readonly [Memory, ort.Tensor]> = []
    const take = async (memory: Memory): Promise<ort.Tensor> => {
      const tensor = await read(memory)
      held.push(tensor)
      return tensor
    }
    // What is not read need not be there beside what takes its place.
    for (const memory of outputs)
      if (!inputs.some(input => overlaps(input, memory))) memory.pieces.write(memory.offset, memory.length, undefined)
    try {
      await runSegments(compiled, {
        input: async (_, port) => {
          const { shape, type } = compiled.inputs[port]!
          return inputs[port]!.length === 0 ? emptyTensor(type, shape) : device.shaped(await take(inputs[port]!), shape)
        },
        output: (port, result) => {
          device.hold(result)
          held.push(result)
          results.push([outputs[port]!, result])
        },
        made: sessions.made,
        hold: device.hold,
        release: device.release
      })
      for (const { input, output } of compiled.copies)
        if (inputs[input]!.length > 0) results.push([outputs[output]!, await take(inputs[input]!)])
      for (const [{ length, offset, pieces }, tensor] of results) pieces.write(offset, length, tensor)
      for (const { bytes, output } of compiled.constants) await upload(outputs[output]!, bytes.slice())
    } finally {
      for (const tensor of held) device.release(tensor)
    }
  }

  return {
    start: device.settle,
    allocate: (buffer: number, dtype: DType, shape: Shape) => {
      const length = elements(shape)
      const pieces = new Pieces<ort.Tensor>(length, device)
      memories.set(buffer, { dtype, type: borderType(dtype, "webgpu"), pieces, offset: 0, length })
      roots.add(buffer)
    },
    view: (buffer, of, offset, shape) => {
      const memory = memoryOf(of)
      memories.set(buffer, { ...memory, offset: memory.offset + offset, length: elements(shape) })
    },
    free: buffer => {
      if (roots.delete(buffer)) memoryOf(buffer).pieces.clear()
      memories.delete(buffer)
    },
    upload: (buffer, bytes) => upload(memoryOf(buffer), bytes),
    download: async buffer => {
      const memory = memoryOf(buffer)
      const { dtype, length, offset, type } = memory
      const bytes = new Uint8Array(length * bytesPerElement[dtype])
      // As many at a time as a device surely has in one piece.
      for (let start = 0; start < length; start += deviceElements) {
        const size = Math.min(deviceElements, length - start)
        const tensor = await read({ ...memory, offset: offset + start, length: size })
        try {
          bytes.set(toHost(dtype, await device.download(type, tensor)), start * bytesPerElement[dtype])
        } finally {
          device.release(tensor)
        }
      }
      return bytes
    },
    bind: (compiled, inputs, outputs) => {
      const [given, made] = [inputs.map(memoryOf), outputs.map(memoryOf)]
      return () => run(compiled, given, made)
    },
    settle: device.settle,
    transfers: () => device.transfers
  }
}

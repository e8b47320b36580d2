/** Memory for kernels, and how they run on it. */
import { type Kernel, mostArrays } from "./kernel.ts"

/** The part that is used of what every JavaScript engine has; TypeScript declares it for browsers only. */
declare const WebAssembly: {
  readonly Memory: new (pages: { readonly initial: number; readonly maximum: number }) => KernelMemory
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (
    module: object,
    imports: { readonly m: { readonly [memory: string]: KernelMemory } }
  ) => { readonly exports: { readonly run: (...given: ReadonlyArray<number>) => void } }
}

/** What kernels work on without copies. */
export interface KernelMemory {
  readonly buffer: ArrayBuffer
}

const pageBytes = 65_536
const mostPages = 65_535
/** Arrays that begin at the same place of a page get into each other's way in the caches: a step of AdamW takes twice the time or more. */
const stagger = 4096 + 64
let turn = 0
/** Asking once more would cost several garbage collections. */
let noAddresses = false

const newMemory = (bytes: number): KernelMemory => {
  const pages = Math.ceil(bytes / pageBytes)
  return new WebAssembly.Memory({ initial: pages, maximum: pages })
}

/** f32 of which an array has its own memory; undefined where it would be too much for one, or no more addresses can be had. */
export const allocateForKernels = (size: number): Required<KernelArray> | undefined => {
  const offset = (turn++ % 15) * stagger
  const bytes = offset + size * Float32Array.BYTES_PER_ELEMENT
  if (bytes > mostPages * pageBytes || noAddresses) return undefined
  try {
    reserveStages()
    const memory = newMemory(bytes)
    return { floats: new Float32Array(memory.buffer, offset, size), memory }
  } catch {
    noAddresses = true
    return undefined
  }
}

export interface KernelArray {
  readonly floats: Float32Array<ArrayBuffer>
  /** Where `floats` lies in one. */
  readonly memory?: KernelMemory
}

/** Elements of arrays elsewhere that are brought to memory at a time: few enough to stay in a cache. */
export const stagedElements = 8192
const stageDistance = stagedElements * Float32Array.BYTES_PER_ELEMENT + stagger
/** Shared by all kernels: one runs at a time. */
let stages: KernelMemory | undefined

/** A memory takes up to 10 GiB of addresses, of which there may be few: what kernels cannot do without comes first. */
const reserveStages = (): KernelMemory => (stages ??= newMemory(mostArrays * stageDistance))

/** Memory for a part of an array that lies elsewhere, by the number of the array. */
const stage = (array: number): Required<KernelArray> => {
  const memory = reserveStages()
  return { floats: new Float32Array(memory.buffer, array * stageDistance, stagedElements), memory }
}

/** Fixes on what a kernel works; what it returns runs it. An output may be the array of an input, but may not begin within one. */
export const bindKernel = (
  { arrays, module, scalars }: Kernel,
  inputs: ReadonlyArray<KernelArray>,
  outputs: ReadonlyArray<KernelArray>
): (() => void) => {
  const given = scalars.map(place => inputs[place]!.floats)
  const bound = [...arrays.map(place => inputs[place]!), ...outputs].map(({ floats, memory }, i) => {
    const there = memory === undefined ? stage(i) : { floats, memory }
    return { ...there, elsewhere: memory === undefined ? floats : undefined, isOutput: i >= arrays.length }
  })
  const memories = Object.fromEntries(bound.map(({ memory }, i) => [String(i), memory]))
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(module), { m: memories }).exports
  const total = outputs[0]!.floats.length
  const chunk = bound.some(({ elsewhere }) => elsewhere !== undefined) ? stagedElements : total
  return () => {
    for (let start = 0; start < total; start += chunk) {
      const stop = Math.min(total, start + chunk)
      for (const { elsewhere, floats, isOutput } of bound)
        if (elsewhere !== undefined && !isOutput) floats.set(elsewhere.subarray(start, stop))
      const addresses = bound.map(({ elsewhere, floats }) =>
        elsewhere === undefined ? floats.byteOffset + start * Float32Array.BYTES_PER_ELEMENT : floats.byteOffset
      )
      run(stop - start, ...addresses, ...given.map(value => value[0]!))
      for (const { elsewhere, floats, isOutput } of bound)
        if (elsewhere !== undefined && isOutput) elsewhere.set(floats.subarray(0, stop - start), start)
    }
  }
}

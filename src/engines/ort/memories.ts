/** Where the elements of buffers lie, and how a compiled program runs on them: on the host, or on a device. */
import type { DType } from "../../tensor/dtype.ts"
import type { Shape } from "../../tensor/Tensor.ts"
import type { OnnxType } from "./onnx.ts"
import type { Request, Transfers } from "./protocol.ts"
import type * as ort from "./runtime.ts"

export interface Compiled extends Extract<Request, { readonly kind: "compile" }> {
  /** Of its segments, in their order. */
  readonly sessions: ReadonlyArray<ort.InferenceSession>
}

/** Buffers by number. */
export interface Memories {
  /** Fails where the device cannot be had. */
  readonly start: () => Promise<void>
  readonly allocate: (buffer: number, dtype: DType, shape: Shape) => void
  readonly view: (buffer: number, of: number, offset: number, shape: Shape) => void
  readonly free: (buffer: number) => void
  readonly upload: (buffer: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void>
  readonly download: (buffer: number) => Promise<Uint8Array>
  /** Fixes which buffers a program works on; what it returns runs it. `inPlace`: places of outputs that may be written over inputs. */
  readonly bind: (
    compiled: Compiled,
    inputs: ReadonlyArray<number>,
    outputs: ReadonlyArray<number>,
    inPlace: ReadonlyArray<number>
  ) => () => Promise<void>
  /** Waits for what runs have only asked for. */
  readonly settle: () => Promise<void>
  readonly transfers: () => Transfers
}

/** Names of element types as the runtime's interface has them, with the array that holds each. */
export const tensorTypes = {
  f32: ["float32", Float32Array],
  u8: ["uint8", Uint8Array],
  u16: ["uint16", Uint16Array],
  i32: ["int32", Int32Array],
  i64: ["int64", BigInt64Array],
  bool: ["bool", Uint8Array],
  f16: ["float16", Uint16Array],
  f64: ["float64", Float64Array],
  bf16: ["uint16", Uint16Array]
} as const satisfies { readonly [T in OnnxType]: readonly [string, unknown] }

export interface SegmentIO {
  /** What a port holds before the segment runs. */
  readonly input: (segment: number, port: number) => Promise<ort.Tensor>
  /** Memory for results that are to be written where they belong; null leaves it to the runtime. */
  readonly fetches?: (segment: number) => { readonly [name: string]: ort.Tensor | null }
  readonly output: (port: number, result: ort.Tensor) => void
  readonly made?: (session: ort.InferenceSession, result: ort.Tensor) => void
  /** A value between segments is to be kept, or is needed no more. */
  readonly hold?: (tensor: ort.Tensor) => void
  readonly release?: (tensor: ort.Tensor) => void
}

/** The runtime writes to memory that it is given, and returns a copy beside, which is as large: it would stay until the next garbage collection. */
const giveBack = (copy: ort.Tensor, written: ort.Tensor): void => {
  const { buffer } = copy.data as Uint8Array<ArrayBuffer>
  if (buffer !== (written.data as Uint8Array).buffer) buffer.transfer(0)
}

/** Runs the segments one after the other. */
export const runSegments = async (compiled: Compiled, io: SegmentIO): Promise<void> => {
  const crossing = new Map<number, ort.Tensor>()
  try {
    for (const [i, { done, inputs, outputs }] of compiled.segments.entries()) {
      const feeds: Record<string, ort.Tensor> = {}
      for (const { from, name } of inputs)
        feeds[name] = "crossing" in from ? crossing.get(from.crossing)! : await io.input(i, from.port)
      const session = compiled.sessions[i]!
      const fetches = io.fetches?.(i)
      const results = fetches === undefined ? await session.run(feeds) : await session.run(feeds, fetches)
      for (const { name, to } of outputs) {
        const given = fetches?.[name] ?? undefined
        const result = given ?? results[name]!
        if (given !== undefined) giveBack(results[name]!, given)
        io.made?.(session, result)
        for (const place of to)
          if ("crossing" in place) {
            crossing.set(place.crossing, result)
            io.hold?.(result)
          } else io.output(place.port, result)
      }
      for (const value of done) {
        io.release?.(crossing.get(value)!)
        crossing.delete(value)
      }
    }
  } finally {
    // Nothing is left unless a segment failed.
    for (const tensor of crossing.values()) io.release?.(tensor)
  }
}

/** What the engine and its thread say to each other. Buffers live in the thread; the engine knows them by number. */
import type { RemoteRequest } from "../remote.ts"
import type { DType } from "../../tensor/dtype.ts"
import type { Shape } from "../../tensor/Tensor.ts"
import type { Kernel } from "./kernel.ts"
import type { OnnxType } from "./onnx.ts"

/** What computes: the processor, or what WebGPU finds. */
export type Device = "cpu" | "webgpu"

/**
 * Version of ONNX's operators in models for WebGPU: the newest for which ONNX Runtime has every kernel that programs need. With newer ones it
 * leaves Sin and Cos (22), Pad (24) and Transpose (25) to the processor.
 */
export const webgpuOpset = 21

/** What went of buffers between the host and a device since the engine was started. */
export interface Transfers {
  readonly uploads: number
  readonly uploadedBytes: number
  readonly downloads: number
  readonly downloadedBytes: number
  /** Sessions that the processor computes a part of: what they copy there and back is not counted. */
  readonly partlyOnProcessor: number
}

export const noTransfers: Transfers = {
  uploads: 0,
  uploadedBytes: 0,
  downloads: 0,
  downloadedBytes: 0,
  partlyOnProcessor: 0
}

/** Where a session's input comes from or its output goes: a buffer of the call by its place, or a value between segments by its number. */
export type Place = { readonly port: number } | { readonly crossing: number }

export interface SegmentPlan {
  /** Digest of the model, and whether its session is sparing: equal ones share a session. */
  readonly model: string
  readonly inputs: ReadonlyArray<{ readonly name: string; readonly from: Place }>
  readonly outputs: ReadonlyArray<{ readonly name: string; readonly to: ReadonlyArray<Place> }>
  /** Crossing values that no later segment needs. */
  readonly done: ReadonlyArray<number>
}

export interface Port {
  readonly dtype: DType
  readonly type: OnnxType
  readonly shape: Shape
}

export type Request =
  | {
      readonly kind: "compile"
      readonly executable: number
      /** Runs in place of all segments, of which there are none then. */
      readonly kernel?: Kernel
      readonly models: ReadonlyArray<{ readonly digest: string; readonly bytes: Uint8Array }>
      /** Their sessions keep no memory between runs. */
      readonly sparing: boolean
      readonly segments: ReadonlyArray<SegmentPlan>
      readonly inputs: ReadonlyArray<Port>
      readonly outputs: ReadonlyArray<Port>
      /** Outputs that are inputs of the program: copied. */
      readonly copies: ReadonlyArray<{ readonly output: number; readonly input: number }>
      /** Outputs that are constants. */
      readonly constants: ReadonlyArray<{ readonly output: number; readonly bytes: Uint8Array }>
    }
  /** Finds the device. */
  | { readonly kind: "start" }
  /** Gives everything back, before the thread is ended. */
  | { readonly kind: "close" }
  /** The payload of the answer is `Transfers` as JSON. */
  | { readonly kind: "transfers" }
  | RemoteRequest

export interface Envelope {
  readonly id: number
  readonly request: Request
  readonly payload?: Uint8Array<ArrayBuffer>
}

export type Reply =
  | { readonly id: number; readonly ok: true; readonly data?: Uint8Array }
  | { readonly id: number; readonly ok: false; readonly message: string }

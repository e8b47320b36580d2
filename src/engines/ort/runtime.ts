/** Loads ONNX Runtime, which nothing else does, once its telemetry is off. */
import type * as library from "onnxruntime-node"
import { disableTelemetry } from "./library.ts"

disableTelemetry()

// An import statement would be run before the line above.
export const { InferenceSession, Tensor } = await import("onnxruntime-node")
export type InferenceSession = library.InferenceSession
export type SessionOptions = library.InferenceSession.SessionOptions
export type Tensor = library.Tensor

/**
 * What runs programs. An engine compiles a program once, holds buffers where it computes, and runs the program on them as often
 * as asked; nothing is moved between runs. Models, losses and optimisers know only this interface.
 */
import { Schema, type Effect, type Scope } from "effect"
import type { DType, HostArray } from "../tensor/dtype.ts"
import type { Program } from "../tensor/Program.ts"
import type { Shape } from "../tensor/Tensor.ts"

/** An engine refused or failed: says which engine, what it was doing, and what to do. */
export class EngineError extends Schema.TaggedError<EngineError>()("EngineError", {
  engine: Schema.String,
  message: Schema.String,
  /** `crashed`: what computes died, and may go better a second time. */
  class: Schema.optionalKey(Schema.Literal("crashed"))
}) {}

/** Memory of an engine: a handle, not the elements. Owned by the scope that allocated it. */
export interface Buffer {
  readonly id: number
  readonly dtype: DType
  readonly shape: Shape
}

/** A compiled program. Owned by the scope that compiled it. */
export interface Executable {
  readonly id: number
  readonly program: Program
}

/**
 * An executable with its buffers. Inputs and outputs are buffers by name, all of them, with the program's dtypes and shapes. An
 * output may share memory with an input only in a program that `compile` was told so.
 */
export interface Call {
  readonly id: number
  readonly executable: Executable
}

export interface CompileOptions {
  /** Outputs that may be bound to the memory of an input of the same dtype and shape: output name -> input name. */
  readonly inPlace?: { readonly [output: string]: string }
  /** Gives back what a run needs beside its buffers as soon as it is needed no more, which takes time. Left out, an engine may keep it for the next run, and for as long as there is the program. */
  readonly sparing?: boolean
}

export interface Buffers {
  readonly [name: string]: Buffer
}

/** Processes that compute together, each with an engine of its own; `allReduce` adds up over them. */
export interface World {
  /** Number of this process, from 0. */
  readonly rank: number
  readonly size: number
}

export const alone: World = { rank: 0, size: 1 }

/** Floats in a file, one after the other, little-endian. */
export interface FileFloats {
  readonly path: string
  readonly dtype: "f32" | "f16" | "bf16"
  /** Where the first element begins, in bytes. */
  readonly offset: number
}

export interface Engine {
  /** As in `engineNames`. */
  readonly name: string
  /** What decides the last bits of results: engine, device kind and precision policy, as in `ort/cpu/f32`. A part of action keys. */
  readonly numericClass: string
  readonly world: World
  /** Elements that an elementwise program best works on at once. */
  readonly chunk: number
  readonly compile: (program: Program, options?: CompileOptions) => Effect.Effect<Executable, EngineError, Scope.Scope>
  /** Zeroed memory for a tensor. */
  readonly allocate: (dtype: DType, shape: Shape) => Effect.Effect<Buffer, EngineError, Scope.Scope>
  /** Part of a buffer's memory under another shape, from an element on. Lives as long as the buffer. */
  readonly view: (buffer: Buffer, offset: number, shape: Shape) => Effect.Effect<Buffer, EngineError>
  /** Fixes which buffers a program works on; cheap to run again and again. */
  readonly bind: (
    executable: Executable,
    inputs: Buffers,
    outputs: Buffers
  ) => Effect.Effect<Call, EngineError, Scope.Scope>
  /** Runs calls one after the other: each sees what the ones before it wrote. */
  readonly run: (calls: ReadonlyArray<Call>) => Effect.Effect<void, EngineError>
  /** Copies host elements into a buffer. */
  readonly upload: (buffer: Buffer, data: HostArray) => Effect.Effect<void, EngineError>
  /** Fills a buffer of floats from a file, converting them: of engines that read files themselves, which spares a copy through the host. */
  readonly load?: (buffer: Buffer, file: FileFloats) => Effect.Effect<void, EngineError>
  /** A copy of a buffer's elements. */
  readonly download: (buffer: Buffer) => Effect.Effect<HostArray, EngineError>
}

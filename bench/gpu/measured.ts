/** What is measured, and what a contender came to. */
import type { Precision } from "../../src/engines/names.ts"
import type { ModelConfig } from "../../src/models/config.ts"

/** The work, the same for every contender. */
export interface Task {
  readonly config: ModelConfig
  /** The model in Hugging Face layout. */
  readonly directory: string
  readonly device: string
  readonly precision: Precision
  readonly compiled: boolean
  readonly threads: number | undefined
  /** Of the forward pass. */
  readonly tokens: ReadonlyArray<number>
  readonly decode: {
    readonly prompt: ReadonlyArray<number>
    readonly newTokens: number
    readonly steps: ReadonlyArray<number>
    readonly mask: number
  }
  readonly training: { readonly rows: number; readonly length: number; readonly vocabSize: number } | undefined
  /** Runs before the first that counts: programs are compiled and recorded in them. A decoding is many runs itself. */
  readonly warmUp: number
  readonly rounds: number
  /** A work that has taken so long is measured `leastRounds` times only. */
  readonly seconds: number
  readonly leastRounds: number
}

/** By the name of the work: `forward`, `decode/STEPS`, `training`. */
export interface Measured {
  /** Of each round. */
  readonly milliseconds: { readonly [work: string]: ReadonlyArray<number> }
  /** Most bytes of the device that tensors had at once; null on the processor. */
  readonly peakBytes: { readonly [work: string]: number | null }
  /** The new tokens of the last decoding. */
  readonly tokens: { readonly [work: string]: ReadonlyArray<number> }
}

/** What the device can do, measured in the same run. */
export interface Peaks {
  /** Floating-point operations per second of a product of large matrices, by how it is computed. */
  readonly matmul: { readonly [precision in Precision]?: number }
  /** Bytes per second of an elementwise op, read and written. */
  readonly bandwidth: number
}

export const quantile = (values: ReadonlyArray<number>, q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!

/** What is measured, and what a contender came to. */
import { Effect } from "effect"
import type { Precision } from "../../src/engines/names.ts"
import type { TorchOptions } from "../../src/engines/torch/torch.ts"
import type { ModelConfig } from "../../src/models/config.ts"
import type { Adapter } from "../../src/models/linear/linearMaps.ts"

/** A step of one micro-batch. */
export interface TrainingTask {
  readonly rows: number
  readonly length: number
  /** Under an adapter: aligned with the states of the base at so many layers, which the step computes as well. */
  readonly alignedLayers?: number
}

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
  /** By the name of the work. */
  readonly trainings: { readonly [work: string]: TrainingTask }
  /** Trainings train it alone, by masked diffusion and with layers that are computed again. Left out: everything, as an autoregressive model. */
  readonly adapter?: Adapter
  /** Runs before the first that counts: programs are compiled and recorded in them. A decoding is many runs itself. */
  readonly warmUp: number
  readonly rounds: number
  /** A work that has taken so long is measured `leastRounds` times only. */
  readonly seconds: number
  readonly leastRounds: number
}

/** The engine of a task. */
export const torchOptions = ({
  compiled,
  device,
  precision,
  threads
}: Pick<Task, "compiled" | "device" | "precision" | "threads">): TorchOptions => ({
  device,
  precision,
  compiled,
  ...(threads === undefined ? {} : { threads })
})

/** By the name of the work: `forward`, `decode/STEPS`, or a training's. */
export interface Measured {
  /** Of each round. */
  readonly milliseconds: { readonly [work: string]: ReadonlyArray<number> }
  /** Most bytes of the device that tensors had at once; null on the processor. */
  readonly peakBytes: { readonly [work: string]: number | null }
  /** The new tokens of the last decoding. */
  readonly tokens: { readonly [work: string]: ReadonlyArray<number> }
  /** Why a work could not be measured. */
  readonly errors: { readonly [work: string]: string }
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

/** The times of a work, ms. */
export const rounds = <A, E>(
  { leastRounds, rounds: most, seconds, warmUp }: Pick<Task, "leastRounds" | "rounds" | "seconds" | "warmUp">,
  work: Effect.Effect<A, E>
): Effect.Effect<ReadonlyArray<number>, E> =>
  Effect.gen(function* () {
    const milliseconds: Array<number> = []
    for (let i = 0; i < warmUp; i++) yield* work
    const begun = performance.now()
    while (
      milliseconds.length < most &&
      (milliseconds.length < leastRounds || performance.now() - begun < 1000 * seconds)
    ) {
      const start = performance.now()
      yield* work
      milliseconds.push(performance.now() - start)
    }
    return milliseconds
  })

/** Data parallelism: the processes of a training share the micro-batches of a step, and add up gradients and losses. */
import { Effect, type Scope } from "effect"
import { type Buffer, type Engine, EngineError } from "../engines/Engine.ts"
import { allReduce, input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"

export interface DataParallel {
  /** Those of a step's micro-batches that this process computes. All processes must have as many. */
  readonly own: <A>(microBatches: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<A>, EngineError>
  /** Makes the gradients those of all processes; returns the losses of all. */
  readonly sum: (losses: { readonly [part: string]: number }) => Effect.Effect<typeof losses, EngineError>
}

/** Prepares it for the flat gradients [n] of a training with so many parts of the loss. Does nothing in a process alone. */
export const makeDataParallel = (
  engine: Engine,
  gradients: Buffer,
  parts: number
): Effect.Effect<DataParallel, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { rank, size } = engine.world
    if (size === 1) return { own: all => Effect.succeed(all), sum: losses => Effect.succeed(losses) }
    const totals = yield* engine.allocate("f32", [parts])
    const calls = yield* Effect.forEach([gradients, totals], buffer =>
      Effect.gen(function* () {
        const program = makeProgram({ sum: allReduce(input("own", "f32", buffer.shape)) })
        const executable = yield* engine.compile(program, { inPlace: { sum: "own" } })
        return yield* engine.bind(executable, { own: buffer }, { sum: buffer })
      })
    )
    return {
      own: microBatches =>
        microBatches.length % size === 0
          ? Effect.succeed(microBatches.filter((_, i) => i % size === rank))
          : Effect.fail(
              new EngineError({
                engine: engine.name,
                message: `${size} processes cannot share ${microBatches.length} micro-batches evenly; choose global_batch_size and micro_batch_size so that they can`
              })
            ),
      sum: losses =>
        Effect.gen(function* () {
          yield* engine.upload(totals, Float32Array.from(Object.values(losses)))
          yield* engine.run(calls)
          const all = (yield* engine.download(totals)) as Float32Array
          return Object.fromEntries(Object.keys(losses).map((part, i) => [part, all[i]!]))
        })
    }
  })

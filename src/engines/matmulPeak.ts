/** How fast an engine multiplies matrices here: what every other speed is a share of. */
import { Effect } from "effect"
import { input, matmul } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Engine, EngineError } from "./Engine.ts"

/** Rows and columns of the measured products: the larger shows the peak; it is left out where the smaller one already takes its time. */
const [small, large] = [256, 1024]
/** Of the smaller one, in milliseconds: the larger one then takes up to 64 times as long. */
const longest = 5
/** The fastest of so many counts, or more: others of this machine's programs may slow some down. */
const repeats = 8
/** How long the larger one is repeated at least, in milliseconds: in a new process, the first 20 or so take a fifth longer. */
const warmUp = 300

export interface MatmulPeak {
  /** Floating-point operations per second of a product of f32 matrices. */
  readonly perSecond: number
  /** Whether the product came out right. */
  readonly right: boolean
}

export const matmulPeak = (engine: Engine): Effect.Effect<MatmulPeak, EngineError> =>
  Effect.flatMap(measure(engine, small, 0), first =>
    first.right && flops(small) / first.perSecond < longest / 1000
      ? measure(engine, large, warmUp)
      : Effect.succeed(first)
  )

const flops = (size: number): number => 2 * size ** 3

const measure = (engine: Engine, size: number, atLeast: number): Effect.Effect<MatmulPeak, EngineError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const shape = [size, size]
      const program = makeProgram({ y: matmul(input("a", "f32", shape), input("b", "f32", shape)) })
      const [a, b, y] = [
        yield* engine.allocate("f32", shape),
        yield* engine.allocate("f32", shape),
        yield* engine.allocate("f32", shape)
      ]
      for (const buffer of [a, b]) yield* engine.upload(buffer, new Float32Array(size * size).fill(1 / size))
      const call = yield* engine.bind(yield* engine.compile(program), { a, b }, { y })
      yield* engine.run([call])
      const product = (yield* engine.download(y)) as Float32Array
      let best = Infinity
      const begin = performance.now()
      for (let i = 0; i < repeats || performance.now() - begin < atLeast; i++) {
        const start = performance.now()
        yield* engine.run([call])
        best = Math.min(best, performance.now() - start)
      }
      const right = Math.abs(product[size]! - 1 / size) < 1e-6
      return { right, perSecond: flops(size) / (best / 1000) }
    })
  )

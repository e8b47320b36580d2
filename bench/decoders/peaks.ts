/** What a machine allows: how fast an engine multiplies, and how fast it reads memory. */
import { Effect } from "effect"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import { matmulPeak } from "../../src/engines/matmulPeak.ts"
import { input, matmul } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { fastest } from "../fastest.ts"
import type { Peaks } from "./roofline.ts"

/** Rows and columns of the matrix whose reading is timed: 128 MiB, more than processors keep near. */
const [rows, columns] = [4096, 8192]

/** Bytes per second of a vector times a matrix, which reads each number of it once, as a pass over few tokens reads weights. */
const readingBandwidth = (engine: Engine): Effect.Effect<number, EngineError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const x = yield* engine.allocate("f32", [1, rows])
      const matrix = yield* engine.allocate("f32", [rows, columns])
      const y = yield* engine.allocate("f32", [1, columns])
      yield* engine.upload(x, new Float32Array(rows).fill(1))
      // What was never written may lie in no memory at all.
      yield* engine.upload(matrix, new Float32Array(rows * columns).fill(1))
      const product = makeProgram({ y: matmul(input("x", "f32", [1, rows]), input("matrix", "f32", [rows, columns])) })
      const call = yield* engine.bind(yield* engine.compile(product), { x, matrix }, { y })
      return yield* fastest(engine, call, 4 * (rows * columns + rows + columns))
    })
  )

export const measurePeaks = (engine: Engine): Effect.Effect<Peaks, EngineError> =>
  Effect.gen(function* () {
    const { perSecond } = yield* matmulPeak(engine)
    return { matmul: perSecond, bandwidth: yield* readingBandwidth(engine) }
  })

/** The best of several measurements: others of the machine's programs may have slowed some down. */
export const bestOf = (measured: ReadonlyArray<Peaks>): Peaks => ({
  matmul: Math.max(...measured.map(({ matmul }) => matmul)),
  bandwidth: Math.max(...measured.map(({ bandwidth }) => bandwidth))
})

/** The L2 norm of a flat buffer, summed in float64 from partial sums of rows. */
import { Effect, type Scope } from "effect"
import type { Buffer, Call, Engine, EngineError } from "../engines/Engine.ts"
import { square } from "../tensor/composites.ts"
import { input, sum } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"

/** Elements that are summed in f32: few enough for its 24 bits. */
const rowSize = 4096

/** Prepares the norm of an f32 buffer [n]; the effect computes it from what the buffer then holds. */
export const makeNorm = (
  engine: Engine,
  flat: Buffer
): Effect.Effect<Effect.Effect<number, EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const n = flat.shape[0]!
    const whole = Math.floor(n / rowSize)
    const parts = [
      { rows: whole, columns: rowSize, offset: 0 },
      { rows: 1, columns: n - whole * rowSize, offset: whole * rowSize }
    ].filter(({ columns, rows }) => rows * columns > 0)
    const calls: Array<Call> = []
    const sums: Array<Buffer> = []
    for (const { columns, offset, rows } of parts) {
      const x = input("x", "f32", [rows, columns])
      const executable = yield* engine.compile(makeProgram({ squares: sum(square(x), [1]) }))
      const squares = yield* engine.allocate("f32", [rows])
      calls.push(yield* engine.bind(executable, { x: yield* engine.view(flat, offset, [rows, columns]) }, { squares }))
      sums.push(squares)
    }
    return Effect.gen(function* () {
      yield* engine.run(calls)
      let total = 0
      for (const squares of sums) for (const value of (yield* engine.download(squares)) as Float32Array) total += value
      return Math.sqrt(total)
    })
  })

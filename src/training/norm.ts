/** The L2 norm of a flat buffer, summed in float64 from partial sums of rows. */
import { Effect, type Scope } from "effect"
import type { Buffer, Call, Engine, EngineError, Executable } from "../engines/Engine.ts"
import { deviceElements } from "../engines/names.ts"
import { square } from "../tensor/composites.ts"
import { input, sum } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"

/** Elements that are summed in f32: few enough for its 24 bits. */
const rowSize = 4096

/** Rows that are read at once, and what is left at the end as one shorter row. */
const partsOf = (n: number) => {
  const whole = n - (n % rowSize)
  const parts: Array<{ readonly rows: number; readonly columns: number; readonly offset: number }> = []
  for (let offset = 0; offset < whole; offset += deviceElements)
    parts.push({ rows: Math.min(deviceElements, whole - offset) / rowSize, columns: rowSize, offset })
  if (whole < n) parts.push({ rows: 1, columns: n - whole, offset: whole })
  return parts
}

/** Prepares the norm of an f32 buffer [n]; the effect computes it from what the buffer then holds. */
export const makeNorm = (
  engine: Engine,
  flat: Buffer
): Effect.Effect<Effect.Effect<number, EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const n = flat.shape[0]!
    const calls: Array<Call> = []
    const sums: Array<Buffer> = []
    const compiled = new Map<string, Executable>()
    for (const { columns, offset, rows } of partsOf(n)) {
      const x = input("x", "f32", [rows, columns])
      const shape = `${rows} ${columns}`
      const executable = compiled.get(shape) ?? (yield* engine.compile(makeProgram({ squares: sum(square(x), [1]) })))
      compiled.set(shape, executable)
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

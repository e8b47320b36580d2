/** Programs that are compiled to be sparing keep nothing of what a run took beside its buffers. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { exp, input, matmul, sum } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"

const rows = 2 ** 12
/** Of the product of a column and a row, which no buffer holds. */
const productBytes = 4 * rows ** 2

it.live("gives back a large result within a program when the run is over", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads: 1 })
      const x = input("x", "f32", [rows, 1])
      const program = makeProgram({ y: sum(exp(matmul(x, x, { transposeB: true }))) })
      const [given, result] = [yield* engine.allocate("f32", [rows, 1]), yield* engine.allocate("f32", [])]
      /** What the process holds after two runs more than before. */
      const kept = (sparing: boolean) =>
        Effect.gen(function* () {
          const executable = yield* engine.compile(program, { sparing })
          const call = yield* engine.bind(executable, { x: given }, { y: result })
          const before = process.memoryUsage().rss
          yield* engine.run([call, call])
          expect([...(yield* engine.download(result))]).toEqual([rows ** 2])
          return process.memoryUsage().rss - before
        })
      expect(yield* kept(true)).toBeLessThan(productBytes / 2)
      // Both are there at the same time, so that a session is not taken for the other.
      expect(yield* kept(false)).toBeGreaterThan(productBytes / 2)
    })
  )
)

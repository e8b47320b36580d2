/** Products of few rows with the transpose of many weights, which the processor's engine turns round: around the sizes where it begins and ends to do so. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { input, matmul } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"

describe("x W^T on the processor", () => {
  it.live("is the sum of products in float64, for any number of rows, in one matrix or several", () =>
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads: 1 })
      for (const [n, k] of [
        [1024, 256],
        [1023, 256]
      ] as const) {
        const w = normals(randomKey(1, "w"), n * k)
        const weights = yield* engine.allocate("f32", [n, k])
        yield* engine.upload(weights, w)
        for (const shape of [[1], [2], [31], [32], [33], [1, 32], [2, 16], [3, 2, 5]]) {
          const rows = shape.reduce((a, b) => a * b)
          const values = normals(randomKey(2, "x"), rows * k)
          const x = yield* engine.allocate("f32", [...shape, k])
          const y = yield* engine.allocate("f32", [...shape, n])
          yield* engine.upload(x, values)
          const product = matmul(input("x", "f32", [...shape, k]), input("w", "f32", [n, k]), { transposeB: true })
          const executable = yield* engine.compile(makeProgram({ y: product }))
          yield* engine.run([yield* engine.bind(executable, { x, w: weights }, { y })])
          const found = (yield* engine.download(y)) as Float32Array
          let worst = 0
          for (let row = 0; row < rows; row++)
            for (let column = 0; column < n; column++) {
              let sum = 0
              for (let i = 0; i < k; i++) sum += values[row * k + i]! * w[column * k + i]!
              worst = Math.max(worst, Math.abs(found[row * n + column]! - sum))
            }
          expect(worst, `${shape.join(" x ")} rows, ${n} weights a place`).toBeLessThan(2e-4)
        }
      }
    }).pipe(Effect.scoped)
  )
})

/** The norm of a flat buffer, against closed forms. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { deviceElements } from "../../src/engines/names.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeNorm } from "../../src/training/norm.ts"

const normOf = (values: Float32Array<ArrayBuffer>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads: 1 })
      const flat = yield* engine.allocate("f32", [values.length])
      const norm = yield* makeNorm(engine, flat)
      yield* engine.upload(flat, values)
      return yield* norm
    })
  )

for (const n of [1, 4095, 4096, 10_000, deviceElements, deviceElements + 2 * 4096 + 5])
  it.live(`of ${n} numbers counts each once`, () =>
    Effect.gen(function* () {
      // Whole numbers whose squares f32 adds up exactly, another one at each place modulo 3.
      const values = Float32Array.from({ length: n }, (_, i) => (i % 3) + 1)
      const squares = [1, 4, 9].reduce((sum, square, i) => sum + square * Math.ceil((n - i) / 3), 0)
      expect(yield* normOf(values)).toBe(Math.sqrt(squares))
    })
  )

import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { inputsOf, makeSession } from "../../src/sessions/session.ts"
import { add, input, mul, sum } from "../../src/tensor/ops.ts"

const [a, b, state] = [input("a", "f32", [2]), input("b", "f32", [2]), input("state", "f32", [2])]

describe("a session", () => {
  it.effect("reads given buffers, is told the rest, and keeps what is not told anew", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const given = yield* engine.allocate("f32", [2])
        yield* engine.upload(given, Float32Array.of(1, 2))
        const { memory, run } = yield* makeSession(engine, { product: mul(a, b), total: sum(b) }, { a: given })
        expect(Object.keys(memory)).toEqual(["b", "product", "total"])
        const expected = { product: Float32Array.of(10, 40), total: Float32Array.of(30) }
        expect(yield* run({ b: Float32Array.of(10, 20) })).toEqual(expected)
        expect(yield* run({})).toEqual(expected)
      })
    )
  )

  it.effect("whose state is written in place goes on from it, as often as it is run", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const outputs = { next: add(state, b), doubled: mul(state, 2) }
        const session = yield* makeSession(engine, outputs, {}, { next: "state" })
        yield* session.upload({ state: Float32Array.of(0, 1), b: Float32Array.of(1, 1) })
        yield* session.compute(3)
        expect(yield* engine.download(session.memory["state"]!)).toEqual(Float32Array.of(3, 4))
        expect(yield* session.run({})).toEqual({ doubled: Float32Array.of(6, 8) })
      })
    )
  )

  it.effect("says what it was never given, and which parameter there is not", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const session = yield* makeSession(makeReference(), { product: mul(a, b) }, {})
        const failed = yield* Effect.exit(session.run({ a: Float32Array.of(1, 2) }))
        expect(Exit.isFailure(failed) && String(failed.cause)).toContain("the program reads b, which was never given")
        expect(() => inputsOf({ a })("other" as "a")).toThrow("there is no parameter other")
      })
    )
  )
})

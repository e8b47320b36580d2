/** The tests that every engine must pass: how it is used. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import type { Buffer, Engine, EngineError } from "../../src/engines/Engine.ts"
import { mayOverwrite } from "../../src/engines/ort/inPlace.ts"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { fromBf16Bits } from "../../src/tensor/dtype.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import type { MakeEngine } from "./runOnce.ts"

const x = ops.input("x", "f32", [4])
const y = ops.input("y", "f32", [4])
const added = makeProgram({ sum: ops.add(x, y), product: ops.mul(x, y) })

const within = (make: MakeEngine, body: (engine: Engine) => Effect.Effect<void, EngineError, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(make(), body))
const messageOf = (effect: Effect.Effect<unknown, EngineError, Scope.Scope>) =>
  Effect.map(Effect.orDie(Effect.flip(Effect.scoped(effect))), ({ message }) => message)

/** Buffers, views, calls in place, errors, and programs that compute parts again. */
export const lifecycleSuite = (name: string, make: MakeEngine): void => {
  describe(`engine ${name}`, () => {
    it.live("runs on views of one flat buffer, again and again", () =>
      within(make, engine =>
        Effect.gen(function* () {
          const flat = yield* engine.allocate("f32", [20])
          const views = yield* Effect.forEach([0, 4, 8, 12], offset => engine.view(flat, offset, [4]))
          const [a, b, sum, product] = views as [typeof flat, typeof flat, typeof flat, typeof flat]
          const executable = yield* engine.compile(added)
          const call = yield* engine.bind(executable, { x: a, y: b }, { sum, product })
          yield* engine.upload(b, Float32Array.of(1, 2, 3, 4))
          for (const value of [1, 5]) {
            yield* engine.upload(a, new Float32Array(4).fill(value))
            yield* engine.run([call])
            expect([...(yield* engine.download(flat))].map(Number)).toEqual([
              ...Array(4).fill(value),
              1,
              2,
              3,
              4,
              ...[1, 2, 3, 4].map(n => n + value),
              ...[1, 2, 3, 4].map(n => n * value),
              0,
              0,
              0,
              0
            ])
          }
        })
      )
    )

    it.live("shows a call what the calls before it wrote, and writes in place where it may", () =>
      within(make, engine =>
        Effect.gen(function* () {
          const step = makeProgram({ next: ops.add(ops.mul(x, 2), y) })
          const executable = yield* engine.compile(step, { inPlace: { next: "x" } })
          const state = yield* engine.allocate("f32", [4])
          const one = yield* engine.allocate("f32", [4])
          yield* engine.upload(one, new Float32Array(4).fill(1))
          const call = yield* engine.bind(executable, { x: state, y: one }, { next: state })
          yield* engine.run(Array(10).fill(call))
          expect([...(yield* engine.download(state))]).toEqual(Array(4).fill(2 ** 10 - 1))
        })
      )
    )

    it.live("reads an input before it is overwritten, also where an order must be found", () =>
      within(make, engine =>
        Effect.gen(function* () {
          // The second output reads x too: writing the first one over x early would spoil it.
          const program = makeProgram({ next: ops.exp(x), sum: ops.sum(ops.mul(x, 3)) })
          expect(mayOverwrite(program, "next", "x")).toBe(false)
          const executable = yield* engine.compile(program, { inPlace: { next: "x" } })
          const state = yield* engine.allocate("f32", [4])
          const sum = yield* engine.allocate("f32", [])
          yield* engine.upload(state, Float32Array.of(0, 0, 0, 1))
          yield* engine.run([yield* engine.bind(executable, { x: state }, { next: state, sum })])
          expect([...(yield* engine.download(sum))]).toEqual([3])
          expect([...(yield* engine.download(state))].map(Number)[3]).toBeCloseTo(Math.E, 5)
        })
      )
    )

    it.live("gives outputs that are inputs or constants, in every run", () =>
      within(make, engine =>
        Effect.gen(function* () {
          const fixed = ops.constant(Float32Array.of(1, 2, 3, 4), "f32", [4])
          const scalar = ops.constant(7, "bf16")
          const program = makeProgram({ same: x, fixed, scalar, sum: ops.add(x, fixed) })
          const executable = yield* engine.compile(program)
          const state = yield* engine.allocate("f32", [4])
          const outputs = {
            same: yield* engine.allocate("f32", [4]),
            fixed: yield* engine.allocate("f32", [4]),
            scalar: yield* engine.allocate("bf16", []),
            sum: yield* engine.allocate("f32", [4])
          }
          const call = yield* engine.bind(executable, { x: state }, outputs)
          for (const value of [5, 6]) {
            yield* engine.upload(state, new Float32Array(4).fill(value))
            yield* engine.upload(outputs.fixed, new Float32Array(4))
            yield* engine.run([call])
            expect([...(yield* engine.download(outputs.same))]).toEqual(Array(4).fill(value))
            expect([...(yield* engine.download(outputs.fixed))]).toEqual([1, 2, 3, 4])
            expect(fromBf16Bits(Number((yield* engine.download(outputs.scalar))[0]))).toBe(7)
            expect([...(yield* engine.download(outputs.sum))]).toEqual([1, 2, 3, 4].map(n => n + value))
          }
        })
      )
    )

    it.live("keeps what a program computed when the program is no longer there", () =>
      within(make, engine =>
        Effect.gen(function* () {
          const [a, b, sum, product] = yield* Effect.forEach(["x", "y", "sum", "product"], () =>
            engine.allocate("f32", [4])
          ) as Effect.Effect<ReadonlyArray<Buffer>, EngineError, Scope.Scope>
          yield* engine.upload(a!, Float32Array.of(1, 2, 3, 4))
          yield* engine.upload(b!, new Float32Array(4).fill(2))
          const buffers = [
            { x: a!, y: b! },
            { sum: sum!, product: product! }
          ] as const
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* engine.run([yield* engine.bind(yield* engine.compile(added), ...buffers)])
            })
          )
          expect([...(yield* engine.download(sum!))]).toEqual([3, 4, 5, 6])
          // Written by another program, which frees what the first one made.
          const again = makeProgram({ sum: ops.mul(x, 2), product: ops.sub(x, y) })
          yield* engine.run([yield* engine.bind(yield* engine.compile(again), { x: sum!, y: product! }, buffers[1])])
          expect([...(yield* engine.download(sum!))]).toEqual([6, 8, 10, 12])
          expect([...(yield* engine.download(product!))]).toEqual([1, 0, -1, -2])
        })
      )
    )

    it.live("says what is wrong with buffers", () =>
      within(make, engine =>
        Effect.gen(function* () {
          const executable = yield* engine.compile(added)
          const good = yield* engine.allocate("f32", [4])
          const long = yield* engine.allocate("f32", [5])
          const whole = yield* engine.allocate("i32", [4])
          const outputs = { sum: good, product: good }
          expect(yield* messageOf(engine.bind(executable, { x: good }, outputs))).toBe(
            "the input y, f32 [4], has no buffer"
          )
          expect(yield* messageOf(engine.bind(executable, { x: good, y: long }, outputs))).toBe(
            "the input y needs a buffer of f32 [4], got f32 [5]"
          )
          expect(yield* messageOf(engine.bind(executable, { x: good, y: whole }, outputs))).toBe(
            "the input y needs a buffer of f32 [4], got i32 [4]"
          )
          expect(yield* messageOf(engine.bind(executable, { x: good, y: good, z: good }, outputs))).toBe(
            "the program has no input z; it has x, y"
          )
          expect(yield* messageOf(engine.upload(good, new Float32Array(3)))).toBe(
            "upload to f32 [4] needs 4 elements in Float32Array, got 3 in Float32Array"
          )
          expect(yield* messageOf(engine.view(good, 2, [3]))).toMatch(
            /^a view of 3 elements from 2 on does not lie within/
          )
          const freed = yield* Effect.scoped(engine.allocate("f32", [4]))
          expect(yield* messageOf(engine.download(freed))).toMatch(/was freed, or is not of this engine$/)
        })
      )
    )

    it.live("gives checkpointed gradients as without checkpoints", () =>
      within(make, engine =>
        Effect.gen(function* () {
          const w = ops.input("w", "f32", [8, 8])
          const h = ops.input("h", "f32", [5, 8])
          const layer = (v: Tensor): Tensor => ops.tanh(ops.matmul(v, w))
          const layers = (wrap: (body: () => Tensor) => Tensor): Tensor => {
            let v = h
            for (let i = 0; i < 4; i++) {
              const before = v
              v = wrap(() => layer(layer(before)))
            }
            return ops.sum(v)
          }
          const programOf = (wrap: (body: () => Tensor) => Tensor) =>
            makeProgram({ g: gradients(layers(wrap), [w])[0]! })
          const program = programOf(ops.checkpoint)
          const values = {
            w: normals(randomKey(1, "w"), 64).map(value => 0.3 * value),
            h: normals(randomKey(1, "h"), 40)
          }
          const buffers = {
            w: yield* engine.allocate("f32", [8, 8]),
            h: yield* engine.allocate("f32", [5, 8])
          }
          const g = yield* engine.allocate("f32", [8, 8])
          yield* engine.upload(buffers.w, values.w)
          yield* engine.upload(buffers.h, values.h)
          yield* engine.run([yield* engine.bind(yield* engine.compile(program), buffers, { g })])
          const expected = evaluate(
            programOf(body => body()),
            values,
            { exact: true }
          )["g"]!
          for (const [i, value] of [...(yield* engine.download(g))].map(Number).entries())
            expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-4 * (1 + Math.abs(expected[i]!)))
        })
      )
    )
  })
}

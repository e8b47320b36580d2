/** The tests that every engine must pass: what it computes. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { evaluate, fromNumbers, toNumbers } from "../../src/engines/reference/evaluate.ts"
import { isFloat } from "../../src/tensor/dtype.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram, type ProgramOp } from "../../src/tensor/Program.ts"
import { randomKey } from "../../src/tensor/random.ts"
import { type Case, conformance, draw, lastPlace } from "./conformance.ts"
import { randomCase } from "./randomCases.ts"
import { type MakeEngine, runOnce } from "./runOnce.ts"

/** Random cases of each op. */
const randomShapes = 16

const compare = Effect.fn("compare")(function* (
  engine: Engine,
  op: string,
  { f, inputs, ulps = 0 }: Case,
  seed: number
) {
  const traced = inputs.map(({ dtype, shape }, i) => ops.input(`x${i}`, dtype, shape))
  const program = makeProgram({ y: f(...traced) })
  const values = Object.fromEntries(
    inputs.map((input, i) => [`x${i}`, toNumbers(input.dtype, fromNumbers(input.dtype, draw(input, seed + i)))])
  )
  const known = Object.fromEntries(program.inputs.map(({ name }) => [name, values[name]!]))
  const expected = evaluate(program, known)["y"]!
  const actual = (yield* runOnce(engine, program, known))["y"]!
  const { dtype } = program.values[program.outputs[0]!.value]!
  const label = `${op} on ${inputs.map(input => `${input.dtype}[${input.shape.join(",")}]`).join(", ")}`
  expect(actual.length, label).toBe(expected.length)
  for (const [i, value] of expected.entries()) {
    if (Object.is(actual[i], value) || actual[i] === value) continue
    // Half-way results may round the other way even where the f32 arithmetic agrees to the last bit.
    const allowed = isFloat(dtype)
      ? Math.max(ulps, dtype === "f32" ? 0 : 1) * lastPlace[dtype] * Math.max(1, Math.abs(value))
      : 0
    expect(Math.abs(actual[i]! - value), `${label}, element ${i}: ${actual[i]} against ${value}`).toBeLessThanOrEqual(
      allowed
    )
  }
})

/** Every op of the list, on its shapes and on random ones, and what those leave out, against the reference. */
export const conformanceSuite = (name: string, make: MakeEngine, makeThreaded: MakeEngine = make): void => {
  describe(`engine ${name}`, () => {
    for (const [op, cases] of Object.entries(conformance))
      it.live(`computes ${op}`, () =>
        Effect.scoped(
          Effect.gen(function* () {
            const engine = yield* make()
            for (const [i, testCase] of cases.entries()) yield* compare(engine, op, testCase, 10 * i)
            for (let i = 0; i < randomShapes; i++) {
              const testCase = randomCase(op as ProgramOp, randomKey(i, `shapes of ${op}`))
              yield* compare(engine, op, testCase, 10 * i)
            }
          })
        )
      )

    it.live("treats NaN, infinities and large numbers as the reference does", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* make()
          const special = [NaN, Infinity, -Infinity, 0, 1e30, -1e30, 88.8, -200, 1e-40, 3]
          const unary = {
            exp: ops.exp,
            log: ops.log,
            sqrt: ops.sqrt,
            tanh: ops.tanh,
            sigmoid: ops.sigmoid,
            abs: ops.abs,
            neg: ops.neg,
            floor: ops.floor,
            sign: ops.sign,
            erf: ops.erf
          }
          const binary = {
            add: ops.add,
            mul: ops.mul,
            div: ops.div,
            maximum: ops.maximum,
            minimum: ops.minimum,
            less: ops.less,
            equal: ops.equal
          }
          const a = ops.input("a", "f32", [10])
          const b = ops.input("b", "f32", [10, 1])
          const program = makeProgram({
            ...Object.fromEntries(Object.entries(unary).map(([op, f]) => [op, f(a)])),
            ...Object.fromEntries(Object.entries(binary).map(([op, f]) => [op, f(a, b)])),
            maxOfRow: ops.max(ops.mul(a, b), 1),
            softmax: ops.softmax(ops.concat([ops.slice(a, [3], [10]), ops.slice(a, [2], [3])], 0)),
            finite: ops.select(ops.less(a, 0), ops.constant(0, "f32"), 1)
          })
          const values = { a: special, b: special }
          const expected = evaluate(program, values)
          const actual = yield* runOnce(engine, program, values)
          for (const [op, row] of Object.entries(expected))
            for (const [i, value] of row.entries())
              if (Number.isFinite(value))
                expect(
                  Math.abs(actual[op]![i]! - value),
                  `${op} ${i}: ${actual[op]![i]} against ${value}`
                ).toBeLessThanOrEqual(4e-6 * Math.abs(value) + 1e-37)
              else expect(actual[op]![i], `${op} ${i}`).toBe(value)
        })
      )
    )

    it.live("adds up many updates of one row, losing none", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* makeThreaded()
          // Large enough that operators with several threads use them.
          for (const [n, width] of [
            [64, 3],
            [20_000, 8],
            [4000, 256]
          ] as const) {
            const program = makeProgram({
              y: ops.scatterAdd(
                ops.input("x", "f32", [3, width]),
                ops.input("i", "i32", [n]),
                ops.input("rows", "f32", [n, width])
              ),
              along: ops.scatterAddAlong(
                ops.input("flat", "f32", [3]),
                ops.input("at", "i64", [n]),
                ops.input("ones", "f32", [n]),
                0
              )
            })
            const i = Float64Array.from({ length: n }, (_, index) => index % 2)
            const values = {
              x: new Float64Array(3 * width),
              i,
              rows: new Float64Array(n * width).fill(1),
              flat: new Float64Array(3),
              at: i,
              ones: new Float64Array(n).fill(1)
            }
            const { along, y } = yield* runOnce(engine, program, values)
            expect([...y!]).toEqual([...Array(2 * width).fill(n / 2), ...Array(width).fill(0)])
            expect([...along!]).toEqual([n / 2, n / 2, 0])
          }
        })
      )
    )
  })
}

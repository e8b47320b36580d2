/** The tests that every engine must pass: what it computes. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Engine } from "../../src/engines/Engine.ts"
import { evaluate, fromNumbers, toNumbers } from "../../src/engines/reference/evaluate.ts"
import { dtypes, isFloat } from "../../src/tensor/dtype.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import type { ProgramOp } from "../../src/tensor/primitives.ts"
import { elements } from "../../src/tensor/Tensor.ts"
import { allOps, type Case, casesOf, draw, lastPlace, traced } from "./cases.ts"
import { type MakeEngine, runOnce } from "./runOnce.ts"

/** A case as a part of a program, with values for its inputs. */
const prepared = (op: ProgramOp, each: Case, n: number) => {
  const { outputs } = traced(`${op}/${n}`, each)
  const values = each.inputs.map((input, i) =>
    toNumbers(input.dtype, fromNumbers(input.dtype, draw(input, 10 * n + i)))
  )
  return {
    ulps: each.ulps,
    outputs,
    values: Object.fromEntries(values.map((elements, i) => [`${op}/${n}/x${i}`, elements])),
    label: `${op}/${n} on ${each.inputs.map(input => `${input.dtype}[${input.shape.join(",")}]`).join(", ")}`
  }
}

/** Runs cases as one program, and compares each with the reference. */
const compare = Effect.fn("compare")(function* (engine: Engine, cases: ReadonlyArray<ReturnType<typeof prepared>>) {
  const program = makeProgram(Object.assign({}, ...cases.map(({ outputs }) => outputs)) as (typeof cases)[0]["outputs"])
  const values = Object.assign({}, ...cases.map(each => each.values)) as (typeof cases)[0]["values"]
  const known = Object.fromEntries(program.inputs.map(({ name }) => [name, values[name]!]))
  const expected = evaluate(program, known)
  const actual = yield* runOnce(engine, program, known)
  for (const { label, outputs, ulps } of cases)
    for (const [name, { dtype }] of Object.entries(outputs)) {
      const ours = actual[name]!
      expect(ours.length, label).toBe(expected[name]!.length)
      for (const [i, value] of expected[name]!.entries()) {
        if (Object.is(ours[i], value) || ours[i] === value) continue
        // Half-way results may round the other way even where the f32 arithmetic agrees to the last bit.
        const allowed = isFloat(dtype)
          ? Math.max(ulps, dtype === "f32" ? 0 : 1) * lastPlace[dtype] * Math.max(1, Math.abs(value))
          : 0
        expect(Math.abs(ours[i]! - value), `${label}, element ${i}: ${ours[i]} against ${value}`).toBeLessThanOrEqual(
          allowed
        )
      }
    }
})

/** That an engine computes an op as the reference does, in all of its cases. */
export const computes = (op: ProgramOp) => (engine: Engine) =>
  Effect.forEach(preparedCases(op), each => compare(engine, [each]), { discard: true })

const preparedCases = (op: ProgramOp) => casesOf(op).map((each, n) => prepared(op, each, n))

/** Every op of the list, many in one program: for engines that take long to compile. */
export const conformanceTogether = (name: string, make: MakeEngine, opsPerProgram: number): void => {
  describe(`engine ${name}`, () => {
    for (let start = 0; start < allOps.length; start += opsPerProgram) {
      const some = allOps.slice(start, start + opsPerProgram)
      it.live(
        `computes ${some.join(", ")}`,
        () => Effect.scoped(Effect.flatMap(make(), engine => compare(engine, some.flatMap(preparedCases)))),
        600_000
      )
    }
  })
}

/** Every op of the list, on its shapes and on random ones, and what those leave out, against the reference. */
export interface SuiteOptions {
  /** The engine with several threads; by default the same. */
  readonly makeThreaded?: MakeEngine
  /** Whether the engine keeps NaN, infinities and subnormal numbers. WGSL lets devices assume that there are none. */
  readonly ieee?: boolean
}

export const conformanceSuite = (
  name: string,
  make: MakeEngine,
  { makeThreaded = make, ieee = true }: SuiteOptions = {}
): void => {
  describe(`engine ${name}`, () => {
    for (const op of allOps) it.live(`computes ${op}`, () => Effect.scoped(Effect.flatMap(make(), computes(op))))

    it.live(`treats ${ieee ? "NaN, infinities and " : ""}large numbers as the reference does`, () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* make()
          const finite = [0, 1e30, -1e30, 88.8, -200, 3]
          const special = ieee ? [NaN, Infinity, -Infinity, 1e-40, ...finite] : [0.5, -1, 2, 7, ...finite]
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
              else if (ieee) expect(actual[op]![i], `${op} ${i}`).toBe(value)
        })
      )
    )

    it.live("makes an array of a scalar of any dtype", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const engine = yield* make()
          const scalars = dtypes.map(dtype => ops.input(dtype, dtype, []))
          const arrays = scalars.flatMap(x => [[1], [7], [2, 3]].map(shape => ops.broadcastTo(x, shape)))
          const program = makeProgram(Object.fromEntries(arrays.map((array, i) => [`${array.dtype} ${i}`, array])))
          const actual = yield* runOnce(engine, program, Object.fromEntries(dtypes.map(dtype => [dtype, [1]])))
          for (const { name, value } of program.outputs)
            expect([...actual[name]!], name).toEqual(Array(elements(program.values[value]!.shape)).fill(1))
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

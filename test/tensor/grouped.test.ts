/** Products of rows with the matrices of their groups are those with all matrices, of which all but one count nothing. */
import * as fc from "fast-check"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import { groupedMatmul, groupedOuter, input } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { runOnce } from "../engines/runOnce.ts"

/** Sizes of groups, rows behind them, and the sizes of matrices. */
const drawn = fc.record({
  sizes: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 12 }),
  behind: fc.integer({ min: 0, max: 2 }),
  k: fc.integer({ min: 1, max: 19 }),
  m: fc.integer({ min: 1, max: 19 }),
  transposeB: fc.boolean(),
  seed: fc.nat()
})
type Drawn = typeof drawn extends fc.Arbitrary<infer A> ? A : never

const prepared = ({ behind, k, m, seed, sizes, transposeB }: Drawn) => {
  const n = sizes.reduce((sum, size) => sum + size, behind)
  const groups = sizes.length
  const [a, g] = [input("a", "f32", [n, k]), input("g", "f32", [n, m])]
  const b = input("b", "f32", [groups, ...(transposeB ? [m, k] : [k, m])])
  const of = input("sizes", "i64", [groups])
  const program = makeProgram({ y: groupedMatmul(a, b, of, { transposeB }), outer: groupedOuter(a, g, of) })
  const values = {
    a: normals(randomKey(seed, "a"), n * k),
    b: normals(randomKey(seed, "b"), groups * k * m),
    g: normals(randomKey(seed, "g"), n * m),
    sizes
  }
  return { program, values, n, groups }
}

/** With every matrix for every row, in float64. */
const densely = (
  { k, m, sizes, transposeB }: Drawn,
  { groups, n, values: { a, b, g } }: ReturnType<typeof prepared>
) => {
  const groupOf = sizes.flatMap((size, group) => Array<number>(size).fill(group))
  const y = new Float64Array(n * m)
  const outer = new Float64Array(groups * k * m)
  for (let row = 0; row < n; row++)
    for (let group = 0; group < groups; group++) {
      const share = groupOf[row] === group ? 1 : 0
      for (let i = 0; i < k; i++)
        for (let j = 0; j < m; j++) {
          y[row * m + j]! += share * a[row * k + i]! * b[group * k * m + (transposeB ? j * k + i : i * m + j)]!
          outer[(group * k + i) * m + j]! += share * a[row * k + i]! * g[row * m + j]!
        }
    }
  return { y, outer }
}

const expectClose = (actual: ArrayLike<number>, expected: Float64Array, bound: number): void => {
  expect(actual.length).toBe(expected.length)
  for (const [i, value] of expected.entries()) expect(Math.abs(actual[i]! - value)).toBeLessThanOrEqual(bound)
}

describe("grouped products", () => {
  it("are the dense sums, whatever the groups are", () => {
    fc.assert(
      fc.property(drawn, given => {
        const made = prepared(given)
        const found = evaluate(made.program, made.values, { exact: true })
        const { outer, y } = densely(given, made)
        expectClose(found["y"]!, y, 1e-12)
        expectClose(found["outer"]!, outer, 1e-12)
      }),
      { numRuns: 100, seed: 1 }
    )
  })

  it.live("are so on ort, to rounding", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        for (const given of fc.sample(drawn, { numRuns: 25, seed: 2 })) {
          const made = prepared(given)
          const found = yield* runOnce(engine, made.program, made.values)
          const { outer, y } = densely(given, made)
          expectClose(found["y"]!, y, 1e-4)
          expectClose(found["outer"]!, outer, 1e-4)
        }
      })
    )
  )

  it("refuse what does not fit", () => {
    const a = input("a", "f32", [5, 3])
    const sizes = input("sizes", "i32", [4])
    expect(() => groupedMatmul(a, input("b", "f32", [4, 2, 3]), sizes)).toThrow(
      "groupedMatmul: rows [n, K], matrices [G, K, M] and sizes [G] are needed, got [5, 3], [4, 2, 3] and [4]"
    )
    expect(groupedMatmul(a, input("b", "f32", [4, 2, 3]), sizes, { transposeB: true }).shape).toEqual([5, 2])
    expect(() => groupedMatmul(a, input("b", "f32", [3, 3, 2]), sizes)).toThrow("sizes [G] are needed")
    expect(() => groupedOuter(a, input("b", "f32", [4, 2]), sizes)).toThrow("groupedOuter: rows [n, K] and [n, M]")
    expect(() => groupedOuter(a, a, input("sizes", "f32", [4]))).toThrow("the sizes of groups must be i32 or i64")
  })
})

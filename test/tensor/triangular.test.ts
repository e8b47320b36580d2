/** Inverses of unit lower triangular matrices beside solving row by row, in float64; their gradients beside differences. */
import { describe, expect, it } from "vitest"
import { evaluateTensors } from "../../src/engines/reference/evaluate.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { input, mul, sum } from "../../src/tensor/ops.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { unitLowerInverse } from "../../src/tensor/triangular.ts"

/** (I + strictly lower part of a)^-1 by forward substitution: row i is the unit's less those before it, by what is in row i of a. */
const solved = (a: ArrayLike<number>, n: number): ReadonlyArray<ReadonlyArray<number>> => {
  const rows: Array<ReadonlyArray<number>> = []
  for (let i = 0; i < n; i++)
    rows.push(
      Array.from({ length: n }, (_, c) =>
        rows.reduce((value, row, j) => value - a[i * n + j]! * row[c]!, Number(i === c))
      )
    )
  return rows
}

describe("the inverse of I and a strictly lower triangular matrix", () => {
  for (const n of [1, 2, 4, 16, 32, 64])
    it(`is that of forward substitution, ${n} rows`, () => {
      const values = normals(randomKey(1, "a", n), 3 * n * n).map(x => x / Math.sqrt(n))
      const found = evaluateTensors(
        { found: unitLowerInverse(input("a", "f32", [3, n, n])) },
        { a: values },
        { exact: true }
      )["found"]!
      for (let batch = 0; batch < 3; batch++) {
        const expected = solved(values.subarray(batch * n * n, (batch + 1) * n * n), n).flat()
        for (const [i, value] of expected.entries()) expect(found[batch * n * n + i]).toBeCloseTo(value, 8)
      }
    })

  it("is exact to f32 where powers of the matrix grow without bound and the inverse does not", () => {
    const n = 64
    // As of one token that repeats: a's 32nd power has numbers of 10^17.
    const values = new Float64Array(n * n).fill(0.9)
    const found = evaluateTensors({ found: unitLowerInverse(input("a", "f32", [n, n])) }, { a: values })["found"]!
    for (const [i, value] of solved(values, n).flat().entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(2e-6)
  })

  it("has the gradient of differences, none on and above the diagonal", () => {
    for (const n of [4, 32]) {
      const a = input("a", "f32", [n, n])
      const weights = input("w", "f32", [n, n])
      const values = [...normals(randomKey(2, "a", n), n * n)].map(x => x / n)
      const w = normals(randomKey(3, "w", n), n * n)
      const loss = sum(mul(unitLowerInverse(a), weights))
      const [gradient] = gradients(loss, [a])
      const at = (given: ReadonlyArray<number>): number =>
        evaluateTensors({ loss }, { a: given, w }, { exact: true })["loss"]![0]!
      const found = evaluateTensors({ gradient: gradient! }, { a: values, w }, { exact: true })["gradient"]!
      const step = 1e-5
      for (const i of [0, 1, n, 2 * n + 1, n * n - 2, n * n - 1, (n - 1) * n]) {
        const [up, down] = [step, -step].map(by => at(values.with(i, values[i]! + by))) as [number, number]
        expect(found[i]).toBeCloseTo((up - down) / (2 * step), 5)
      }
    }
  })
})

import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import type { Part } from "../../src/evaluation/parts.ts"
import {
  bootstrap,
  bootstrapDifference,
  detectable,
  drawResamples,
  holm,
  level,
  wilson
} from "../../src/report/statistics.ts"
import { normals, randomKey, uniformAt } from "../../src/tensor/random.ts"

const plain = (values: Iterable<number>): ReadonlyArray<Part> => Array.from(values, sum => ({ sum, weight: 1 }))

describe("the bootstrap", () => {
  it("has the quantiles that all resamples of three documents have", () => {
    // All 27 equally likely draws, by brute force; the ends of an interval are values that these have.
    const values = [0, 1, 5]
    const means = values.flatMap(a => values.flatMap(b => values.map(c => (a + b + c) / 3))).sort((a, b) => a - b)
    const { high, low, value } = bootstrap([plain(values)], drawResamples({ documents: 3, runs: 1 }, 1))
    assert.closeTo(value, 2, 1e-12)
    // 1 of 27 (3.7 %) is 0, and 1 of 27 is 5.
    assert.strictEqual(low, means[0])
    assert.strictEqual(high, means[26])
  })

  it("of the mean of many normal numbers is the normal interval", () => {
    const n = 400
    const data = Array.from(normals(randomKey(3, "test"), n), x => 10 + 2 * x)
    const mean = data.reduce((sum, x) => sum + x, 0) / n
    // The plug-in standard error, which is the bootstrap distribution's own.
    const error = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n / n)
    const { high, low, p, value } = bootstrap([plain(data)], drawResamples({ documents: n, runs: 1 }, 5))
    assert.closeTo(value, mean, 1e-12)
    assert.closeTo(low, mean - 1.96 * error, 0.1 * error)
    assert.closeTo(high, mean + 1.96 * error, 0.1 * error)
    assert.strictEqual(p, 2 / 10_000)
  })

  it("covers the true mean about as often as it says", () => {
    const documents = 50
    const resamples = drawResamples({ documents, runs: 1 }, 2, 999)
    let covered = 0
    for (let trial = 0; trial < 400; trial++) {
      const { high, low } = bootstrap([plain(normals(randomKey(trial, "coverage"), documents))], resamples)
      if (low <= 0 && 0 <= high) covered++
    }
    // 95 % less what a percentile interval loses with 50 documents; 3 standard errors of 400 trials are 3.3 %.
    assert.isAtLeast(covered / 400, 0.94 - 0.036)
    assert.isAtMost(covered / 400, 0.95 + 0.033)
  })

  it("weighs documents by their tokens, resampled together", () => {
    // Every document has the same ratio: there is nothing to be unsure of.
    const parts = [3, 10, 200].map(weight => ({ sum: 0.25 * weight, weight }))
    const { high, low, value } = bootstrap([parts], drawResamples({ documents: 3, runs: 1 }, 1))
    for (const number of [value, low, high]) assert.closeTo(number, 0.25, 1e-12)
  })

  it("of a difference is that of paired differences, where all have the same weight, and nothing else where not", () => {
    const [a, b] = [Array.from(normals(randomKey(1, "a"), 30)), Array.from(normals(randomKey(2, "b"), 30))]
    const resamples = drawResamples({ documents: 30, runs: 1 }, 1)
    const paired = bootstrap([plain(a.map((x, i) => x - b[i]!))], resamples)
    const found = bootstrapDifference([plain(a)], [plain(b)], resamples)
    for (const of of ["value", "low", "high", "p", "standardError"] as const)
      assert.closeTo(found[of], paired[of], 1e-9, of)
    // Ratios that do not vary differ by what they differ, whatever their documents weigh.
    const ratio = (share: number, weights: ReadonlyArray<number>) => [
      weights.map(weight => ({ sum: share * weight, weight }))
    ]
    const other = bootstrapDifference(
      ratio(0.5, [1, 20, 3]),
      ratio(0.2, [9, 1, 4]),
      drawResamples({ documents: 3, runs: 1 }, 1)
    )
    for (const number of [other.value, other.low, other.high]) assert.closeTo(number, 0.3, 1e-12)
  })

  it("of several runs draws runs, too", () => {
    // Documents do not differ, two runs do: a resample has mean -1, 0 or 1, with chances 1/4, 1/2, 1/4.
    const resamples = drawResamples({ documents: 4, runs: 2 }, 1)
    const { high, low, p, value } = bootstrap([plain([-1, -1, -1, -1]), plain([1, 1, 1, 1])], resamples)
    assert.deepStrictEqual([value, low, high, p], [0, -1, 1, 1])
  })

  it("finds nothing where nothing differs, and depends on its seed alone", () => {
    const resamples = drawResamples({ documents: 7, runs: 1 }, 4)
    const { smallest: _smallest, ...nothing } = bootstrap([plain([0, 0, 0, 0, 0, 0, 0])], resamples)
    assert.deepStrictEqual(nothing, { value: 0, low: 0, high: 0, p: 1, standardError: 0 })
    assert.deepStrictEqual(drawResamples({ documents: 7, runs: 1 }, 4), resamples)
    assert.notDeepEqual(drawResamples({ documents: 7, runs: 1 }, 5), resamples)
  })

  it("gives p below 5 % exactly where the interval leaves out 0", () => {
    const resamples = drawResamples({ documents: 12, runs: 1 }, 6)
    fc.assert(
      fc.property(fc.double({ min: -1, max: 1, noNaN: true }), fc.integer({ min: 0, max: 1000 }), (shift, seed) => {
        const data = Array.from(normals(randomKey(seed, "p"), 12), x => x + shift)
        const { high, low, p } = bootstrap([plain(data)], resamples)
        // One resample on the edge may fall on either side.
        if (Math.abs(p - 0.05) > 0.0005) assert.strictEqual(p < 0.05, low > 0 || high < 0)
      }),
      { numRuns: 50 }
    )
  })
})

describe("Holm's correction", () => {
  it("is that of a textbook example", () => {
    // Four tests with p = 0.01, 0.04, 0.03, 0.005: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to it.
    const adjusted = holm([0.01, 0.04, 0.03, 0.005])
    for (const [i, expected] of [0.03, 0.06, 0.06, 0.02].entries()) assert.closeTo(adjusted[i]!, expected, 1e-12)
    assert.deepStrictEqual(holm([]), [])
    assert.deepStrictEqual(holm([0.2]), [0.2])
  })

  it("rejects what the step-down procedure rejects", () => {
    const ps = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(ps, values => {
        const sorted = values.toSorted((a, b) => a - b)
        const stop = sorted.findIndex((p, k) => (values.length - k) * p > 0.05)
        const rejected = stop < 0 ? values.length : stop
        assert.strictEqual(holm(values).filter(p => p <= 0.05).length, rejected)
      })
    )
  })
})

describe("Wilson's interval", () => {
  it("has the published values", () => {
    // Newcombe 1998, table I: 81 of 263, and 0 of 20.
    const some = wilson(81, 263)
    assert.closeTo(some.low, 0.2553, 5e-5)
    assert.closeTo(some.high, 0.3662, 5e-5)
    const none = wilson(0, 20)
    assert.strictEqual(none.low, 0)
    assert.closeTo(none.high, 0.1611, 5e-5)
  })
})

/** Documents as a measurement has them: short and long ones, and some of which rows differ in far more than in others. */
const design = Array.from({ length: 50 }, (_, d) => {
  const weight = Math.round(110 * (1940 / 110) ** uniformAt(randomKey(1, "lengths"), d))
  // Masks of a longer document average out; what rows make of it does not.
  const deviation = 0.01 * Math.exp(0.5 * normals(randomKey(1, "deviations", d), 1)[0]!) * Math.sqrt(1 + 300 / weight)
  return { weight, deviation }
})
const measuredDifferences = (trial: number, shift: number): ReadonlyArray<Part> => {
  const own = normals(randomKey(trial, "measured"), design.length)
  return design.map(({ deviation, weight }, d) => ({ sum: weight * (shift + deviation * own[d]!), weight }))
}

/** Chance of more than `most` of `n`, each with chance `p`. */
const moreThan = (most: number, n: number, p: number): number => {
  let [term, below] = [(1 - p) ** n, 0]
  for (let k = 0; k <= most; k++) {
    below += term
    term *= ((n - k) / (k + 1)) * (p / (1 - p))
  }
  return 1 - below
}

describe("the power of a design", () => {
  it("is 90 % for the difference that it names, and 5 % for none", () => {
    const resamples = drawResamples({ documents: 50, runs: 1 }, 9, 999)
    const [trials, pilots] = [400, 60]
    const errors = Array.from({ length: pilots }, (_, i) =>
      bootstrap([measuredDifferences(10_000 + i, 0)], resamples)
    ).map(({ standardError }) => standardError)
    // What one run of the design says of itself, in the mean.
    const named = detectable({ standardError: errors.reduce((sum, error) => sum + error, 0) / pilots })
    const called = (shift: number) =>
      Array.from({ length: trials }, (_, i) => bootstrap([measuredDifferences(i, shift)], resamples)).filter(
        ({ p }) => p < level
      ).length / trials
    // Three standard errors of 400 trials are 4.5 % of what is found, and 3.3 % of what is not there, which a percentile interval of 50 documents calls 1 % too often.
    const [found, wrong] = [called(named), called(0)]
    assert.isAtLeast(found, 0.9 - 0.045)
    assert.isAtMost(found, 0.9 + 0.045)
    assert.isAtMost(wrong, 0.05 + 0.033 + 0.01)
    assert.isBelow(called(named / 4), 0.35)
  })

  it("follows from the spread of the resamples, which is the plug-in standard error", () => {
    const values = [...normals(randomKey(1, "spread"), 300)]
    const mean = values.reduce((sum, x) => sum + x, 0) / 300
    const expected = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0)) / 300
    const { standardError } = bootstrap([plain(values)], drawResamples({ documents: 300, runs: 1 }, 3))
    assert.closeTo(standardError / expected, 1, 0.03)
    assert.closeTo(detectable({ standardError: 1 }), 1.96 + 1.2816, 1e-4)
  })
})

describe("comparisons whose labels are exchanged at random", () => {
  const resamples = drawResamples({ documents: 50, runs: 1 }, 11)
  const rows = 6
  /** Whether any of the rows is called different after the correction, with row and baseline exchanged in each document by a coin. */
  const called = (shuffle: number, shift: number, exchange: boolean): boolean => {
    const ps = Array.from({ length: rows }, (_, row) => {
      const coin = randomKey(shuffle, "exchanged", row)
      const parts = measuredDifferences(row, shift).map(({ sum, weight }, d) => ({
        sum: exchange && uniformAt(coin, d) < 0.5 ? -sum : sum,
        weight
      }))
      return bootstrap([parts], resamples).p
    })
    return holm(ps).some(p => p < level)
  }

  it("are called no more often than 5 % of the times: at most 4 of 20", () => {
    // Of 20 at 5 % each, more than 4 have a chance of 0.3 %: that is what may be wrong in this test.
    assert.isBelow(moreThan(4, 20, level), 0.003)
    assert.isAbove(moreThan(3, 20, level), 0.01)
    for (const shift of [0, 0.02]) {
      const calls = Array.from({ length: 20 }, (_, shuffle) => called(shuffle, shift, true)).filter(Boolean).length
      assert.isAtMost(calls, 4, `a difference of ${shift}`)
    }
    // What the coins undid was there.
    assert.isTrue(called(0, 0.02, false))
  })
})

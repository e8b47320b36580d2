import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { histogram, summarise } from "../../src/report/lengths.ts"

const lengths = fc.array(fc.integer({ min: 0, max: 5000 }), { minLength: 1, maxLength: 200 })

describe("length statistics", () => {
  it("agree with a closed form", () => {
    assert.deepStrictEqual(summarise([4, 1, 3, 2]), {
      count: 4,
      total: 10,
      shortest: 1,
      median: 2.5,
      mean: 2.5,
      p95: 4,
      longest: 4
    })
    assert.deepStrictEqual(summarise([5]), { count: 1, total: 5, shortest: 5, median: 5, mean: 5, p95: 5, longest: 5 })
    assert.strictEqual(summarise([]).count, 0)
  })

  it("the 95th percentile is the smallest length that at least 95 % do not exceed", () => {
    fc.assert(
      fc.property(lengths, all => {
        const { p95 } = summarise(all)
        const share = (limit: number) => all.filter(length => length <= limit).length / all.length
        assert.isAtLeast(share(p95), 0.95)
        assert.isBelow(share(p95 - 1), 0.95)
      })
    )
  })

  it("a histogram counts every length once, in the bin that holds it", () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 40 }), (all, bins) => {
        const found = histogram(all, bins)
        assert.isAtMost(found.length, bins)
        for (const [i, bin] of found.entries()) {
          const last = i === found.length - 1
          assert.strictEqual(bin.count, all.filter(n => n >= bin.from && (n < bin.to || (last && n === bin.to))).length)
        }
        assert.strictEqual(
          found.reduce((sum, { count }) => sum + count, 0),
          all.length
        )
      })
    )
  })
})

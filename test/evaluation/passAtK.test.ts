/** pass@k against counting: the share of all k-subsets of n samples that hold a right one. */
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { passAtK } from "../../src/evaluation/passAtK.ts"

/** Binomial coefficient, exactly. */
const choose = (n: number, k: number): bigint => {
  let value = 1n
  for (let i = 0n; i < BigInt(k); i++) value = (value * (BigInt(n) - i)) / (i + 1n)
  return k > n ? 0n : value
}

const counted = (n: number, c: number, k: number): number =>
  Number(((choose(n, k) - choose(n - c, k)) * 10n ** 15n) / choose(n, k)) / 1e15

describe("pass@k", () => {
  it("is the share of subsets with a right sample, for any n, c and k", () => {
    fc.assert(
      fc.property(
        fc
          .integer({ min: 1, max: 60 })
          .chain(n => fc.tuple(fc.constant(n), fc.integer({ min: 0, max: n }), fc.integer({ min: 1, max: n }))),
        ([n, c, k]) => {
          assert.closeTo(passAtK({ n, c, k }), counted(n, c, k), 1e-12)
        }
      )
    )
  })

  it("is the share of right samples for k = 1, and certain where all or enough are right", () => {
    assert.closeTo(passAtK({ n: 10, c: 3, k: 1 }), 0.3, 1e-15)
    assert.strictEqual(passAtK({ n: 10, c: 10, k: 4 }), 1)
    assert.strictEqual(passAtK({ n: 5, c: 3, k: 3 }), 1)
    assert.strictEqual(passAtK({ n: 5, c: 0, k: 5 }), 0)
  })

  it("is not guessed from fewer samples than k", () => {
    assert.throws(() => passAtK({ n: 5, c: 5, k: 6 }), /pass@6 needs 6 samples, there are 5/)
  })
})

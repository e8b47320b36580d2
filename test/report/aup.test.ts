/** Accuracy under parallelism: the published numbers, and what must hold whatever the points are. */
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { aup, type Point } from "../../src/report/aup.ts"

const points = (...all: ReadonlyArray<readonly [rate: number, accuracy: number]>): ReadonlyArray<Point> =>
  all.map(([rate, accuracy]) => ({ rate, accuracy }))

const point: fc.Arbitrary<Point> = fc.record({
  rate: fc.double({ min: 0.1, max: 20, noNaN: true }),
  accuracy: fc.double({ min: 0, max: 100, noNaN: true })
})
const several = fc.array(point, { minLength: 1, maxLength: 8 })

describe("AUP", () => {
  it("is the published number of the definition's example", () => {
    assert.closeTo(aup(points([1, 80], [2, 79]), 80), 158.05, 0.005)
  })

  it.each([
    // The leaderboard of d3LLM (hao-ai-lab/d3LLM, AUP_leaderboard): points, the best accuracy of all methods on the task, and AUP.
    ["Fast-dLLM on LLaDA, GSM8K", points([1, 74.79], [2.77, 74.68]), 74.98, 205.8],
    ["D2F on LLaDA, GSM8K", points([1, 74.98], [2.88, 74.39]), 74.98, 213.8],
    ["dParallel on LLaDA, GSM8K", points([1, 74], [5.14, 72.63]), 74.98, 358.1],
    ["d3LLM on LLaDA, GSM8K", points([1, 74.02], [9.11, 73.09]), 74.98, 637.7],
    ["d3LLM on Dream, GSM8K", points([1, 83.47], [4.94, 81.36]), 83.94, 391.3],
    ["EAGLE-3, GSM8K", points([1, 76.57], [5.12, 76.57]), 83.94, 319],
    ["d3LLM on Dream, HumanEval", points([1, 58.86], [3.2, 57.1]), 72.25, 129.5],
    ["EAGLE-3, HumanEval", points([1, 67.58], [5.98, 67.58]), 72.25, 344.8]
  ] as const)("is the published number of %s", (_name, found, best, published) => {
    assert.closeTo(aup(found, best), published, 0.05)
  })

  it("is the area itself where nothing is below the best, and the accuracy alone at one token a pass", () => {
    fc.assert(
      fc.property(several, fc.double({ min: 1, max: 100, noNaN: true }), (found, accuracy) => {
        const level = found.map(({ rate }) => ({ rate, accuracy }))
        assert.closeTo(aup(level, accuracy), accuracy * Math.max(...found.map(({ rate }) => rate)), 1e-9)
      })
    )
    assert.strictEqual(aup(points([1, 37]), 90), 37)
    assert.strictEqual(aup(points([1, 0], [2, 0]), 0), 0)
  })

  it("passes over what is more than 5 points below the slowest, and does not see the order of points", () => {
    fc.assert(
      fc.property(several, fc.double({ min: 100, max: 120, noNaN: true }), (found, best) => {
        const least = Math.min(...found.map(({ rate }) => rate))
        const first = Math.max(...found.filter(({ rate }) => rate === least).map(({ accuracy }) => accuracy))
        assert.strictEqual(aup(found.toReversed(), best), aup(found, best))
        const more = { rate: 30, accuracy: first - 5.001 }
        assert.strictEqual(aup([...found, more], best), aup(found, best))
      })
    )
    // Exactly 5 below still counts.
    assert.isAbove(aup(points([1, 80], [2, 75]), 80), 80)
    for (let n = 20; n <= 400; n += 20)
      for (let right = n / 20; right <= n; right++) {
        // A twentieth of the problems fewer.
        const found = points([1, 100 * (right / n)], [2, 100 * ((right - n / 20) / n)])
        if (right > n / 20) assert.isAbove(aup(found, 100), found[0]!.accuracy)
      }
  })

  it("is less the farther accuracies are below the best, and more the faster a point is", () => {
    fc.assert(
      fc.property(several, point, (found, { accuracy, rate }) => {
        const best = Math.max(1, ...found.map(each => each.accuracy))
        assert.isAtMost(aup(found, best + rate), aup(found, best) + 1e-9)
        const [slow, fast] = [points([1, best], [2, best - 1]), points([1, best], [2 + accuracy, best - 1])]
        assert.isAtLeast(aup(fast, best), aup(slow, best))
      })
    )
  })
})

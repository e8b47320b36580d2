import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Evaluated, likelihoodBound, lossAtRatio } from "../../src/evaluation/likelihood.ts"
import type { TokenLosses } from "../../src/sessions/tokenLosses.ts"

const mask = 9
const shape = { rows: 2, length: 12 }

/**
 * A model of which everything is known: -log p(token at i) = cost(token) + extra * (masks of its document), so that predicting all at once
 * is worse than one after the other.
 */
const known =
  (cost: (token: number) => number, extra: number): TokenLosses =>
  ({ segmentIds, ids, targets }) =>
    Effect.sync(() => {
      const losses = new Float32Array(shape.rows * (shape.length - 1))
      for (let r = 0; r < shape.rows; r++) {
        const row = Array.from({ length: shape.length }, (_, i) => r * shape.length + i)
        for (let i = 1; i < shape.length; i++) {
          const document = segmentIds[r * shape.length + i]
          const masks = row.filter(at => segmentIds[at] === document && ids[at] === mask).length
          losses[r * (shape.length - 1) + i - 1] = cost(targets[r * (shape.length - 1) + i - 1]!) + extra * masks
        }
      }
      return losses
    })
const sequences: ReadonlyArray<Evaluated> = [[1, 2, 3, 4, 5], [2, 2, 7], [0], [3, 1, 4, 1, 5, 8, 2, 6]].map(ids => ({
  ids: Int32Array.from(ids),
  maskable: new Uint8Array(ids.length).fill(1)
}))
const evaluation = (losses: TokenLosses, seed = 1) => ({ losses, ...shape, pad: 0, mask, seed })
const cost = (token: number) => 0.3 + token / 10

describe("the bound of the likelihood", () => {
  it.effect("is the likelihood where tokens are independent, when every number of masks is drawn once", () =>
    Effect.gen(function* () {
      // A factorised model: each draw estimates the sum of costs; over all subsets of a size its mean is exact.
      const exact = sequences.reduce((sum, { ids }) => sum + ids.slice(1).reduce((all, id) => all + cost(id), 0), 0)
      const { nats, standardError, tokens } = yield* likelihoodBound(evaluation(known(cost, 0)), sequences, 400)
      expect(tokens).toBe(13)
      expect(Math.abs(nats - exact / tokens)).toBeLessThan(4 * standardError + 1e-9)
      expect(standardError).toBeLessThan(0.01)
    })
  )

  it.effect("weighs every number of masks alike: the extra cost of k masks averages to that of (n + 1) / 2", () =>
    Effect.gen(function* () {
      for (const { ids, maskable } of sequences) {
        const n = ids.length - 1
        if (n === 0) continue
        const { nats } = yield* likelihoodBound(evaluation(known(() => 0, 1)), [{ ids, maskable }], 3 * n)
        // (n / k) k k, averaged over k = 1 … n, per token.
        expect(nats).toBeCloseTo((n + 1) / 2, 9)
      }
    })
  )

  it.effect("spreads the numbers of masks evenly, which lowers the variance", () =>
    Effect.gen(function* () {
      const one: ReadonlyArray<Evaluated> = [sequences[3]!]
      const estimates = (draws: number, seeds: number) =>
        Effect.forEach(
          Array.from({ length: seeds }, (_, seed) => seed),
          seed =>
            Effect.map(
              likelihoodBound(
                evaluation(
                  known(() => 0, 1),
                  seed
                ),
                one,
                draws
              ),
              ({ nats }) => nats
            )
        )
      const spread = (values: ReadonlyArray<number>) => {
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length
        return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
      }
      // Seven independent draws would have a seventh of the variance of one; seven that are spread evenly have none here.
      const single = spread(yield* estimates(1, 60))
      expect(spread(yield* estimates(7, 60))).toBeLessThan(single / 100)
    })
  )

  it.effect("leaves out what may not be masked", () =>
    Effect.gen(function* () {
      const prompt: Evaluated = { ids: Int32Array.of(1, 2, 3, 4), maskable: [0, 0, 1, 1] }
      const { nats, tokens } = yield* likelihoodBound(evaluation(known(cost, 0)), [prompt], 200)
      expect(tokens).toBe(2)
      expect(nats).toBeCloseTo((cost(3) + cost(4)) / 2, 1)
    })
  )
})

describe("the loss at a share of masks", () => {
  it.effect("is the mean over masked tokens, the same in every call", () =>
    Effect.gen(function* () {
      const constant = yield* lossAtRatio(evaluation(known(() => 1.25, 0)), sequences, 0.5)
      expect(constant).toBeCloseTo(1.25, 6)
      const all = yield* lossAtRatio(evaluation(known(cost, 0)), sequences, 1)
      const exact =
        sequences.reduce((sum, { ids }) => sum + ids.slice(1).reduce((rest, id) => rest + cost(id), 0), 0) / 13
      expect(all).toBeCloseTo(exact, 6)
      expect(yield* lossAtRatio(evaluation(known(cost, 0)), sequences, 0.3)).toBe(
        yield* lossAtRatio(evaluation(known(cost, 0)), sequences, 0.3)
      )
      expect(yield* lossAtRatio(evaluation(known(cost, 0)), sequences, 0)).toBe(0)
    })
  )
})

import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { bandOf, type DiffusionEvaluation, likelihoodBound } from "../../src/evaluation/likelihood.ts"
import { drawMasks, type Evaluated, nearestHalf } from "../../src/evaluation/maskDraws.ts"
import type { MaskedLosses } from "../../src/sessions/maskedLosses.ts"

const mask = 9
const shape = { rows: 2, length: 12 }

/** A model by its losses: -log p of the token at a place, given its document with masks. */
const model =
  (loss: (target: number, document: ReadonlyArray<number>) => number): MaskedLosses =>
  ({ ids, segmentIds }, { places, targets }) =>
    Effect.sync(() =>
      Float32Array.from(places, (place, i) => {
        const row = Math.floor(place / shape.length) * shape.length
        const document = Array.from({ length: shape.length }, (_, column) => row + column)
          .filter(at => segmentIds[at] === segmentIds[place])
          .map(at => ids[at]!)
        // Asked are masks, and nothing else.
        expect(ids[place]).toBe(mask)
        return loss(targets[i]!, document)
      })
    )
const masksOf = (document: ReadonlyArray<number>): number => document.filter(id => id === mask).length

/**
 * A model of which everything is known: -log p(token) = cost(token) + extra * (masks of its document), so that predicting all at once is worse than one after the
 * other.
 */
const known = (cost: (token: number) => number, extra: number) =>
  model((token, document) => cost(token) + extra * masksOf(document))
const evaluatedOf = (ids: ReadonlyArray<number>): Evaluated => ({
  ids: Int32Array.from(ids),
  maskable: new Uint8Array(ids.length).fill(1)
})
const sequences = [[1, 2, 3, 4, 5], [2, 2, 7], [0], [3, 1, 4, 1, 5, 8, 2, 6]].map(evaluatedOf)
const evaluation = (
  losses: MaskedLosses,
  draws: number,
  more: Partial<Pick<DiffusionEvaluation, "bands" | "seed">> = {}
): DiffusionEvaluation => ({ losses, ...shape, pad: 0, mask, seed: 1, draws, ...more })
const cost = (token: number) => 0.3 + token / 10

/** Mean of numbers, and its standard error. */
const summary = (values: ReadonlyArray<number>) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
  return { mean, variance, error: Math.sqrt(variance / values.length) }
}

describe("the bound of the likelihood", () => {
  it.effect("is the likelihood where tokens are independent", () =>
    Effect.gen(function* () {
      // A factorised model: each draw estimates the sum of costs; over all subsets of a size its mean is exact.
      const exact = sequences.reduce((sum, { ids }) => sum + ids.slice(1).reduce((all, id) => all + cost(id), 0), 0)
      const { nats, standardError, tokens } = yield* likelihoodBound(evaluation(known(cost, 0), 400), sequences)
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
        // Three strata for each number of masks.
        const { nats } = yield* likelihoodBound(
          evaluation(
            known(() => 0, 1),
            3 * n
          ),
          [{ ids, maskable }]
        )
        // (n / k) k k, averaged over k = 1 … n, per token.
        expect(nats).toBeCloseTo((n + 1) / 2, 9)
      }
    })
  )

  it.effect("has no bias: with few draws its mean over seeds is that of all subsets, by brute force", () =>
    Effect.gen(function* () {
      // Each loss is another for every subset: it depends on which tokens are seen, and in which order.
      const loss = (target: number, document: ReadonlyArray<number>) =>
        1 + Math.sin(target + document.reduce((all, id, i) => (all * 3 + id * (i + 1)) % 1009, 0)) + masksOf(document)
      const one = evaluatedOf([3, 1, 4, 8, 5])
      const n = 4
      let exact = 0
      const ofSize = Array.from({ length: n + 1 }, () => ({ sum: 0, count: 0 }))
      for (let subset = 1; subset < 2 ** n; subset++) {
        const places = [1, 2, 3, 4].filter((_, i) => (subset >> i) % 2 === 1)
        const document = Array.from(one.ids, (id, i) => (places.includes(i) ? mask : id))
        const own = ofSize[places.length]!
        own.sum += places.reduce((sum, place) => sum + loss(one.ids[place]!, document), 0) / places.length
        own.count++
      }
      for (let k = 1; k <= n; k++) exact += ofSize[k]!.sum / ofSize[k]!.count / n
      for (const draws of [1, 2, 3, 6]) {
        const bounds = yield* Effect.forEach(
          Array.from({ length: 6000 }, (_, seed) => seed),
          seed => likelihoodBound(evaluation(model(loss), draws, { seed, bands: 2 }), [one])
        )
        const { error, mean } = summary(bounds.map(({ nats }) => nats))
        expect(error).toBeLessThan(0.02)
        expect(Math.abs(mean - exact), `${draws} draws`).toBeLessThan(4 * error)
        // Of the lower half of shares, one and two masks of four, likewise.
        const half = (ofSize[1]!.sum / ofSize[1]!.count + ofSize[2]!.sum / ofSize[2]!.count) / 2
        const lower = summary(
          bounds.map(({ sequences: [own] }) => own!.bands[0]!).map(({ sum, weight }) => sum - half * weight)
        )
        expect(Math.abs(lower.mean)).toBeLessThan(4 * lower.error)
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
                  draws,
                  { seed }
                ),
                one
              ),
              ({ nats }) => nats
            )
        )
      const spread = (values: ReadonlyArray<number>) => summary(values).variance
      // Seven independent draws would have a seventh of the variance of one; seven that are spread evenly have none here.
      const single = spread(yield* estimates(1, 60))
      expect(spread(yield* estimates(7, 60))).toBeLessThan(single / 100)
    })
  )

  it.effect("leaves out what may not be masked, and what does not fit into a row", () =>
    Effect.gen(function* () {
      const prompt: Evaluated = { ids: Int32Array.of(1, 2, 3, 4), maskable: [0, 0, 1, 1] }
      const { nats, tokens } = yield* likelihoodBound(evaluation(known(cost, 0), 200), [prompt])
      expect(tokens).toBe(2)
      expect(nats).toBeCloseTo((cost(3) + cost(4)) / 2, 1)
      const long = evaluatedOf(Array.from({ length: shape.length + 5 }, () => 3))
      const cut = yield* likelihoodBound(evaluation(known(cost, 0), 2), [long])
      expect(cut.tokens).toBe(shape.length - 1)
      expect(cut.nats).toBeCloseTo(cost(3), 6)
    })
  )

  it.effect("does not depend on how sequences are packed, and is the same in every call", () =>
    Effect.gen(function* () {
      const measured = (rows: number) =>
        likelihoodBound({ ...evaluation(known(cost, 0.5), 5, { bands: 4 }), rows }, sequences)
      const [first, again, wide] = [yield* measured(2), yield* measured(2), yield* measured(7)]
      expect(again).toEqual(first)
      expect(wide).toEqual(first)
    })
  )
})

describe("the loss by the share of masks", () => {
  it.effect("is the mean loss of the draws of a band, of the same passes: its mean over bands is the bound", () =>
    Effect.gen(function* () {
      const bands = 5
      const long = [evaluatedOf([7, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2])]
      // The loss is the share of masks of ten tokens; ten draws have each once.
      const losses = model((_, document) => masksOf(document) / 10)
      const { nats, sequences: found } = yield* likelihoodBound(evaluation(losses, 10, { bands }), long)
      const means = found[0]!.bands.map(({ sum, weight }) => sum / weight)
      for (const [band, mean] of means.entries()) expect(mean).toBeCloseTo((2 * band + 1.5) / 10, 6)
      expect(means.reduce((sum, mean) => sum + mean, 0) / bands).toBeCloseTo(nats, 9)
    })
  )

  it("puts a share at an edge into the band below it", () => {
    expect([1, 20, 21, 99, 100].map(k => bandOf(k, 100, 5))).toEqual([0, 0, 1, 4, 4])
    for (let bands = 1; bands <= 12; bands++)
      for (let n = 1; n <= 60; n++)
        for (let band = 0; band < bands; band++) {
          const inside = Array.from({ length: n }, (_, i) => i + 1).filter(k => bandOf(k, n, bands) === band)
          // In whole numbers: band n < k bands <= (band + 1) n.
          const expected = Array.from({ length: n }, (_, i) => i + 1).filter(
            k => k * bands > band * n && k * bands <= (band + 1) * n
          )
          expect(inside).toEqual(expected)
        }
  })
})

describe("draws of masks", () => {
  const n = 40
  const sequence = evaluatedOf(Array.from({ length: n + 1 }, () => 1))

  it("have one number of masks in each stratum, and cover different tokens one after the other", () => {
    for (let seed = 0; seed < 200; seed++) {
      const draws = 8
      const drawn = drawMasks(sequence, seed, { draws, seed })
      for (const [draw, share] of drawn.shares.entries()) {
        const k = share * n
        expect(k).toBeGreaterThan((draw * n) / draws)
        expect(k).toBeLessThanOrEqual(((draw + 1) * n) / draws)
        const places = drawn.places(draw)
        expect(places).toHaveLength(Math.round(k))
        expect(new Set(places).size).toBe(places.length)
      }
      // The first three mask up to 5 + 10 + 15 of 40 tokens.
      const first = [0, 1, 2].flatMap(draw => [...drawn.places(draw)])
      expect(new Set(first).size).toBe(first.length)
      expect(Math.abs(drawn.shares[nearestHalf(drawn)]! - 0.5)).toBeLessThanOrEqual(1 / draws)
    }
  })

  it("mask every token as often as the others, whichever the draw", () => {
    const seeds = 4000
    const counts = new Float64Array(n + 1)
    let masked = 0
    for (let seed = 0; seed < seeds; seed++)
      for (const place of drawMasks(sequence, 0, { draws: 3, seed }).places(1)) {
        counts[place]!++
        masked++
      }
    expect(counts[0]).toBe(0)
    const expected = masked / n
    // Each is binomial with a share of about a half.
    for (const count of counts.slice(1)) expect(Math.abs(count - expected)).toBeLessThan(4.5 * Math.sqrt(seeds / 4))
  })
})

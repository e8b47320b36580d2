import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { trainNgram } from "../../src/evaluation/ngram.ts"

/** The textbook's recursion over string-keyed maps, written without regard for size. */
const bruteForce = (sequences: ReadonlyArray<ReadonlyArray<number>>, order: number, vocabSize: number) => {
  const padded = sequences.map(tokens => [...Array(order - 1).fill(vocabSize), ...tokens])
  const occurrences = new Map<string, number>()
  for (const tokens of padded)
    for (let i = order - 1; i < tokens.length; i++) {
      const gram = tokens.slice(i - order + 1, i + 1).join(" ")
      occurrences.set(gram, (occurrences.get(gram) ?? 0) + 1)
    }
  const levels = [occurrences]
  for (let n = order - 1; n >= 1; n--) {
    const shorter = new Map<string, number>()
    for (const gram of levels[0]!.keys()) {
      const suffix = gram.split(" ").slice(1).join(" ")
      shorter.set(suffix, (shorter.get(suffix) ?? 0) + 1)
    }
    levels.unshift(shorter)
  }
  const discounts = levels.map(level => {
    const n = (count: number) => [...level.values()].filter(value => value === count).length
    if ([1, 2, 3, 4].some(count => n(count) === 0)) return [0.5, 0.5, 0.5]
    const y = n(1) / (n(1) + 2 * n(2))
    // An estimate that is not above 0 is none.
    return [1, 2, 3].map(k => k - ((k + 1) * y * n(k + 1)) / n(k)).map((d, i) => (d > 0 ? Math.min(i + 1, d) : 0.5))
  })
  const p = (context: ReadonlyArray<number>, token: number): number => {
    const n = context.length + 1
    const below = n === 1 ? 1 / vocabSize : p(context.slice(1), token)
    const level = levels[n - 1]!
    const behind = [...level].filter(([gram]) => gram.split(" ").slice(0, -1).join(" ") === context.join(" "))
    if (behind.length === 0) return below
    const total = behind.reduce((sum, [, count]) => sum + count, 0)
    const discount = (count: number) => Math.min(count, discounts[n - 1]![Math.min(count, 3) - 1]!)
    const reserved = behind.reduce((sum, [, count]) => sum + discount(count), 0)
    const count = level.get([...context, token].join(" ")) ?? 0
    return ((count === 0 ? 0 : count - discount(count)) + reserved * below) / total
  }
  return (history: ReadonlyArray<number>, token: number) =>
    Math.log(p([...Array(order).fill(vocabSize), ...history].slice(-(order - 1) || Infinity), token))
}

const vocabSize = 5
const corpus = fc.array(fc.array(fc.nat(vocabSize - 1), { maxLength: 30 }), { minLength: 1, maxLength: 8 })
const history = fc.array(fc.nat(vocabSize - 1), { maxLength: 6 })

describe("n-gram model", () => {
  it("gives the textbook's probabilities", () => {
    fc.assert(
      fc.property(
        corpus,
        history,
        fc.nat(vocabSize - 1),
        fc.integer({ min: 2, max: 4 }),
        (sequences, before, token, order) => {
          const model = trainNgram(sequences, { order, vocabSize })
          expect(model.logProbability(before, token)).toBeCloseTo(
            bruteForce(sequences, order, vocabSize)(before, token),
            10
          )
        }
      ),
      { seed: 1, numRuns: 200 }
    )
  })

  it("is a distribution over the vocabulary after any history", () => {
    fc.assert(
      fc.property(corpus, history, (sequences, before) => {
        const model = trainNgram(sequences, { order: 3, vocabSize })
        let sum = 0
        for (let token = 0; token < vocabSize; token++) sum += Math.exp(model.logProbability(before, token))
        expect(sum).toBeCloseTo(1, 12)
      }),
      { seed: 2 }
    )
  })

  it("adds up a sequence's tokens from a start on", () => {
    const sequences = [[0, 1, 2, 3, 0, 1, 2, 4, 0, 1]]
    const model = trainNgram(sequences, { order: 3, vocabSize })
    const tokens = [0, 1, 2, 3]
    const from = (start: number) =>
      tokens.slice(start).reduce((sum, token, i) => sum + model.logProbability(tokens.slice(0, start + i), token), 0)
    expect(model.logLikelihood(tokens)).toBeCloseTo(from(0), 12)
    expect(model.logLikelihood(tokens, 2)).toBeCloseTo(from(2), 12)
  })

  it("lowers its order where n-grams of the vocabulary do not fit into a number", () => {
    expect(trainNgram([[1, 2, 3]], { order: 5, vocabSize: 151_936 }).order).toBe(2)
    expect(trainNgram([[1, 2, 3]], { order: 4, vocabSize: 2048 }).order).toBe(4)
  })

  it("refuses tokens outside of the vocabulary", () => {
    expect(() => trainNgram([[5]], { order: 2, vocabSize })).toThrow("token 5 is outside of the vocabulary of 5")
  })
})

describe("an n-gram model of text from few moulds", () => {
  // Many pairs occur four times and few three times, so that the estimate of what to take from those is below 0.
  const repeated = (times: number, first: number, n: number) =>
    Array.from({ length: times }, () => Array.from({ length: n }, (_, i) => [first + 2 * i, first + 2 * i + 1])).flat()
  const sequences = [...repeated(1, 0, 4), ...repeated(2, 8, 3), ...repeated(3, 14, 1), ...repeated(4, 16, 12)]
  const vocabSize = 50
  const model = trainNgram(sequences, { order: 2, vocabSize })

  it("gives every token some probability behind every other, and all together 1", () => {
    for (let before = 0; before < vocabSize; before++) {
      const all = Array.from({ length: vocabSize }, (_, token) => Math.exp(model.logProbability([before], token)))
      expect(Math.min(...all)).toBeGreaterThan(0)
      expect(all.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 10)
    }
  })
})

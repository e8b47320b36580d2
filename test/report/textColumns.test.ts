/** Qualities of generated texts and their intervals, against closed forms and against many draws of what is measured. */
import { Array as Arr } from "effect"
import { assert, describe, it } from "vitest"
import { diversity } from "../../src/evaluation/diversity.ts"
import type { ScoredTexts } from "../../src/evaluation/results.ts"
import { textQuality } from "../../src/evaluation/textQuality.ts"
import { jackknife, makeResampler } from "../../src/report/statistics.ts"
import type { GridRow } from "../../src/report/rows.ts"
import { qualities, qualityFigure } from "../../src/report/textColumns.ts"
import { textDifferences } from "../../src/report/textDifferences.ts"
import { normals, randomKey, uniformAt } from "../../src/tensor/random.ts"
import { fixtureRow, referenceTexts, scoredTexts } from "../support/gridFixtures.ts"

const figureOf = (id: (typeof qualities)[number]["id"], ...runs: ReadonlyArray<ScoredTexts>) => {
  const figure = qualityFigure(
    qualities.find(quality => quality.id === id)!,
    runs,
    makeResampler(0)
  )
  assert(!("absent" in figure))
  return { value: figure.value, low: figure.low!, high: figure.high! }
}

describe("a quality of texts", () => {
  it("is that of all texts together, inside of its interval", () => {
    const { heldOut } = referenceTexts("")
    const quality = textQuality(heldOut)
    assert.closeTo(quality.teacherPerplexity, 24.25, 1e-9)
    for (const { id } of qualities) {
      const { high, low, value } = figureOf(id, heldOut)
      assert.closeTo(value, quality[id], 1e-9, id)
      assert.isBelow(low, value, id)
      assert.isAbove(high, value, id)
    }
  })

  it("of likelihoods has the interval of their mean, whose ends are perplexities", () => {
    const texts = scoredTexts({ teacher: 20, ngram: 60 })
    const { high, low, value } = figureOf("teacherPerplexity", texts)
    // Half of the texts are 0.3 nats above the mean and half below: a bootstrap of 20 such numbers.
    const half = 1.96 * (0.3 / Math.sqrt(20))
    assert.closeTo(Math.log(high / value), half, 0.03)
    assert.closeTo(Math.log(value / low), half, 0.03)
  })

  it("of several runs is their mean, and runs that differ widen its interval", () => {
    const [a, b] = [scoredTexts({ teacher: 20, ngram: 60 }), scoredTexts({ teacher: 40, ngram: 60 })]
    const [one, both] = [figureOf("teacherPerplexity", a), figureOf("teacherPerplexity", a, b)]
    assert.closeTo(both.value, Math.sqrt(20 * 40), 1e-9)
    assert.isAbove(Math.log(both.high / both.low), 2 * Math.log(one.high / one.low))
    const distinct = figureOf(
      "distinct2",
      scoredTexts({ teacher: 1, ngram: 1 }, 0),
      scoredTexts({ teacher: 1, ngram: 1 }, 2)
    )
    assert.isBelow(distinct.low, distinct.value)
    assert.isAbove(distinct.high, distinct.value)
  })
})

describe("texts beside those of another row", () => {
  const [base, like] = [fixtureRow({ name: "base" }), fixtureRow({ name: "like" })]
  const [run] = like.runs
  const generations = run.texts.content.generations.map(generation => ({
    ...generation,
    texts: Arr.map(generation.texts, text => ({ ...text, teacherNats: text.teacherNats + 64 * Math.log(2) }))
  }))
  const worse: GridRow = {
    ...like,
    name: "worse",
    runs: [{ ...run, texts: { ...run.texts, content: { ...run.texts.content, generations } } }]
  }
  const settings = { steps: 8, resampler: makeResampler(0) }

  it("are as many times less likely as each is, and nothing else differs", () => {
    const [same, other] = textDifferences([base, like, worse], base, settings)
    for (const number of Object.values(same!.of.teacherPerplexity!)) assert.closeTo(number, 1, 1e-12)
    for (const number of Object.values(other!.of.teacherPerplexity!)) assert.closeTo(number, 2, 1e-9)
    for (const number of Object.values(other!.of.ngramPerplexity!)) assert.closeTo(number, 1, 1e-12)
    for (const number of Object.values(other!.of.entropy!)) assert.closeTo(number, 0, 1e-12)
  })

  it("are not compared where they were not made, or behind other prompts", () => {
    assert.lengthOf(textDifferences([base, like], base, { ...settings, steps: 7 }), 0)
    const fewer = generations.map(generation => ({ ...generation, texts: Arr.take(generation.texts, 5) as never }))
    const other = {
      ...worse,
      runs: [{ ...run, texts: { ...run.texts, content: { ...run.texts.content, generations: fewer } } }]
    }
    assert.lengthOf(textDifferences([base, other], base, settings), 0)
  })
})

describe("the jackknife", () => {
  it("of a mean gives the standard error of a mean", () => {
    const values = Array.from(normals(randomKey(1, "jackknife"), 30))
    const sum = values.reduce((total, value) => total + value, 0)
    const mean = sum / 30
    const { high, low } = jackknife(
      mean,
      values.map(value => (sum - value) / 29)
    )
    const error = Math.sqrt(values.reduce((total, value) => total + (value - mean) ** 2, 0) / 29 / 30)
    assert.closeTo(high - mean, 1.959964 * error, 1e-6)
    assert.closeTo(mean - low, 1.959964 * error, 1e-6)
  })

  it("of distinct-2 is as wide as distinct-2 varies from one set of texts to the next", () => {
    // Texts of words as frequent as those of a language are.
    const textsOf = (set: number) =>
      Arr.makeBy(40, text => Arr.makeBy(30, i => Math.floor(60 ** uniformAt(randomKey(set, "words", text), i))))
    const scored = (set: number): ScoredTexts => {
      const { distinctPairs, distinctTokens, texts } = diversity(textsOf(set))
      return {
        distinctPairs,
        distinctTokens,
        texts: texts.map(each => ({
          tokens: 30,
          teacherNats: 1,
          ngramNats: 1,
          ...each
        })) as unknown as ScoredTexts["texts"]
      }
    }
    const sets = Arr.makeBy(200, scored)
    const values = sets.map(set => textQuality(set).distinct2)
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
    const widths = sets.slice(0, 20).map(set => {
      const { high, low } = figureOf("distinct2", set)
      return (high - low) / (2 * 1.959964)
    })
    const width = widths.reduce((sum, each) => sum + each, 0) / widths.length
    assert.closeTo(width / deviation, 1, 0.25)
  })
})

/** End points and closed forms of what latent diffusion schedules. */
import { describe, expect, it } from "vitest"
import { emptyBins, observed, refreshed, timeAt } from "../../../src/methods/ldlm/adaptiveTimes.ts"
import { alphaBar, noiseSchedules } from "../../../src/methods/ldlm/noiseSchedule.ts"
import { warmUpGamma } from "../../../src/methods/ldlm/warmUp.ts"
import { randomKey, uniforms } from "../../../src/tensor/random.ts"

describe("noise schedules", () => {
  it.each(noiseSchedules)("%s: all signal at 0, none at 1, and less and less between", schedule => {
    expect(alphaBar(schedule, 3, 0)).toBe(1)
    expect(alphaBar(schedule, 3, 1)).toBe(0)
    for (let i = 0; i < 100; i++)
      expect(alphaBar(schedule, 3, (i + 1) / 100)).toBeLessThan(alphaBar(schedule, 3, i / 100))
  })

  it("have the values of their formulas", () => {
    expect(alphaBar("power", 3, 0.5)).toBe(0.875)
    // tan(pi / 4) = 1, tan(pi / 8) = sqrt(2) - 1.
    expect(alphaBar("tangent", 3, 0.5)).toBeCloseTo(0.1, 12)
    expect(alphaBar("tangent", 2, 0.25)).toBeCloseTo(1 / (1 + 4 * (Math.SQRT2 - 1) ** 2), 12)
  })
})

describe("the warm-up", () => {
  it("begins at its least value, ends at 1, and rises between, half of it at the sigmoid's centre", () => {
    expect(warmUpGamma(0, 500, 1e-3)).toBeCloseTo(1e-3, 15)
    expect(warmUpGamma(500, 500, 1e-3)).toBe(1)
    expect(warmUpGamma(9000, 500, 1e-3)).toBe(1)
    for (let s = 1; s <= 500; s++) expect(warmUpGamma(s, 500, 1e-3)).toBeGreaterThan(warmUpGamma(s - 1, 500, 1e-3))
    const [first, last] = [1 / (1 + Math.exp(8)), 1 / (1 + Math.exp(-2))]
    expect(warmUpGamma(400, 500, 1e-3)).toBeCloseTo(1e-3 + (0.999 * (0.5 - first)) / (last - first), 12)
  })
})

describe("adaptive times", () => {
  it("are uniform before anything is known", () => {
    const bins = emptyBins(10)
    for (const u of [0, 0.05, 0.5, 0.999]) expect(timeAt(bins, u)).toBeCloseTo(u, 12)
  })

  it("keep each sample's loss in the bin of its own time, as a mean that does not depend on how many there were", () => {
    const bins = observed(
      observed(emptyBins(4), [{ time: 0.1, loss: 2 }], 0.9),
      [
        { time: 0.1, loss: 4 },
        { time: 1, loss: 8 }
      ],
      0.9
    )
    const means = bins.sums.map((sum, i) => (bins.weights[i] === 0 ? undefined : sum / bins.weights[i]!))
    expect(means[0]).toBeCloseTo((0.9 * 0.1 * 2 + 0.1 * 4) / (0.9 * 0.1 + 0.1), 12)
    expect(means.slice(1, 3)).toEqual([undefined, undefined])
    expect(means[3]).toBeCloseTo(8, 12)
  })

  it("are drawn where the loss grows, so that it grows evenly with what is drawn", () => {
    const n = 100
    const loss = (t: number): number => t ** 2
    const samples = Array.from({ length: n }, (_, i) => ({ time: (i + 0.5) / n, loss: loss((i + 1) / n) }))
    const bins = refreshed(observed(emptyBins(n), samples, 0.999))
    for (const u of [0.1, 0.3, 0.5, 0.7, 0.9]) expect(loss(timeAt(bins, u))).toBeCloseTo(u, 2)
    const drawn = [...uniforms(randomKey(1, "times"), 20_000)].map(u => timeAt(bins, u))
    const share = drawn.filter(t => t > 0.5).length / drawn.length
    expect(share).toBeCloseTo(0.75, 1)
  })

  it("never give up a bin: where the loss falls, or nothing was seen, a little is left", () => {
    const bins = refreshed(
      observed(
        emptyBins(4),
        [
          { time: 0.1, loss: 3 },
          { time: 0.6, loss: 1 },
          { time: 0.9, loss: 2 }
        ],
        0.9
      )
    )
    const total = 3 + 1e-6 + 1e-6 + 1e-6 + 1 + 1e-6
    const expected = [3 + 1e-6, 1e-6, 1e-6, 1 + 1e-6].map(growth => growth / total)
    for (const [i, p] of bins.probabilities.entries()) expect(p).toBeCloseTo(expected[i]!, 12)
    expect(timeAt(bins, 1 - 2 ** -24)).toBeLessThanOrEqual(1)
  })
})

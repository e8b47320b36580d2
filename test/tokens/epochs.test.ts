import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { makeEpochs } from "../../src/tokens/epochs.ts"

const settings = { seed: 3, capacity: 16, rowsPerStep: 2 }

describe("epochs", () => {
  it("read every sequence at most once, and leave out fewer rows than a step has", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 16 }), { minLength: 40, maxLength: 80 }), lengths => {
        const epochs = makeEpochs(lengths, settings)
        const steps = epochs.steps(1)
        const read = Array.from({ length: steps }, (_, step) => epochs.rows(step)).flat()
        expect(new Set(read.flat()).size).toBe(read.flat().length)
        const left = lengths.reduce((sum, length, i) => sum + (read.flat().includes(i) ? 0 : length), 0)
        expect(left).toBeLessThan(settings.rowsPerStep * settings.capacity)
      })
    )
  })

  it("have orders of their own, which depend on nothing but the seed and the number of the epoch", () => {
    const lengths = Array.from({ length: 50 }, (_, i) => 1 + (i % 16))
    const epochs = makeEpochs(lengths, settings)
    const first = epochs.steps(1)
    const later = makeEpochs(lengths, settings).rows(first + 1)
    expect(epochs.rows(first + 1)).toEqual(later)
    expect(epochs.rows(0)).not.toEqual(epochs.rows(first))
    expect(makeEpochs(lengths, { ...settings, seed: 4 }).rows(0)).not.toEqual(epochs.rows(0))
    expect(epochs.steps(3)).toBe(
      Array.from({ length: 3 }, (_, e) => epochs.steps(e + 1) - epochs.steps(e)).reduce((a, b) => a + b)
    )
  })

  it("refuse data that do not fill a step", () => {
    expect(() => makeEpochs([5], settings).steps(1)).toThrow(/1 row of 16 tokens, a step needs 2/)
  })
})

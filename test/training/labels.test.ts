/** How long a training is that shall predict some number of tokens, against looking at every length. */
import { Array as Arr } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { stepsForLabels, supervisedIn } from "../../src/training/labels.ts"

/** How far a training of so many steps is from what is wanted. */
const off = (wanted: number, steps: number, perStep: (steps: number) => (step: number) => number): number =>
  Math.abs(Arr.makeBy(steps, perStep(steps)).reduce((sum, n) => sum + n, 0) - wanted)

describe("the length of a training by labels", () => {
  it("is the nearest there is, where steps predict what they predict whatever the length", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 40, max: 60 }), { minLength: 5, maxLength: 60 }),
        fc.integer({ min: 1, max: 2000 }),
        fc.integer({ min: 1, max: 40 }),
        (labels, wanted, first) => {
          const perStep = () => (step: number) => labels[step % labels.length]!
          const found = stepsForLabels(wanted, perStep, first)
          const nearest = Math.min(...Arr.range(1, 60).map(steps => off(wanted, steps, perStep)))
          // A step predicts up to 60 tokens.
          expect(off(wanted, found, perStep)).toBeLessThanOrEqual(nearest + 60)
        }
      )
    )
  })

  it("is found along a curriculum, whose labels depend on the length", () => {
    // From 0 up to 100 labels a step: half of it on average.
    const rising = (steps: number) => (step: number) => Math.round((100 * step) / steps)
    const steps = stepsForLabels(5000, rising, 3)
    expect(off(5000, steps, rising)).toBeLessThanOrEqual(100)
    expect(steps).toBeGreaterThan(95)
    expect(steps).toBeLessThan(105)
  })

  it("does not exist where nothing is predicted", () => {
    expect(() => stepsForLabels(10, () => () => 0, 3)).toThrow("labelled_tokens would never be reached")
  })
})

describe("predicted tokens of packed rows", () => {
  it("are those supervised behind the first of each sequence, as far as the row goes", () => {
    const supervised = [
      [1, 1, 1],
      [0, 0, 1, 1],
      [1, 1, 1, 1, 1]
    ]
    expect(supervisedIn([[0, 1]], supervised, { capacity: 8 })).toBe(2 + 2)
    // Of the last sequence three tokens fit.
    expect(supervisedIn([[2], [1, 0]], supervised, { capacity: 3 })).toBe(2 + 1)
  })
})

import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  blockSize,
  leftToRight,
  maskedIn,
  randomOrder,
  scheduledOrder,
  revealStepsOf,
  thresholdOrder,
  type Trajectory,
  trajectoryFault,
  trajectoryMasking
} from "../../../src/methods/shared/trajectories/trajectory.ts"
import { randomKey } from "../../../src/tensor/random.ts"

const sizes = fc.record({
  promptLength: fc.integer({ min: 1, max: 5 }),
  response: fc.integer({ min: 1, max: 40 }),
  steps: fc.integer({ min: 1, max: 50 })
})

const expectInvariants = (trajectory: Trajectory, response: number): void => {
  const masks = Array.from({ length: revealStepsOf(trajectory) }, (_, state) => maskedIn(trajectory, state))
  expect(masks[0]!.every(bit => bit === 1)).toBe(true)
  expect(masks.at(-1)!.every(bit => bit === 0)).toBe(true)
  expect(masks[0]!.length).toBe(response)
  for (const [state, mask] of masks.entries())
    if (state > 0) for (const [i, bit] of mask.entries()) expect(bit).toBeLessThanOrEqual(masks[state - 1]![i]!)
}

describe("trajectories", () => {
  it("begin with all masked, end with none, and never mask again", () => {
    fc.assert(
      fc.property(sizes, fc.nat(), ({ promptLength, response, steps }, seed) => {
        const made = [
          leftToRight(promptLength, response, steps),
          randomOrder(promptLength, response, steps, randomKey(seed, "x"))
        ]
        for (const trajectory of made) {
          expect(trajectoryFault(trajectory, promptLength + response)).toBeUndefined()
          expectInvariants(trajectory, response)
        }
        expect(revealStepsOf(made[1]!)).toBeLessThanOrEqual(steps + 1)
      })
    )
  })

  it("reveal the surest first, as many per step; or all below a threshold, at least one", () => {
    const entropies = [0.9, 0.1, 2, 0.5, 1.7]
    const of = (place: number) => entropies[place]!
    expect(scheduledOrder(5, 2)([0, 1, 2, 3, 4], of)).toEqual([1, 3, 0])
    expect(scheduledOrder(5, 8)([2, 4], of)).toEqual([4])
    expect(thresholdOrder(1)([0, 1, 2, 3, 4], of)).toEqual([0, 1, 3])
    expect(thresholdOrder(1)([2, 4], of)).toEqual([4])
  })

  it("that do not fit their sequence are told", () => {
    const trajectory: Trajectory = { promptLength: 2, revealedAt: [1, 2], forwards: 0 }
    expect(trajectoryFault(trajectory, 5)).toBe("it has 2 + 2 tokens, the sequence 5")
    expect(trajectoryFault({ ...trajectory, revealedAt: [] }, 2)).toBe("its response is empty")
    expect(trajectoryFault({ ...trajectory, revealedAt: [1, 0] }, 4)).toMatch(
      /token 1 of the response is revealed at step 0/
    )
  })
})

const settings = {
  trajectoryMinMaskRatio: 0,
  trajectoryMaxMaskRatio: 0.8,
  trajectoryUseBlockwise: false,
  trajectoryProgressiveBlockSizes: [16, 24, 32]
}
const sequence = { ids: new Int32Array(24), lossMask: Uint8Array.from({ length: 24 }, (_, i) => (i < 4 ? 0 : 1)) }
const trajectory = randomOrder(4, 20, 20, randomKey(3, "order"))

describe("masking by trajectories", () => {
  const data = { sequences: [sequence], trajectories: new Map([[0, trajectory]]), steps: 1000, seed: 1 }

  it("masks what is not revealed yet, near the share that the curriculum draws, never the prompt", () => {
    const masking = trajectoryMasking(settings, data)
    const shares: Array<readonly [number, number]> = []
    for (let step = 0; step < 1000; step++) {
      const { fallback, labelled, masked, ratio } = masking(0, step)
      expect(fallback).toBe(false)
      expect(masked).toEqual(labelled)
      expect(masked.subarray(0, 4).every(bit => bit === 0)).toBe(true)
      const count = masked.reduce((sum, bit) => sum + bit, 0)
      expect(ratio).toBeCloseTo(count / 20, 12)
      // One of the trajectory's own states.
      const state = 20 - count
      expect([...masked.subarray(4)]).toEqual([...maskedIn(trajectory, state)])
      shares.push([step / 1000, ratio])
    }
    const mean = (from: number, to: number) => {
      const some = shares.filter(([progress]) => progress >= from && progress < to)
      return some.reduce((sum, [, share]) => sum + share, 0) / some.length
    }
    // current + U (0.8 - current): from 0.4 on average at the beginning to 0.8 at the end.
    expect(mean(0, 0.1)).toBeCloseTo(0.42, 1)
    expect(mean(0.9, 1)).toBeCloseTo(0.78, 1)
  })

  it("takes the state whose share of masks is nearest: of 33 states and r = 0.5 the 16th", () => {
    const linear = leftToRight(1, 32, 32)
    expect(revealStepsOf(linear)).toBe(33)
    const long = { ids: new Int32Array(33), lossMask: Uint8Array.from({ length: 33 }, (_, i) => (i === 0 ? 0 : 1)) }
    const maskedAt = (ratio: number) =>
      trajectoryMasking(
        { ...settings, trajectoryMinMaskRatio: ratio, trajectoryMaxMaskRatio: ratio },
        { sequences: [long], trajectories: new Map([[0, linear]]), steps: 10, seed: 1 }
      )(0, 0)
    expect([...maskedAt(0.5).masked.subarray(1)]).toEqual([...maskedIn(linear, 16)])
    expect([...maskedAt(1).masked.subarray(1)]).toEqual([...maskedIn(linear, 0)])
    // Something is always learnt.
    expect([...maskedAt(0).masked.subarray(1)]).toEqual([...maskedIn(linear, 31)])
  })

  it("learns nothing that is not to be learnt", () => {
    const partly = {
      ids: new Int32Array(24),
      lossMask: Uint8Array.from({ length: 24 }, (_, i) => (i % 3 === 0 ? 1 : 0))
    }
    for (const trajectoryUseBlockwise of [false, true]) {
      const masking = trajectoryMasking(
        { ...settings, trajectoryUseBlockwise, trajectoryProgressiveBlockSizes: [2] },
        { ...data, sequences: [partly] }
      )
      const fallbacks: Array<boolean> = []
      for (let step = 0; step < 200; step++) {
        const { fallback, labelled, maskable, masked } = masking(0, step)
        fallbacks.push(fallback)
        expect(labelled.some(bit => bit === 1)).toBe(true)
        for (let i = 0; i < 24; i++) {
          expect(masked[i]! <= partly.lossMask[i]!).toBe(true)
          expect(labelled[i]! <= maskable[i]!).toBe(true)
        }
      }
      // Some blocks of two hold nothing to be learnt.
      expect(fallbacks.includes(true)).toBe(trajectoryUseBlockwise)
    }
  })

  it("falls back on chance without a trajectory that fits, and counts it", () => {
    for (const trajectories of [new Map<number, Trajectory>(), new Map([[0, { ...trajectory, promptLength: 3 }]])]) {
      const masking = trajectoryMasking(settings, { ...data, trajectories })
      const { fallback, masked, ratio } = masking(0, 10)
      expect(ratio).toBeCloseTo(masked.reduce((sum, bit) => sum + bit, 0) / 20, 12)
      expect(masked.subarray(0, 4).every(bit => bit === 0)).toBe(true)
      expect(fallback).toBe(true)
    }
  })

  it("in blocks learns within one block, reads what is before it clean, and sees nothing behind it", () => {
    const masking = trajectoryMasking(
      { ...settings, trajectoryUseBlockwise: true, trajectoryProgressiveBlockSizes: [8] },
      data
    )
    const starts = new Set<number>()
    for (let step = 0; step < 300; step++) {
      const { labelled, masked, ratio } = masking(0, step)
      const learnt = [...labelled.keys()].filter(i => labelled[i] === 1)
      expect(learnt.length).toBeGreaterThan(0)
      const block = Math.floor((learnt[0]! - 4) / 8)
      const [start, end] = [4 + 8 * block, Math.min(24, 4 + 8 * (block + 1))]
      starts.add(start)
      expect(learnt.every(i => i >= start && i < end)).toBe(true)
      expect(ratio).toBeCloseTo(learnt.length / (end - start), 12)
      for (let i = 0; i < 24; i++) {
        if (i < start) expect(masked[i]).toBe(0)
        if (i >= end) expect([masked[i], labelled[i]]).toEqual([1, 0])
      }
    }
    expect([...starts].sort((a, b) => a - b)).toEqual([4, 12, 20])
  })

  it("grows its blocks along the list", () => {
    expect([0, 0.25, 0.5, 0.75, 1].map(progress => blockSize([16, 24, 32], progress))).toEqual([16, 20, 24, 28, 32])
    expect(blockSize([5], 0.3)).toBe(5)
  })
})

/** Packed rows with masks: what is masked, what is learnt, and what never is. */
import { describe, expect, it } from "vitest"
import { makeEpochs } from "../../../src/tokens/epochs.ts"
import { type Masking, randomMasking } from "../../../src/methods/shared/masks/corruption.ts"
import { corruptRows, type DiffusionData, meanRatio } from "../../../src/methods/shared/masks/corruptedRows.ts"

const [mask, pad, length] = [99, 0, 16]
/** Sequences of an id of their own, with prompts of some tokens that are only read. */
const prompts = [0, 3, 2, 0, 1]
const sizes = [5, 7, 4, 3, 6]
const sequences = sizes.map((size, i) => Int32Array.from({ length: size }, (_, j) => 10 * (i + 1) + j))
const lossMasks = sizes.map((size, i) => Uint8Array.from({ length: size }, (_, j) => (j < prompts[i]! ? 0 : 1)))
const settings = {
  mdmMinMaskRatio: 0.002,
  mdmMaxMaskRatio: 0.998,
  mdmCurriculumSteps: 0,
  mdmLoss: "simple",
  alphaScheduler: "linear"
} as const
const masking: Masking = randomMasking(
  lossMasks.map(lossMask => ({ lossMask })),
  settings,
  3
)
const data: DiffusionData = {
  sequences,
  epochs: makeEpochs(sizes, { seed: 1, capacity: length, rowsPerStep: 2 }),
  microBatchRows: 2,
  length,
  pad,
  mask,
  masking,
  averaging: "tokens"
}
const rows = [
  [1, 0, 3],
  [4, 2]
]

describe("rows with masks", () => {
  it("hold masks where a sequence's own draw says, and clean tokens elsewhere", () => {
    let firstMasked = 0
    for (let step = 0; step < 50; step++) {
      const { arrays, maskable, masked, ratios, replaced } = corruptRows(rows, step, data)
      let [seen, learnable] = [0, 0]
      for (const [r, row] of rows.entries()) {
        let start = 0
        for (const example of row) {
          const drawn = masking(example, step)
          for (let i = 0; i < sizes[example]!; i++) {
            const place = r * length + start + i
            const isMasked = drawn.masked[i] === 1
            expect(arrays.ids[place]).toBe(isMasked ? mask : sequences[example]![i])
            expect(replaced[place]).toBe(isMasked ? 1 : 0)
            // Prompts are never masked.
            if (i < prompts[example]!) expect(isMasked).toBe(false)
            if (i === 0 && isMasked) firstMasked++
            if (i > 0) learnable += lossMasks[example]![i]!
            if (start + i === 0) continue
            // The column before predicts it, unless that belongs to another document.
            const ratio = ratios[r * (length - 1) + start + i - 1]!
            expect(ratio).toBe(i > 0 && isMasked ? Math.fround(drawn.ratio) : 0)
            if (ratio > 0) {
              seen++
              expect(arrays.targets[r * (length - 1) + start + i - 1]).toBe(sequences[example]![i])
            }
          }
          start += sizes[example]!
        }
        // Padding holds no mask, and is not learnt.
        for (let i = start; i < length; i++) {
          expect(arrays.ids[r * length + i]).toBe(pad)
          expect(ratios[r * (length - 1) + i - 1]).toBe(0)
          expect(arrays.segmentIds[r * length + i]).toBe(-1)
        }
      }
      expect([masked, maskable]).toEqual([seen, learnable])
    }
    // A first token may be masked, though nothing predicts it.
    expect(firstMasked).toBeGreaterThan(0)
  })

  it("have a mean share in which every token counts", () => {
    const corrupted = corruptRows(rows, 4, data)
    const all = rows.flat()
    const tokens = all.reduce((sum, example) => sum + sizes[example]!, 0)
    const expected = all.reduce((sum, example) => sum + masking(example, 4).ratio * sizes[example]!, 0) / tokens
    expect(meanRatio(corrupted)).toBeCloseTo(expected, 12)
    expect(meanRatio(corruptRows([[], []], 0, data))).toBe(0)
  })

  it("cut what does not fit", () => {
    const { arrays, placed } = corruptRows([[1, 1, 1], [0]], 2, data)
    expect(placed.map(({ size, start }) => [start, size])).toEqual([
      [0, 7],
      [7, 7],
      [14, 2],
      [16, 5]
    ])
    expect(arrays.ids).toHaveLength(32)
  })
})

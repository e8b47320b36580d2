/** What pre-training counts: every token of a text but its first, and of a problem the answer alone. */
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { tinyConfig } from "../support/tinyModel.ts"

const sequences = [
  [3, 4, 5, 6],
  [7, 8, 9],
  [10, 11, 12, 13, 14]
]
const length = 12
const epochs = makeEpochs(
  sequences.map(ids => ids.length),
  { seed: 1, capacity: length, rowsPerStep: 1 }
)
const batch = (supervised?: ReadonlyArray<ReadonlyArray<number>>) => {
  const objective = causalObjective(tinyConfig, {
    sequences,
    supervised,
    epochs,
    microBatchRows: 1,
    length,
    pad: 0,
    averaging: "tokens"
  })
  const [{ inputs }] = Effect.runSync(objective.microBatches(0)) as unknown as [
    { readonly inputs: { readonly targets: Int32Array; readonly weights: Float32Array } }
  ]
  return { counted: [...inputs.targets].filter((_, i) => inputs.weights[i] !== 0).sort((a, b) => a - b), ...inputs }
}

describe("pre-training", () => {
  it("predicts every token but the first of each sequence, all with the same weight", () => {
    const { counted, weights } = batch()
    expect(counted).toEqual([4, 5, 6, 8, 9, 11, 12, 13, 14])
    for (const weight of weights) expect([0, Math.fround(1 / 9)]).toContain(weight)
    expect(batch(sequences.map(ids => ids.map(() => 1)))).toEqual(batch())
  })

  it("does not predict what is only read, however the sequences are packed", () => {
    const { counted, weights } = batch([
      [0, 0, 1, 1],
      [1, 1, 1],
      [0, 0, 0, 0, 1]
    ])
    expect(counted).toEqual([5, 6, 8, 9, 14])
    expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 6)
  })
})

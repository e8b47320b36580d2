import { describe, expect, it } from "vitest"
import { documentLengths, trainingFlops } from "../../src/models/flops.ts"
import { mixerOf } from "../../src/models/layers/layer.ts"
import { modelConfig } from "../support/tinyModel.ts"

describe("operations of a step", () => {
  it("are those of the matrix products, counted one by one", () => {
    for (const tiedHead of [true, false]) {
      const config = modelConfig({ tiedHead })
      const {
        hiddenSize: d,
        layers: { length: layers },
        vocabSize
      } = config
      const {
        feedForward: { intermediateSize }
      } = config.layers[0]!
      const { headDim, heads, keyValueHeads } = mixerOf(config.layers, "attention")
      const perLayer = 2 * d * heads * headDim + 2 * d * keyValueHeads * headDim + 3 * d * intermediateSize
      const products = layers * perLayer + vocabSize * d
      // Norms are vectors: next to nothing, and counted as if each of their numbers multiplied a token.
      const norms = layers * (2 * d + 2 * headDim) + d
      // Backward is twice forward; scores and values are two products of s x s x headDim per head.
      const attention = 3 * 2 * 2 * heads * headDim * layers
      for (const causal of [true, false])
        expect(trainingFlops(config, [5, 3], { causal })).toBe(3 * 2 * (products + norms) * 8 + attention * (25 + 9))
    }
  })

  it("count documents from where they begin in packed rows", () => {
    expect(documentLengths([0, 0, 0, 1, 0, 0, 1, -1], 4)).toEqual([3, 1, 2, 1])
    expect(documentLengths([0, 0, 0, 0], 2)).toEqual([2, 2])
    expect(documentLengths([-1, -1], 2)).toEqual([])
  })
})

/** Which layers and positions a step aligns, drawn so that the expected loss is that of all of them. */
import { permutation, type RandomKey } from "../../../tensor/random.ts"

/** Weights of layers, proportional to exp(exponent x layer / deepest) and summing to 1. `layers` counts from 0, the embedding, to `deepest`. */
export const layerWeights = (
  layers: ReadonlyArray<number>,
  { deepest, exponent }: { readonly deepest: number; readonly exponent: number }
): ReadonlyArray<number> => {
  const raw = layers.map(layer => Math.exp((exponent * layer) / deepest))
  const total = raw.reduce((sum, weight) => sum + weight, 0)
  return raw.map(weight => weight / total)
}

/**
 * Keeps `count` of the weights and sets the others to 0; those that are kept grow by n / count, so that each has its own weight on average (Horvitz
 * and Thompson), whatever the weights.
 */
export const sampleWeights = (weights: ReadonlyArray<number>, count: number, key: RandomKey): ReadonlyArray<number> => {
  const n = weights.length
  if (count >= n) return weights
  const kept = new Set(permutation(key, n).subarray(0, count))
  return weights.map((weight, i) => (kept.has(i) ? (weight * n) / count : 0))
}

/** max(1, floor(ratio x n)) of n positions, without replacement; none of none. */
export const samplePositions = (
  positions: ReadonlyArray<number>,
  ratio: number,
  key: RandomKey
): ReadonlyArray<number> => {
  const n = positions.length
  if (ratio >= 1 || n === 0) return positions
  const count = Math.max(1, Math.floor(ratio * n))
  return Array.from(permutation(key, n).subarray(0, count), i => positions[i]!).sort((a, b) => a - b)
}

/** The scale of a language model's states, and of latents: one mean and one standard deviation of all elements that were seen. */
import { mean, square } from "../../tensor/composites.ts"
import { add, concat, div, maximum, mul, reshape, sliceAxis, sqrt, sub, sum } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"

/** Tokens, mean of their elements, mean of the elements' squares. */
export type Statistics = readonly [tokens: number, mean: number, meanSquare: number]

/** Of the language model's states, and of the latents that are made of them. */
export interface Scales {
  readonly states: Statistics
  readonly latents: Statistics
}

/** Statistics f32 [3] of the states [B, L, d] of tokens that are there: seen f32 [B, L], 1 for those, with at least one. */
export const statisticsOf = (states: Tensor, seen: Tensor): Tensor => {
  const tokens = sum(seen)
  const over = (perToken: Tensor): Tensor => div(sum(mul(perToken, seen)), tokens)
  return stacked(tokens, over(mean(states, -1)), over(mean(square(states), -1)))
}

/** Of two parts of the states together. */
export const merged = (a: Tensor, b: Tensor): Tensor => {
  const part = (x: Tensor, i: number): Tensor => reshape(sliceAxis(x, 0, i, i + 1), [])
  const tokens = add(part(a, 0), part(b, 0))
  const both = (i: number): Tensor => div(add(mul(part(a, 0), part(a, i)), mul(part(b, 0), part(b, i))), tokens)
  return stacked(tokens, both(1), both(2))
}

const stacked = (...scalars: ReadonlyArray<Tensor>): Tensor =>
  concat(
    scalars.map(scalar => reshape(scalar, [1])),
    0
  )

/** The same on the host. */
export const mergedStatistics = (all: ReadonlyArray<Statistics>): Statistics => {
  const tokens = all.reduce((total, [n]) => total + n, 0)
  const mean = (i: 1 | 2): number =>
    tokens === 0 ? 0 : all.reduce((total, statistics) => total + statistics[0] * statistics[i], 0) / tokens
  return [tokens, mean(1), mean(2)]
}

/** Keeps the quotient finite for states that do not vary. */
const epsilon = 1e-6

const meanAndDeviation = (statistics: Tensor): readonly [mean: Tensor, deviation: Tensor] => {
  const part = (i: number): Tensor => reshape(sliceAxis(statistics, 0, i, i + 1), [])
  return [part(1), add(sqrt(maximum(sub(part(2), square(part(1))), 0)), epsilon)]
}

/** States [B, L, d] less the mean, divided by the standard deviation. */
export const normalised = (states: Tensor, statistics: Tensor): Tensor => {
  const [mean, deviation] = meanAndDeviation(statistics)
  return div(sub(states, mean), deviation)
}

/** The other way round. */
export const denormalised = (states: Tensor, statistics: Tensor): Tensor => {
  const [mean, deviation] = meanAndDeviation(statistics)
  return add(mul(states, deviation), mean)
}

/** What counts less than what comes in next: of what changes while it is seen. */
export const faded = ([tokens, mean, meanSquare]: Statistics, share: number): Statistics => [
  tokens * share,
  mean,
  meanSquare
]

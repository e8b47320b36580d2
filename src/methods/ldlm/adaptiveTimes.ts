/**
 * Times drawn where the loss of the denoiser grows: bins of the unit interval, each with a running mean of the losses seen in it; a bin is drawn with a
 * probability proportional to the growth from the bin before it, so that the expected loss grows evenly with what is drawn (LDLM).
 */

/** What the sampler knows, one number a bin. */
export interface TimeBins {
  /** Running sums of losses, and of the weights that they had: their quotient is the mean, whatever the number of losses. */
  readonly sums: ReadonlyArray<number>
  readonly weights: ReadonlyArray<number>
  /** With which bins are drawn. */
  readonly probabilities: ReadonlyArray<number>
}

/** Added to every growth, so that no bin is ever given up. */
const floor = 1e-6

export const emptyBins = (bins: number): TimeBins => ({
  sums: Array<number>(bins).fill(0),
  weights: Array<number>(bins).fill(0),
  probabilities: Array<number>(bins).fill(1 / bins)
})

/** The time that a uniform number in [0, 1) stands for: the inverse of the distribution function, which is linear within a bin. */
export const timeAt = ({ probabilities }: TimeBins, uniform: number): number => {
  let below = 0
  for (const [bin, probability] of probabilities.entries()) {
    if (uniform < below + probability || bin === probabilities.length - 1)
      return (bin + Math.min(1, (uniform - below) / probability)) / probabilities.length
    below += probability
  }
  throw new RangeError("there are no bins")
}

/** Takes in losses, each of a sample at its time; `decay` is the share of a bin's mean that stays. */
export const observed = (
  bins: TimeBins,
  samples: ReadonlyArray<{ readonly time: number; readonly loss: number }>,
  decay: number
): TimeBins => {
  const sums = [...bins.sums]
  const weights = [...bins.weights]
  for (const { loss, time } of samples) {
    const bin = Math.min(sums.length - 1, Math.floor(time * sums.length))
    sums[bin] = decay * sums[bin]! + (1 - decay) * loss
    weights[bin] = decay * weights[bin]! + (1 - decay)
  }
  return { ...bins, sums, weights }
}

/** Computes the probabilities anew. A bin without losses counts as if its mean were that of the bin before it. */
export const refreshed = (bins: TimeBins): TimeBins => {
  let before = 0
  const growths = bins.sums.map((sum, bin) => {
    const weight = bins.weights[bin]!
    const mean = weight === 0 ? before : sum / weight
    const growth = Math.max(0, mean - before) + floor
    before = mean
    return growth
  })
  const total = growths.reduce((sum, growth) => sum + growth, 0)
  return { ...bins, probabilities: growths.map(growth => growth / total) }
}

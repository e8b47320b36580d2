/** Statistics of sequence lengths. */

export interface LengthSummary {
  readonly count: number
  readonly total: number
  readonly shortest: number
  readonly median: number
  readonly mean: number
  /** Nearest-rank 95th percentile. */
  readonly p95: number
  readonly longest: number
}

/** Summarises lengths; all zero when there are none. The median of an even number is the mean of the middle two. */
export const summarise = (lengths: ReadonlyArray<number>): LengthSummary => {
  const sorted = Float64Array.from(lengths).sort()
  const count = sorted.length
  if (count === 0) return { count, total: 0, shortest: 0, median: 0, mean: 0, p95: 0, longest: 0 }
  const total = sorted.reduce((sum, length) => sum + length, 0)
  const upper = sorted[Math.floor(count / 2)]!
  const lower = sorted[Math.ceil(count / 2) - 1]!
  return {
    count,
    total,
    shortest: sorted[0]!,
    median: (lower + upper) / 2,
    mean: total / count,
    p95: sorted[Math.ceil(0.95 * count) - 1]!,
    longest: sorted[count - 1]!
  }
}

export interface Bin {
  /** Lengths from `from` (included) to `to` (excluded; included in the last bin). */
  readonly from: number
  readonly to: number
  readonly count: number
}

/** Equal bins over [0, longest]; at most `bins`, and none narrower than one token. */
export const histogram = (lengths: ReadonlyArray<number>, bins: number): ReadonlyArray<Bin> => {
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0)
  const width = Math.max(1, Math.ceil(longest / bins))
  const counts = Array.from({ length: Math.max(1, Math.ceil(longest / width)) }, () => 0)
  for (const length of lengths) counts[Math.min(counts.length - 1, Math.floor(length / width))]! += 1
  return counts.map((count, i) => ({ from: i * width, to: (i + 1) * width, count }))
}

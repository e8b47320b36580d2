/** The statistics of a comparison: bootstrap intervals, Holm's correction, Wilson's interval of a share. docs/report.md says what each is used for. */
import { type Part, ratio } from "../evaluation/parts.ts"
import { randomKey, uniformAt } from "../tensor/random.ts"

export interface Interval {
  readonly low: number
  readonly high: number
}

/** 95 % intervals; tests at 5 %. */
export const level = 0.05

/** Draws with replacement, the same for all that is measured on the same documents, or on the same problems. */
export interface Resamples {
  /** Numbers of documents, [resamples x documents]. */
  readonly documents: Int32Array
  /** Numbers of runs, [resamples x runs]. */
  readonly runs: Int32Array
  readonly count: number
}

/** 9,999 puts the ends of a 95 % interval on the 250th and the 9,750th value. */
export const resampleCount = 9999

/** `of`: what the documents are, where there are several kinds of them: each is drawn by itself, but runs are the same ones. */
interface Shape {
  readonly documents: number
  readonly runs: number
  readonly of?: string
}

export const drawResamples = (
  { documents, of = "documents", runs }: Shape,
  seed: number,
  count = resampleCount
): Resamples => {
  const draws = (purpose: string, n: number): Int32Array => {
    const key = randomKey(seed, `report: resampled ${purpose}`)
    return Int32Array.from({ length: count * n }, (_, i) => Math.floor(uniformAt(key, i) * n))
  }
  return { documents: draws(of, documents), runs: draws("runs", runs), count }
}

export type Resampler = (shape: Shape) => Resamples

/** Draws once for each shape. */
export const makeResampler = (seed: number): Resampler => {
  const drawn = new Map<string, Resamples>()
  return shape => {
    const key = JSON.stringify([shape.of, shape.documents, shape.runs])
    const found = drawn.get(key) ?? drawResamples(shape, seed)
    drawn.set(key, found)
    return found
  }
}

export interface Estimate extends Interval {
  readonly value: number
  /** Two-sided, of the hypothesis that the value is 0. */
  readonly p: number
  /** Whether it is the smallest that so many resamples can give. */
  readonly smallest: boolean
  /** Spread of the resamples. */
  readonly standardError: number
}

/**
 * A ratio of sums with its percentile bootstrap interval. `parts` are [runs][documents]; each resample draws documents, and runs, independently and with
 * replacement (Owen 2007, the pigeonhole bootstrap), so that one run is a bootstrap over documents alone. The p-value inverts the interval: twice
 * the smaller share of resamples on one side of 0, counting the observed value as one of them (Davison and Hinkley 1997, section 4.2).
 */
export const bootstrap = (parts: ReadonlyArray<ReadonlyArray<Part>>, resamples: Resamples): Estimate =>
  estimate(ratio(parts.flat()), resampledRatios(parts, resamples))

/** The same of what one ratio has more than another: of the same documents, but over weights of its own. */
export const bootstrapDifference = (
  parts: ReadonlyArray<ReadonlyArray<Part>>,
  others: ReadonlyArray<ReadonlyArray<Part>>,
  resamples: Resamples
): Estimate => {
  const beside = resampledRatios(others, resamples)
  const differences = resampledRatios(parts, resamples).map((value, b) => value - beside[b]!)
  return estimate(ratio(parts.flat()) - ratio(others.flat()), differences)
}

/** The ratio in each resample; NaN where few documents have a part, and none of them was drawn. */
const resampledRatios = (parts: ReadonlyArray<ReadonlyArray<Part>>, resamples: Resamples): Float64Array => {
  const runs = parts.length
  const documents = parts[0]!.length
  const values = new Float64Array(resamples.count).fill(NaN)
  for (let b = 0; b < resamples.count; b++) {
    let [sum, weight] = [0, 0]
    for (let r = 0; r < runs; r++) {
      const run = parts[resamples.runs[b * runs + r]!]!
      for (let d = 0; d < documents; d++) {
        const part = run[resamples.documents[b * documents + d]!]!
        sum += part.sum
        weight += part.weight
      }
    }
    if (weight > 0) values[b] = sum / weight
  }
  return values
}

/** A number with the percentile interval and the p-value of what it is in each resample, those left out in which it is none. */
export const estimate = (value: number, resampled: Float64Array): Estimate => {
  const values = resampled.filter(each => !Number.isNaN(each)).sort()
  const count = values.length
  let [below, above] = [0, 0]
  for (const each of values) {
    if (each <= 0) below++
    if (each >= 0) above++
  }
  return {
    value,
    low: values[rank(count, level / 2)]!,
    high: values[rank(count, 1 - level / 2)]!,
    p: Math.min(1, (2 * (Math.min(below, above) + 1)) / (count + 1)),
    smallest: Math.min(below, above) === 0,
    standardError: deviation(values)
  }
}

/** Whether parts say what other documents might have shown: one document alone does not. */
export const saysOfOthers = (documents: ReadonlyArray<Part>): boolean =>
  documents.filter(({ weight }) => weight > 0).length > 1

const deviation = (values: Float64Array): number => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1))
}

/** Place of a quantile among n ascending values, from 0: the (n + 1) q-th. */
const rank = (n: number, q: number): number => Math.min(n, Math.max(1, Math.round((n + 1) * q))) - 1

/** Holm's adjusted p-values (1979), in the order given: if differences are called where they are below `level`, the chance of any wrong call is at most `level`, however the tests depend on each other. */
export const holm = (ps: ReadonlyArray<number>): ReadonlyArray<number> => {
  const ascending = ps.map((_, i) => i).sort((a, b) => ps[a]! - ps[b]!)
  const adjusted = Array.from(ps)
  let largest = 0
  for (const [k, i] of ascending.entries()) {
    largest = Math.max(largest, Math.min(1, (ps.length - k) * ps[i]!))
    adjusted[i] = largest
  }
  return adjusted
}

/** The normal distribution's quantiles of 97.5 % and 90 %. */
const z = 1.959963984540054
const z90 = 1.2815515655446004

/** The true difference that a two-sided test at 5 % finds with a chance of 90 %, given the standard error of its estimate. */
export const detectable = ({ standardError }: Pick<Estimate, "standardError">): number => (z + z90) * standardError

/** 95 % interval of a share of `n` of which `k` hold (Wilson 1927). */
export const wilson = (k: number, n: number): Interval => {
  const share = k / n
  const middle = share + z ** 2 / (2 * n)
  const half = z * Math.sqrt((share * (1 - share)) / n + z ** 2 / (4 * n ** 2))
  const scale = 1 + z ** 2 / n
  return { low: Math.max(0, (middle - half) / scale), high: Math.min(1, (middle + half) / scale) }
}

/** 95 % interval around a statistic of n items by the jackknife (Efron 1981), `without`: the same without each of them. For what a bootstrap would bias: counts of what is different among them. */
export const jackknife = (value: number, without: ReadonlyArray<number>): Interval => {
  const n = without.length
  const mean = without.reduce((sum, each) => sum + each, 0) / n
  const deviation = Math.sqrt(((n - 1) / n) * without.reduce((sum, each) => sum + (each - mean) ** 2, 0))
  return { low: value - z * deviation, high: value + z * deviation }
}

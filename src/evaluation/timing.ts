/** Figures of repeated, timed calls of a generator. */
import type { Timing } from "./results.ts"
import { greatest } from "../pipeline/lists.ts"

export interface TimedCall {
  /** Of the whole call, and of its forward passes alone. */
  readonly ms: number
  readonly forwardMs: number
  /** Forward passes of the model, and their operations. */
  readonly passes: number
  readonly flops: number
  /** Tokens that were decoded, and passes that were for them: sums over texts. */
  readonly tokens: number
  readonly forwards: number
  /** Tokens before the first end of text, of all texts. */
  readonly usefulTokens: number
}

export interface Timed {
  readonly steps: number
  /** Of each text. */
  readonly newTokens: number
  /** Operations that the machine could do in a second. */
  readonly peak: number
}

/** Value below which a share of ascending values lies, on straight lines between them. */
export const quantile = (ascending: ReadonlyArray<number>, share: number): number => {
  const at = share * (ascending.length - 1)
  const below = Math.floor(at)
  const [low = 0, high = low] = ascending.slice(below, below + 2)
  return low + (at - below) * (high - low)
}

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

export const timingOf = (calls: ReadonlyArray<TimedCall>, { newTokens, peak, steps }: Timed): Timing => {
  const milliseconds = calls.map(({ ms }) => ms).toSorted((a, b) => a - b)
  const median = quantile(milliseconds, 0.5)
  const forwards = greatest(calls.map(({ passes }) => passes))
  const tokens = mean(calls.map(each => each.tokens))
  const forwardSeconds = mean(calls.map(({ forwardMs }) => forwardMs)) / 1000
  return {
    steps,
    newTokens,
    forwards,
    milliseconds,
    median,
    p10: quantile(milliseconds, 0.1),
    p90: quantile(milliseconds, 0.9),
    msPerForward: median / forwards,
    tokensPerSecond: (1000 * tokens) / median,
    usefulTokensPerSecond: (mean(calls.map(({ usefulTokens }) => usefulTokens)) * 1000) / median,
    tokensPerForward: tokens / mean(calls.map(each => each.forwards)),
    shareOfPeak: mean(calls.map(({ flops }) => flops)) / forwardSeconds / peak
  }
}

/** Draws a token from logits, and says how sure the model was: the one place where decoders of all kinds turn logits into tokens. */
import { Schema } from "effect"

/** How tokens are drawn. Order of application: temperature, `topP`, `topK`, softmax. */
export const Sampling = Schema.Struct({
  /** 0 takes the most likely token. */
  temperature: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)),
  /** Keeps the most likely tokens until their probabilities exceed this; the one that crosses is kept. */
  topP: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))),
  /** Keeps the k most likely tokens, and those that tie with the last of them. */
  topK: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0)))
})
export type Sampling = typeof Sampling.Type

/** Logits that cannot be drawn from. */
export class LogitsError extends Schema.TaggedError<LogitsError>()("LogitsError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

/** All of the distribution after temperature and filters. */
export interface Sampled {
  readonly token: number
  /** Probability of the token. */
  readonly probability: number
  /** Largest minus second largest probability. */
  readonly margin: number
  /** Negative entropy, sum p log(p + 1e-10): at most 0, larger is surer. */
  readonly negativeEntropy: number
}

/** Keeps the logarithm of 0 finite, as the field's samplers do. */
export const entropyEpsilon = 1e-10

/**
 * Draws from one row of logits [V]. `uniform` in [0, 1) decides; it is not looked at with temperature 0. Tokens with a logit of -Infinity
 * (the mask, which must never be drawn) have probability 0.
 */
export const sampleToken = (logits: ArrayLike<number>, sampling: Sampling, uniform: number): Sampled => {
  const n = logits.length
  const { best, weights } = filtered(logits, sampling)
  const total = totalOf(weights)
  let negativeEntropy = 0
  let second = 0
  for (let i = 0; i < n; i++) {
    const p = weights[i]! / total
    if (p > 0) negativeEntropy += p * Math.log(p + entropyEpsilon)
    if (i !== best && p > second) second = p
  }
  const token = sampling.temperature > 0 ? draw(weights, total * uniform) : best
  return { token, probability: weights[token]! / total, margin: weights[best]! / total - second, negativeEntropy }
}

/** The probability of a token after temperature and filters. */
export const probabilityOf = (logits: ArrayLike<number>, sampling: Sampling, token: number): number => {
  const { weights } = filtered(logits, sampling)
  return weights[token]! / totalOf(weights)
}

/** How sure a model is of a token: its probability at temperature 1 and without filters, one of which may leave a single token. */
export const confidenceOf = (logits: ArrayLike<number>, token: number): number =>
  probabilityOf(logits, { temperature: 0 }, token)

const totalOf = (weights: Float64Array): number => {
  let total = 0
  for (let i = 0; i < weights.length; i++) total += weights[i]!
  if (!(total > 0))
    throw new LogitsError({
      message:
        "the model's logits are not all numbers, so that no token can be drawn: its weights are damaged, or its training diverged"
    })
  return total
}

/** The likeliest token, and what all are worth after temperature and filters, up to a factor: the likeliest is worth 1. */
const filtered = (
  logits: ArrayLike<number>,
  { temperature, topK, topP }: Sampling
): { readonly best: number; readonly weights: Float64Array } => {
  const n = logits.length
  const divisor = temperature > 0 ? temperature : 1
  let best = 0
  for (let i = 1; i < n; i++) if (logits[i]! > logits[best]!) best = i
  const peak = logits[best]!
  const weights = new Float64Array(n)
  for (let i = 0; i < n; i++) weights[i] = Math.exp((logits[i]! - peak) / divisor)
  const p = topP !== undefined && topP < 1 ? topP : undefined
  const k = topK !== undefined && topK < n ? topK : undefined
  if (p !== undefined || k !== undefined) {
    const smallest = smallestKept(weights, p, k)
    for (let i = 0; i < n; i++) if (weights[i]! < smallest) weights[i] = 0
  }
  return { best, weights }
}

/** Of the largest weights, which is 1, in falling order; the last takes them all. */
const cuts = [1e-2, 1e-4, 1e-7, 0]

/** The smallest weight that the filters keep. Only as many of the largest are sorted as decide it: few, in a vocabulary of many. */
const smallestKept = (weights: Float64Array, topP: number | undefined, topK: number | undefined): number => {
  const total = totalOf(weights)
  for (const cut of cuts) {
    let [count, sum] = [0, 0]
    for (let i = 0; i < weights.length; i++)
      if (weights[i]! >= cut) {
        count++
        sum += weights[i]!
      }
    const decides = (topP === undefined || sum > topP * total) && (topK === undefined || count >= topK)
    if (!decides && cut > 0) continue
    const descending = new Float64Array(count)
    let at = 0
    for (let i = 0; i < weights.length; i++) if (weights[i]! >= cut) descending[at++] = weights[i]!
    descending.sort().reverse()
    // What `topP` drops are the smallest, so that the k-th of all is the k-th of what is left, or less than the last of them.
    return Math.max(
      nucleusEnd(descending, topP === undefined ? undefined : topP * total),
      topK === undefined ? 0 : (descending[topK - 1] ?? 0)
    )
  }
  return 0
}

/** The last of descending weights before which their sum is not above `mass`: the one that crosses it is kept. */
const nucleusEnd = (descending: Float64Array, mass: number | undefined): number => {
  if (mass === undefined) return 0
  let smallest = 0
  let before = 0
  for (let i = 0; i < descending.length && before <= mass; i++) {
    smallest = descending[i]!
    before += smallest
  }
  return smallest
}

const draw = (weights: Float64Array, target: number): number => {
  let sum = 0
  let last = 0
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue
    sum += weights[i]!
    last = i
    if (sum > target) return i
  }
  return last
}

/** How a token is proposed for a mask in a block, with what says whether it is revealed: by logits that come to the host, or by what was found where the model computes. */
import { type AcceptingRule, measureOf, type Measured, ruleOf } from "./accepting.ts"
import { type BlockDecoding, diffusionOfBlock } from "./blockSettings.ts"
import { type Algorithm, judge } from "./diffusion.ts"
import { confidenceOf, type Sampling, sampleToken } from "./sampling.ts"
import type { Proposal } from "./textPass.ts"

/** The distribution that rules look at. */
const unfiltered: Sampling = { temperature: 0 }

/** The rules whose limit one token alone decides. */
const byEach: ReadonlySet<AcceptingRule | undefined> = new Set([undefined, "threshold", "entropyThreshold"])

export interface JudgeOptions {
  /** Never proposed. */
  readonly mask: number
  /** Whether confidences are asked for. By default not. */
  readonly watched?: boolean | undefined
}

/** Proposes likeliest tokens by what the model's side found of them. */
export interface ModelJudge {
  readonly alg: Algorithm
  /** Whether confidences are asked for. */
  readonly watched: boolean
  /** Whether a score may be on either side of the rule's limit. */
  readonly isDoubtful: (proposal: Proposal) => boolean
  readonly measured: (place: number, proposal: Proposal) => Measured
  /** What the host finds by the logits [V] of a place, which it changes, on the scale of the model's side. */
  readonly exactly: (place: number, logits: Float32Array) => Measured
}

export interface BlockJudge {
  /** Proposes a token for a mask by its logits [V], which it changes; `uniform` draws it. */
  readonly byLogits: (place: number, logits: Float32Array, uniform: number) => Measured
  /** Left out where what is proposed is drawn, filtered, or revealed by a rule that adds up. */
  readonly byModel?: ModelJudge
}

const byLogits = (settings: BlockDecoding, { mask, watched = false }: JudgeOptions): BlockJudge["byLogits"] => {
  const decoding = diffusionOfBlock(settings)
  const rule = ruleOf(settings)
  const measured = rule === undefined ? undefined : measureOf[rule]
  /** Whether what is drawn is drawn from the distribution that rules look at. */
  const isPlain =
    (settings.temperature === 0 || settings.temperature === 1) &&
    (settings.topP ?? 1) === 1 &&
    settings.topK === undefined
  const measure = (logits: Float32Array, { score, token }: Pick<Measured, "score" | "token">): number => {
    switch (measured) {
      case undefined:
        return 0
      case "probability":
        return isPlain && settings.alg === "maskgit_plus" ? score : confidenceOf(logits, token)
      case "entropy":
        return -(isPlain && settings.alg === "entropy" ? score : sampleToken(logits, unfiltered, 0).negativeEntropy)
    }
  }
  return (place, logits, uniform) => {
    logits[mask] = -Infinity
    const judged = judge(decoding, { place, logits, uniform, there: undefined })
    return {
      ...judged,
      measure: measure(logits, judged),
      ...(watched ? { confidence: confidenceOf(logits, judged.token) } : {})
    }
  }
}

/** What the model's side computes of a token's score, in f64 of the host's own: log-odds of a probability, which neither end of the scale rounds away. */
const exactScore = ({ score }: Measured, alg: BlockDecoding["alg"]): number =>
  alg === "maskgit_plus"
    ? Math.min(40, Math.log(score) - Math.log1p(-score))
    : alg === "topk_margin"
      ? score - 1
      : score

const byModel = (
  settings: BlockDecoding,
  { watched = false }: JudgeOptions,
  exactly: BlockJudge["byLogits"]
): ModelJudge => {
  const { alg } = settings
  const rule = ruleOf(settings)
  const limit =
    rule === "threshold"
      ? Math.log(settings.threshold!) - Math.log1p(-settings.threshold!)
      : rule === "entropyThreshold"
        ? -settings.entropyThreshold!
        : undefined
  const measureOfScore = (score: number): number =>
    rule === "threshold" ? 1 / (1 + Math.exp(-score)) : rule === "entropyThreshold" ? -score : 0
  return {
    alg,
    watched,
    isDoubtful: ({ score, tolerance }) => limit !== undefined && Math.abs(score - limit) <= tolerance + 1e-12,
    measured: (place, { confidence, score, token }) => ({
      place,
      token,
      score,
      measure: measureOfScore(score),
      ...(confidence === undefined ? {} : { confidence })
    }),
    exactly: (place, logits) => {
      const exact = exactly(place, logits, 0)
      return { ...exact, score: exactScore(exact, alg) }
    }
  }
}

export const blockJudge = (settings: BlockDecoding, options: JudgeOptions): BlockJudge => {
  const onHost = byLogits(settings, options)
  const isGreedy = settings.temperature === 0 && (settings.topP ?? 1) === 1 && settings.topK === undefined
  return {
    byLogits: onHost,
    ...(isGreedy && byEach.has(ruleOf(settings)) ? { byModel: byModel(settings, options, onHost) } : {})
  }
}

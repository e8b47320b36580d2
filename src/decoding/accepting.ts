/** Which of the tokens that a step proposes are revealed because the model is sure enough of them. */
import { Schema } from "effect"
import { PositiveInt } from "../config/setting.ts"
import type { Judged } from "./diffusion.ts"

/** A probability that reveals a token. */
export const Threshold = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0))

/** At most one of them says what a step reveals beyond what it must. */
export const acceptingFields = {
  /**
   * A step also reveals every token of the block that the model gives at least this probability, at temperature 1 and without filters; `steps` are then the most that it takes. With as many steps as
   * tokens that is Fast-dLLM's rule: all that reach the threshold, at least the surest one. 1 is reached by none. Goes with the alg `maskgit_plus`
   */
  threshold: Schema.optionalKey(Threshold),
  /**
   * Fast-dLLM's other rule: of the block's tokens, the surest first, a step reveals those up to the first of rank r whose probability is below 1 - factor / (r + 1). Goes with the alg `maskgit_plus`
   */
  factor: Schema.optionalKey(Positive),
  /** d3LLM's rule: a step also reveals every token of which the model's distribution has less entropy than this, nats, at temperature 1 and without filters. Goes with the alg `entropy` */
  entropyThreshold: Schema.optionalKey(Positive),
  /**
   * The entropy bound (Ben-Hamu et al. 2025, arXiv:2505.24857): of the block's tokens, those of least entropy first, a step reveals as many as have entropies that, without the largest, add up to this
   * at most, nats. Goes with the alg `entropy`
   */
  entropyBound: Schema.optionalKey(Positive)
} as const
export type Accepting = Schema.Struct<typeof acceptingFields>["Type"]
export type AcceptingRule = keyof Accepting
export const acceptingRules = Object.keys(acceptingFields) as ReadonlyArray<AcceptingRule>

/** What each rule looks at: the token's probability, or the distribution's entropy. */
export const measureOf = {
  threshold: "probability",
  factor: "probability",
  entropyThreshold: "entropy",
  entropyBound: "entropy"
} as const satisfies { readonly [rule in AcceptingRule]: string }

/** The rule of some settings; undefined where a step reveals what it must and no more. A threshold of 1 is none: no token of several has probability 1, though rounding says so. */
export const ruleOf = (settings: Accepting): AcceptingRule | undefined =>
  acceptingRules.find(rule => settings[rule] !== undefined && !(rule === "threshold" && settings.threshold === 1))

/** A token with what a rule looks at. */
export interface Measured extends Judged {
  readonly measure: number
  /** How sure the model is of it (`confidenceOf`), where that is asked for. */
  readonly confidence?: number
}

/** Of a block's tokens those that are revealed. */
export const accepted = (settings: Accepting, proposed: ReadonlyArray<Measured>): ReadonlyArray<Measured> => {
  const rule = ruleOf(settings)
  if (rule === undefined) return []
  const limit = settings[rule]!
  switch (rule) {
    case "threshold":
      return proposed.filter(({ measure }) => measure >= limit)
    case "entropyThreshold":
      return proposed.filter(({ measure }) => measure < limit)
    case "factor": {
      const falling = proposed.toSorted((a, b) => b.measure - a.measure || a.place - b.place)
      const refused = falling.findIndex(({ measure }, i) => measure < 1 - limit / (i + 2))
      return refused < 0 ? falling : falling.slice(0, refused)
    }
    case "entropyBound": {
      const rising = proposed.toSorted((a, b) => a.measure - b.measure || a.place - b.place)
      let before = 0
      const refused = rising.findIndex(({ measure }) => {
        const over = before > limit
        before += measure
        return over
      })
      return refused < 0 ? rising : rising.slice(0, refused)
    }
  }
}

export const caches = ["none", "prefix", "dual"] as const

/** How many blocks are decoded at a time, and what is computed of a text in a pass. */
export const pipelineFields = {
  /** d3LLM's pipeline: the next block is begun when this share of the last one is revealed. By default 1, a block after the other */
  blockAddThreshold: Schema.optionalKey(Threshold),
  /** A step must reveal something of every block behind one of which this share is revealed, and of the first. By default 1: of the first that has masks alone */
  decodedTokenThreshold: Schema.optionalKey(Threshold),
  /**
   * What passes read anew. `prefix`: when a block is done, a pass reads all of the text, and later ones begin with the first block that is not done, for what is before it is kept; `dual`: they also end
   * with the last block that has begun (Fast-dLLM; Wu et al. 2025, arXiv:2505.22618). Both are approximations, but for a model that attends by blocks (`attention_block_size`), which never
   * needs to read a block again when it is done. By default `none`, or `prefix` for such a model
   */
  cache: Schema.optionalKey(Schema.Literals(caches)),
  /** Passes over all of the text that a block takes part in when it is done, before it is kept (d3LLM's delayed cache). By default 1 */
  cacheDelayIter: Schema.optionalKey(PositiveInt),
  /** With a cache, every so many passes one reads all of the text. By default none beside those of the delay */
  refreshInterval: Schema.optionalKey(PositiveInt)
} as const

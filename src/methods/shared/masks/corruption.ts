/** Masking for diffusion: how much of a sequence, and which of its tokens. A function of seed, step and example alone. */
import { Schema } from "effect"
import { setting } from "../../../config/setting.ts"
import { randomKey, type RandomKey, uniformAt } from "../../../tensor/random.ts"

const Ratio = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/** How masks are drawn at random. Names are those of the field's training configurations, in our spelling. */
export const CorruptionSettings = Schema.Struct({
  /** Smallest share of masked tokens, t, of a sequence; not of `elbo` */
  mdmMinMaskRatio: setting(Ratio, 1 / 500),
  /** Largest share of masked tokens, t, of a sequence; not of `elbo` */
  mdmMaxMaskRatio: setting(Ratio, 499 / 500),
  /** Steps over which the limits of t widen from [0.15, 0.85] to theirs; 0: from the start. Not of `elbo` */
  mdmCurriculumSteps: setting(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), 0),
  /** `simple`: mean cross-entropy of masked tokens; `elbo`: a bound of the likelihood, masks drawn by `alpha_scheduler` */
  mdmLoss: setting(Schema.Literals(["simple", "elbo"]), "simple"),
  /** Of `elbo`: share of tokens that stay clean at time t, 1 - t or 1 - cos(pi (1 - t) / 2) */
  alphaScheduler: setting(Schema.Literals(["linear", "cosine"]), "linear")
})
export type CorruptionSettings = typeof CorruptionSettings.Type

/** Where the curriculum begins. */
const curriculumStart = { low: 0.15, high: 0.85 }

export interface RatioLimits {
  readonly low: number
  readonly high: number
}

/** The limits of t at a step (from 0). */
export const ratioLimits = (
  settings: Pick<CorruptionSettings, "mdmMinMaskRatio" | "mdmMaxMaskRatio" | "mdmCurriculumSteps">,
  step: number
): RatioLimits => {
  const { mdmCurriculumSteps: length, mdmMaxMaskRatio: high, mdmMinMaskRatio: low } = settings
  if (step >= length) return { low, high }
  const f = step / length
  return {
    low: curriculumStart.low + f * (low - curriculumStart.low),
    high: curriculumStart.high + f * (high - curriculumStart.high)
  }
}

export interface Corruption {
  /** t: the probability of a mask, or the actual share where the masks are not independent. */
  readonly ratio: number
  /** What a likelihood bound weighs the loss of a masked token with; 1 where the masks are not drawn for one. */
  readonly weight: number
  /** There where parts of the sequence are masked each at a time of its own: t and the weight of each token, of which `ratio` is then the mean over what may be masked. */
  readonly each?: { readonly ratios: ArrayLike<number>; readonly weights: ArrayLike<number> }
  /** 1 where the token may be masked and learnt. */
  readonly maskable: ArrayLike<number>
  /** 1 where the token is replaced by the mask. */
  readonly masked: Uint8Array<ArrayBuffer>
  /** 1 where it is also to be predicted. */
  readonly labelled: Uint8Array<ArrayBuffer>
  /** Whether chance decided because there was no trajectory that fits. */
  readonly fallback: boolean
}

/** t of a token. */
export const ratioAt = ({ each, ratio }: Corruption, token: number): number => each?.ratios[token] ?? ratio
/** What a likelihood bound weighs the loss of a token with. */
export const weightAt = ({ each, weight }: Corruption, token: number): number => each?.weights[token] ?? weight

/** Draws until something can be learnt; with t = 0.002 and one token, this takes 500 draws on average. */
const mostDraws = 100_000

/** Each maskable token with its probability, by the numbers of a key's stream from `start` on. */
export const bernoulli = (
  maskable: ArrayLike<number>,
  ratioOf: (token: number) => number,
  key: RandomKey,
  start: number
) =>
  Uint8Array.from({ length: maskable.length }, (_, i) =>
    maskable[i] === 1 && uniformAt(key, start + i) < ratioOf(i) ? 1 : 0
  )

/** Whether a token behind the first is marked: only those can be predicted. */
export const hasPredictable = (marked: ArrayLike<number>): boolean => Array.from(marked).indexOf(1, 1) > 0

/** Calls with the number of the draw, until a token is masked that can be predicted. `most`: the largest share of masks that is drawn, for the error. */
export const untilLearnt = (most: number, draw: (draw: number) => Corruption): Corruption => {
  for (let i = 0; i < mostDraws; i++) {
    const drawn = draw(i)
    if (hasPredictable(drawn.masked)) return drawn
  }
  throw new RangeError(`no token was masked in ${mostDraws} draws with a share of at most ${most}`)
}

export const independent = (
  maskable: ArrayLike<number>,
  masked: Uint8Array<ArrayBuffer>,
  ratio: number,
  weight = 1
): Corruption => ({ ratio, weight, maskable, masked, labelled: masked, fallback: false })

/**
 * t uniform in [0, 1) and clamped to the limits, then each maskable token independently with probability t; again until a token
 * behind the first is masked, since only those can be predicted. `maskable`: 1 where a token may be masked. A sequence without such a token
 * stays clean.
 */
export const corrupt = (maskable: ArrayLike<number>, limits: RatioLimits, key: RandomKey): Corruption => {
  const n = maskable.length
  if (!hasPredictable(maskable)) return independent(maskable, new Uint8Array(n), limits.low)
  return untilLearnt(limits.high, draw => {
    const start = draw * (n + 1)
    const ratio = Math.min(limits.high, Math.max(limits.low, uniformAt(key, start)))
    return independent(
      maskable,
      bernoulli(maskable, () => ratio, key, start + 1),
      ratio
    )
  })
}

/** Smallest time of a likelihood bound, and what keeps its weight finite (Nie et al. 2025, LLaDA). */
const leastTime = 1e-3
const weightEpsilon = 1e-6

/** Probability of a mask at time t, 1 - alpha(t), and the bound's weight there, -alpha'(t) / (1 - alpha(t) + 1e-6). */
export const maskSchedule = (
  scheduler: CorruptionSettings["alphaScheduler"],
  time: number
): { readonly ratio: number; readonly weight: number } => {
  const angle = (Math.PI * (1 - time)) / 2
  const ratio = scheduler === "linear" ? time : Math.cos(angle)
  const fall = scheduler === "linear" ? 1 : (Math.PI / 2) * Math.sin(angle)
  return { ratio, weight: fall / (ratio + weightEpsilon) }
}

/** Masks of a likelihood bound: t uniform in [0.001, 1). Nothing is drawn again, which would bias the bound: none may be masked. */
export const corruptForBound = (
  maskable: ArrayLike<number>,
  scheduler: CorruptionSettings["alphaScheduler"],
  key: RandomKey
): Corruption => {
  const { ratio, weight } = maskSchedule(scheduler, leastTime + (1 - leastTime) * uniformAt(key, 0))
  return independent(
    maskable,
    bernoulli(maskable, () => ratio, key, 1),
    ratio,
    weight
  )
}

/** The same with the other maskable tokens masked: what was masked and is not maskable stays so. */
export const complemented = (corruption: Corruption): Corruption => {
  const { labelled, maskable, masked } = corruption
  const others = labelled.map((bit, i) => (maskable[i] === 1 ? 1 - bit : 0))
  return {
    ...corruption,
    ratio: shareOf(others, maskable),
    masked: masked.map((bit, i) => (maskable[i] === 1 ? others[i]! : bit)),
    labelled: others
  }
}

/** Share of the maskable tokens that are marked; 0 of none. */
export const shareOf = (marked: ArrayLike<number>, maskable: ArrayLike<number>): number => {
  let [count, all] = [0, 0]
  for (let i = 0; i < maskable.length; i++) {
    all += maskable[i]!
    count += maskable[i]! * marked[i]!
  }
  return all === 0 ? 0 : count / all
}

/** How an example (its number in the corpus) is masked at a step. */
export type Masking = (example: number, step: number) => Corruption

/** Random masking. */
export const randomMasking =
  (
    sequences: ReadonlyArray<{ readonly lossMask: ArrayLike<number> }>,
    settings: CorruptionSettings,
    seed: number
  ): Masking =>
  (example, step) => {
    const { lossMask } = sequences[example]!
    const key = corruptionKey(seed, step, example)
    return settings.mdmLoss === "elbo"
      ? corruptForBound(lossMask, settings.alphaScheduler, key)
      : corrupt(lossMask, ratioLimits(settings, step), key)
  }

/** The key of an example's corruption: the same in every row of the grid. */
export const corruptionKey = (seed: number, step: number, example: number): RandomKey =>
  randomKey(seed, "corruption", step, example)

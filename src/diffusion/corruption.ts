/** Masking for diffusion: how much of a sequence, and which of its tokens. A function of seed, step and example alone. */
import { Effect, Schema } from "effect"
import { randomKey, type RandomKey, uniformAt } from "../tensor/random.ts"

const Ratio = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** Limits of the share of masked tokens, t. */
export const CorruptionSettings = Schema.Struct({
  mdmMinMaskRatio: orElse(Ratio, 1 / 500),
  mdmMaxMaskRatio: orElse(Ratio, 499 / 500),
  /** Steps over which the limits widen from [0.15, 0.85] to these; 0 for these from the start. */
  mdmCurriculumSteps: orElse(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), 0)
})
export type CorruptionSettings = typeof CorruptionSettings.Type

/** Where the curriculum begins. */
const curriculumStart = { low: 0.15, high: 0.85 }

export interface RatioLimits {
  readonly low: number
  readonly high: number
}

/** The limits of t at a step (from 0). */
export const ratioLimits = (settings: CorruptionSettings, step: number): RatioLimits => {
  const { mdmCurriculumSteps: length, mdmMaxMaskRatio: high, mdmMinMaskRatio: low } = settings
  if (step >= length) return { low, high }
  const f = step / length
  return {
    low: curriculumStart.low + f * (low - curriculumStart.low),
    high: curriculumStart.high + f * (high - curriculumStart.high)
  }
}

export interface Corruption {
  /** t. */
  readonly ratio: number
  /** 1 where the token may be masked. */
  readonly maskable: ArrayLike<number>
  /** 1 where the token is replaced by the mask. */
  readonly masked: Uint8Array<ArrayBuffer>
  /** 1 where it is also to be predicted. */
  readonly labelled: Uint8Array<ArrayBuffer>
}

/** Draws until something can be learnt; with t = 0.002 and one token, this takes 500 draws on average. */
const mostDraws = 100_000

/**
 * t uniform in [0, 1) and clamped to the limits, then each maskable token independently with probability t; again until a token
 * behind the first is masked, since only those can be predicted. `maskable`: 1 where a token may be masked. A sequence without such a token
 * stays clean.
 */
export const corrupt = (maskable: ArrayLike<number>, limits: RatioLimits, key: RandomKey): Corruption => {
  const n = maskable.length
  const predictable = Array.from({ length: n }, (_, i) => i).some(i => i > 0 && maskable[i] === 1)
  const drawn = (ratio: number, masked: Uint8Array<ArrayBuffer>): Corruption => ({
    ratio,
    maskable,
    masked,
    labelled: masked
  })
  if (!predictable) return drawn(limits.low, new Uint8Array(n))
  for (let draw = 0; draw < mostDraws; draw++) {
    const start = draw * (n + 1)
    const ratio = Math.min(limits.high, Math.max(limits.low, uniformAt(key, start)))
    const masked = Uint8Array.from({ length: n }, (_, i) =>
      maskable[i] === 1 && uniformAt(key, start + 1 + i) < ratio ? 1 : 0
    )
    if (masked.some((bit, i) => i > 0 && bit === 1)) return drawn(ratio, masked)
  }
  throw new RangeError(`no token was masked in ${mostDraws} draws with a share of at most ${limits.high}`)
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
  (example, step) =>
    corrupt(sequences[example]!.lossMask, ratioLimits(settings, step), corruptionKey(seed, step, example))

/** The key of an example's corruption: the same in every row of the grid. */
export const corruptionKey = (seed: number, step: number, example: number): RandomKey =>
  randomKey(seed, "corruption", step, example)

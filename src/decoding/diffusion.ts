/**
 * Decoding by masked diffusion: all new tokens begin as masks and are revealed over some steps. The algorithms of Open-dLLM's
 * `diffusion_generate` and of the stand-alone `mdm_generate`, as what a step does with a text.
 */
import { type Effect, Schema } from "effect"
import { PositiveInt, setting } from "../config/setting.ts"
import { type RandomKey, subkey, uniformAt } from "../tensor/random.ts"
import { probabilityOf, sampleToken, Sampling } from "./sampling.ts"

export const algorithms = ["origin", "maskgit_plus", "topk_margin", "entropy", "p2"] as const
export type Algorithm = (typeof algorithms)[number]
export const schedules = ["floor", "quota", "kappa"] as const

/** Names are those of the field's generation configurations, in our spelling. */
export const DiffusionDecoding = Schema.Struct({
  /** Denoising steps: forward passes at most */
  steps: setting(PositiveInt, 512),
  /** Last value of the time that falls from 1 */
  eps: setting(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThan(1)), 1e-3),
  ...Sampling.fields,
  /** Logits are divided by it before a token is drawn; 0 takes the likeliest */
  temperature: setting(Sampling.fields.temperature, 0),
  /**
   * Which masks are revealed first. `origin`: a random share; the others by confidence in the token that was drawn: its probability (`maskgit_plus`),
   * the lead of the likeliest over the second (`topk_margin`), the negative entropy (`entropy`). `p2` draws all tokens again and masks those with
   * least probability, revealed ones as well
   */
  alg: setting(Schema.Literals(algorithms), "entropy"),
  /** Above 0, positions are drawn at random with confidence / algTemp as logits, without replacement */
  algTemp: setting(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), 0),
  /**
   * How many masks a step reveals. `floor`: floor(masks (1 - s / t)), which may be none; `quota`: as many in each step, those left over in the first
   * ones; `kappa`: so that floor(all (1 - j / steps)) stay after step j
   */
  schedule: setting(Schema.Literals(schedules), "quota")
})
export type DiffusionDecoding = typeof DiffusionDecoding.Type

/** The settings of the seed's benchmarks. */
export const mdmDefaults = {
  steps: 16,
  temperature: 0.7,
  topK: 200,
  alg: "entropy",
  algTemp: 0.6,
  schedule: "kappa"
} as const

/** Whose text stands in a row of the canvas: what its numbers are drawn by, and the passes that it took before. */
export interface TextAt {
  readonly key: RandomKey
  readonly pass: number
}

/** A model that predicts the tokens of a canvas. */
export interface Denoiser<E> {
  readonly vocabSize: number
  /** Tokens of a row: the longest prompt and the new tokens. */
  readonly length: number
  /**
   * Logits [n, V] of the tokens at places of the canvas (row x length + column). `pads`: how many columns at the beginning of each row
   * are padding. `texts`: of each row; a model that draws numbers of its own draws them by the text's key, the pass, and the place behind the padding.
   */
  readonly logits: (
    canvas: Int32Array,
    pads: ReadonlyArray<number>,
    places: ReadonlyArray<number>,
    texts?: ReadonlyArray<TextAt>
  ) => Effect.Effect<Float32Array, E>
}

/** Of the steps of a decoding those after which nothing is left to reveal: a quota gives every step its share, and there are only so many tokens. */
export const stepsThatCount = ({ alg, schedule, steps }: DiffusionDecoding, newTokens: number): number =>
  schedule === "quota" && alg !== "origin" && alg !== "p2" ? Math.min(steps, newTokens) : steps

/** The share of masks that step j reveals, 1 - s / t of a time that falls from 1 to `eps`; the last step reveals all. */
const shareOf = ({ eps, steps }: DiffusionDecoding, j: number): number => {
  const time = (k: number): number => 1 + (k / steps) * (eps - 1)
  return j === steps - 1 ? 1 : 1 - time(j + 1) / time(j)
}

/**
 * How many of a row's new tokens each step chooses, of all algorithms but `origin`: masks that it reveals, or with `p2` tokens that stay. It is the same for all rows, and ends with the step that
 * leaves no mask.
 */
export const chosenPerStep = (settings: DiffusionDecoding, newTokens: number): ReadonlyArray<number> => {
  const { alg, schedule, steps } = settings
  const chosen: Array<number> = []
  for (let j = 0, masks = newTokens; j < steps && masks > 0; j++) {
    /** Masks after the step, where they fall evenly. */
    const evenly = Math.floor(newTokens * (1 - (j + 1) / steps))
    const revealed = (): number => {
      if (j === steps - 1) return masks
      switch (schedule) {
        case "floor":
          return Math.floor(masks * shareOf(settings, j))
        case "quota":
          return Math.min(masks, Math.floor(newTokens / steps) + (j < newTokens % steps ? 1 : 0))
        case "kappa":
          return Math.max(0, masks - evenly)
      }
    }
    chosen.push(alg === "p2" ? newTokens - evenly : revealed())
    masks = alg === "p2" ? evenly : masks - chosen[j]!
  }
  return chosen
}

/** The step that reveals each new token of a text by `origin`: chance alone decides. */
export const originSteps = (settings: DiffusionDecoding, text: RandomKey, newTokens: number): Int32Array =>
  Int32Array.from({ length: newTokens }, (_, i) => {
    const key = subkey(text, "revealed", [i])
    let j = 0
    while (uniformAt(key, j) >= shareOf(settings, j)) j++
    return j
  })

/** Draws with probability proportional to exp(score / temperature) without replacement: Gumbel's trick. */
export const gumbel = (uniform: number): number => -Math.log(-Math.log(uniform + 1e-20) + 1e-20)

/** A place of the canvas with the token that it would have, and how sure the model is of it. */
export interface Judged {
  readonly place: number
  readonly token: number
  readonly score: number
}

/** Judges a place by its logits [V], where there is a mask by a token that is drawn, else, with `p2`, by the token that is there. */
export const judge = (
  settings: DiffusionDecoding,
  {
    logits,
    place,
    uniform,
    there
  }: {
    readonly logits: ArrayLike<number>
    readonly place: number
    readonly uniform: number
    /** Undefined: a mask. */
    readonly there: number | undefined
  }
): Judged => {
  if (there !== undefined) return { place, token: there, score: probabilityOf(logits, settings, there) }
  const { margin, negativeEntropy, probability, token } = sampleToken(logits, settings, uniform)
  const { alg } = settings
  return { place, token, score: alg === "topk_margin" ? margin : alg === "entropy" ? negativeEntropy : probability }
}

/** The `n` surest; of equals the first. */
export const surest = <J extends Judged>(places: ReadonlyArray<J>, n: number): ReadonlyArray<J> =>
  places.toSorted((a, b) => b.score - a.score || a.place - b.place).slice(0, n)

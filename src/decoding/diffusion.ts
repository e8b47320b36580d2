/**
 * Decoding by masked diffusion: all new tokens begin as masks and are revealed over some steps. The algorithms of Open-dLLM's
 * `diffusion_generate` and of the stand-alone `mdm_generate`, for several prompts at once.
 */
import { Effect, Schema } from "effect"
import { PositiveInt, setting } from "../config/setting.ts"
import { randomKey, uniformAt } from "../tensor/random.ts"
import { makeCanvas, textsOf } from "./canvas.ts"
import { probabilityOf, sampleToken, Sampling, type Sampled } from "./sampling.ts"

export const algorithms = ["origin", "maskgit_plus", "topk_margin", "entropy", "p2"] as const
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

/** A model that predicts the tokens of a canvas. */
export interface Denoiser<E> {
  readonly vocabSize: number
  /** Tokens of a row: the longest prompt and the new tokens. */
  readonly length: number
  /**
   * Logits [n, V] of the tokens at places of the canvas (row x length + column). `pads`: how many columns at the beginning of each row
   * are padding.
   */
  readonly logits: (
    canvas: Int32Array,
    pads: ReadonlyArray<number>,
    places: ReadonlyArray<number>
  ) => Effect.Effect<Float32Array, E>
}

export interface DiffusionRequest {
  readonly prompts: ReadonlyArray<ArrayLike<number>>
  readonly maxNewTokens: number
  readonly mask: number
  readonly pad: number
  /** Rows draw numbers of their own: a prompt has the same text in any company. */
  readonly seed: number
  /** Number of the first prompt, where these are part of more. Default 0. */
  readonly firstRow?: number
  readonly settings: DiffusionDecoding
  /** Told of the rows, without padding, after every step. */
  readonly onStep?: (step: number, rows: ReadonlyArray<Int32Array>) => Effect.Effect<void>
}

export interface DiffusionResult {
  /** Prompts and new tokens, without padding. No mask is left. */
  readonly sequences: ReadonlyArray<Int32Array>
  /** Forward passes of the batch. */
  readonly forwards: number
}

/** Of the steps of a decoding those after which nothing is left to reveal: a quota gives every step its share, and there are only so many tokens. */
export const stepsThatCount = ({ alg, schedule, steps }: DiffusionDecoding, newTokens: number): number =>
  schedule === "quota" && alg !== "origin" && alg !== "p2" ? Math.min(steps, newTokens) : steps

/** Draws with probability proportional to exp(score / temperature) without replacement: Gumbel's trick. */
const gumbel = (uniform: number): number => -Math.log(-Math.log(uniform + 1e-20) + 1e-20)

export const diffusionGenerate = <E>(
  denoiser: Denoiser<E>,
  { firstRow = 0, mask, maxNewTokens, onStep, pad, prompts, seed, settings }: DiffusionRequest
): Effect.Effect<DiffusionResult, E> =>
  Effect.gen(function* () {
    const { alg, algTemp, eps, schedule, steps } = settings
    const { length, vocabSize } = denoiser
    // The token before the first new one predicts it.
    if (prompts.some(prompt => prompt.length === 0))
      return yield* Effect.die(new RangeError("a prompt needs at least one token"))
    const { ids: canvas, pads } = makeCanvas(prompts, { length, newTokens: maxNewTokens, mask, pad })
    const isMask = (place: number): boolean => canvas[place] === mask
    /** Places of a row's new tokens. */
    const variable = prompts.map((_, row) =>
      Array.from({ length: maxNewTokens }, (_place, i) => (row + 1) * length - maxNewTokens + i)
    )
    const tokenKeys = prompts.map((_, row) => randomKey(seed, "diffusion tokens", firstRow + row))
    const orderKeys = prompts.map((_, row) => randomKey(seed, "diffusion order", firstRow + row))
    const uniform = (keys: typeof tokenKeys, row: number, step: number, place: number): number =>
      uniformAt(keys[row]!, step * maxNewTokens + (place - variable[row]![0]!))

    const time = (j: number): number => 1 + (j / steps) * (eps - 1)
    /** Masks to be revealed in a row that has so many. */
    const revealed = (j: number, masks: number): number => {
      if (j === steps - 1) return masks
      switch (schedule) {
        case "floor":
          return Math.floor(masks * (1 - time(j + 1) / time(j)))
        case "quota":
          return Math.min(masks, Math.floor(maxNewTokens / steps) + (j < maxNewTokens % steps ? 1 : 0))
        case "kappa":
          return Math.max(0, masks - Math.floor(maxNewTokens * (1 - (j + 1) / steps)))
      }
    }
    /** The `n` places with the largest scores, or a draw that prefers them. */
    const choose = (
      places: ReadonlyArray<number>,
      scores: ReadonlyArray<number>,
      n: number,
      row: number,
      j: number
    ) => {
      const keys = scores.map((score, i) =>
        algTemp > 0 ? score / algTemp + gumbel(uniform(orderKeys, row, j, places[i]!)) : score
      )
      return places
        .map((place, i) => ({ place, key: keys[i]! }))
        .sort((a, b) => b.key - a.key || a.place - b.place)
        .slice(0, n)
        .map(({ place }) => place)
    }
    const confidence = ({ margin, negativeEntropy, probability }: Sampled): number =>
      alg === "topk_margin" ? margin : alg === "entropy" ? negativeEntropy : probability

    let forwards = 0
    for (let j = 0; j < steps; j++) {
      const masked = variable.map(places => places.filter(isMask))
      if (masked.every(places => places.length === 0)) break
      // `p2` looks at all rows that are not done, revealed tokens included.
      const open = alg === "p2" ? variable.map((places, row) => (masked[row]!.length > 0 ? places : [])) : masked
      const places = open.flat()
      const logits = yield* denoiser.logits(canvas, pads, places)
      forwards++
      const rowOf = new Map(places.map((place, i) => [place, logits.subarray(i * vocabSize, (i + 1) * vocabSize)]))
      for (const row of rowOf.values()) row[mask] = -Infinity
      for (const [row, own] of open.entries()) {
        const drawn = new Map(
          own.map(place => [place, sampleToken(rowOf.get(place)!, settings, uniform(tokenKeys, row, j, place))])
        )
        if (own.length === 0) continue
        const masks = masked[row]!
        if (alg === "origin") {
          const chance = j === steps - 1 ? 1 : 1 - time(j + 1) / time(j)
          for (const place of masks)
            if (uniform(orderKeys, row, j, place) < chance) canvas[place] = drawn.get(place)!.token
          continue
        }
        if (alg === "p2") {
          // A token that stays is judged by its own probability.
          const scores = own.map(place =>
            isMask(place) ? drawn.get(place)!.probability : probabilityOf(rowOf.get(place)!, settings, canvas[place]!)
          )
          const keep = maxNewTokens - Math.floor(maxNewTokens * (1 - (j + 1) / steps))
          const kept = new Set(choose(own, scores, keep, row, j))
          for (const place of own) {
            if (!kept.has(place)) canvas[place] = mask
            else if (isMask(place)) canvas[place] = drawn.get(place)!.token
          }
          continue
        }
        const scores = masks.map(place => confidence(drawn.get(place)!))
        for (const place of choose(masks, scores, revealed(j, masks.length), row, j))
          canvas[place] = drawn.get(place)!.token
      }
      if (onStep !== undefined) yield* onStep(j + 1, textsOf({ ids: canvas, pads }, length))
    }
    return { sequences: textsOf({ ids: canvas, pads }, length), forwards }
  })

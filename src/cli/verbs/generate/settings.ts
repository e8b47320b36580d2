/** What the flags of `pipeline generate` mean together. */
import { Effect, Option } from "effect"
import type { caches } from "../../../decoding/accepting.ts"
import {
  algorithmFor,
  blockFault,
  type BlockFields,
  goesInBlocks,
  type MaskDecoding
} from "../../../decoding/blockSettings.ts"
import type { algorithms, schedules } from "../../../decoding/diffusion.ts"
import type { Sampling } from "../../../decoding/sampling.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { stopFault } from "../../../tokens/textStream.ts"

export const defaultSampling = { ar: { temperature: 0.8, topP: 0.95 }, diffusion: { temperature: 0.5, topK: 200 } }
/** The settings of Open-dLLM's sample script. */
export const defaultDiffusion = { eps: 1e-3, alg: "p2", algTemp: 0.5, schedule: "quota" } as const
/** What goes block by block reveals nothing again, and in an order that is not drawn. */
const defaultInBlocks = { ...defaultDiffusion, alg: "maskgit_plus", algTemp: 0 } as const
/** Where neither the user nor the model's configuration sets a limit. */
export const defaultNewTokens = 128
export const defaultPositions = 2048
/** More make no difference to any text that a model has room for. */
const mostSteps = 100_000

export type Mode = keyof typeof defaultSampling

export interface DecodingFlags {
  readonly temperature: Option.Option<number>
  readonly topP: Option.Option<number>
  readonly topK: Option.Option<number>
  readonly steps: Option.Option<number>
  readonly eps: Option.Option<number>
  readonly alg: Option.Option<(typeof algorithms)[number]>
  readonly algTemp: Option.Option<number>
  readonly schedule: Option.Option<(typeof schedules)[number]>
  readonly blockLength: Option.Option<number>
  readonly threshold: Option.Option<number>
  readonly factor: Option.Option<number>
  readonly entropyThreshold: Option.Option<number>
  readonly entropyBound: Option.Option<number>
  readonly blockAddThreshold: Option.Option<number>
  readonly decodedTokenThreshold: Option.Option<number>
  readonly kvCache: Option.Option<(typeof caches)[number]>
  readonly cacheDelayIter: Option.Option<number>
  readonly refreshInterval: Option.Option<number>
}

/** Whether a flag was given: what is optional, or a toggle. */
export const isGiven = (value: unknown): boolean => (Option.isOption(value) ? Option.isSome(value) : value === true)

/** The flag of a setting. */
export const flagOf = (field: string): string =>
  field === "cache" ? "kv-cache" : field.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

const share = { holds: (n: number) => n > 0 && n <= 1, expected: "a number above 0, and at most 1" }
const positive = { holds: (n: number) => n > 0 && Number.isFinite(n), expected: "a number above 0" }
const count = { holds: (n: number) => n >= 1, expected: "a whole number from 1 on" }

/** What the flags of decoding block by block must be. */
const blockNumbers = {
  blockLength: count,
  threshold: share,
  factor: positive,
  entropyThreshold: positive,
  entropyBound: positive,
  blockAddThreshold: share,
  decodedTokenThreshold: share,
  cacheDelayIter: count,
  refreshInterval: count
} as const

const blockSettingsOf = (flags: DecodingFlags): Effect.Effect<BlockFields, ConfigError> =>
  Effect.gen(function* () {
    const given: { -readonly [name in keyof typeof blockNumbers]?: number } = {}
    for (const name of Object.keys(blockNumbers) as ReadonlyArray<keyof typeof blockNumbers>) {
      const value = Option.getOrUndefined(flags[name])
      if (value === undefined) continue
      const { expected, holds } = blockNumbers[name]
      if (!holds(value)) return yield* wrong(flagOf(name), expected)
      given[name] = value
    }
    return Option.isNone(flags.kvCache) ? given : { ...given, cache: flags.kvCache.value }
  })

const wrong = (flag: string, expected: string) =>
  Effect.fail(new ConfigError({ at: `--${flag}`, message: `must be ${expected}` }))

/** A filter that the user names takes the place of the default ones. */
export const samplingOf = (flags: DecodingFlags, mode: Mode): Effect.Effect<Sampling, ConfigError> => {
  const temperature = Option.getOrElse(flags.temperature, () => defaultSampling[mode].temperature)
  const named = { topP: Option.getOrUndefined(flags.topP), topK: Option.getOrUndefined(flags.topK) }
  const filters: { readonly topP?: number | undefined; readonly topK?: number | undefined } =
    named.topP === undefined && named.topK === undefined ? defaultSampling[mode] : named
  const { topK, topP } = filters
  if (!(temperature >= 0 && Number.isFinite(temperature))) return wrong("temperature", "a number from 0 on")
  if (topP !== undefined && !(topP > 0 && topP <= 1)) return wrong("top-p", "a number above 0, and at most 1")
  if (topK !== undefined && topK < 1) return wrong("top-k", "a whole number from 1 on")
  return Effect.succeed({
    temperature,
    ...(topP === undefined ? {} : { topP }),
    ...(topK === undefined ? {} : { topK })
  })
}

/** Refuses stop strings that no text can hold, or that every text does. */
export const checkStops = (stops: ReadonlyArray<string>): Effect.Effect<void, ConfigError> =>
  Effect.forEach(
    stops,
    stop => {
      const fault = stopFault(stop)
      return fault === undefined
        ? Effect.void
        : Effect.fail(new ConfigError({ at: `--stop ${JSON.stringify(stop)}`, message: fault }))
    },
    { discard: true }
  )

/** What the flags and their defaults say of decoding by masks, each by itself. `ofModel`: the blocks that a model decodes in where no others are asked for. */
export const maskSettingsOf = (
  flags: DecodingFlags,
  newTokens: number,
  ofModel?: number
): Effect.Effect<MaskDecoding & { readonly steps: number }, ConfigError> =>
  Effect.gen(function* () {
    const sampling = yield* samplingOf(flags, "diffusion")
    const steps = Option.getOrElse(flags.steps, () => newTokens)
    const given = yield* blockSettingsOf(flags)
    const blocks = ofModel === undefined ? given : { blockLength: ofModel, ...given }
    const defaults = goesInBlocks(blocks)
      ? { ...defaultInBlocks, alg: algorithmFor(blocks) ?? defaultInBlocks.alg }
      : defaultDiffusion
    const eps = Option.getOrElse(flags.eps, () => defaults.eps)
    const algTemp = Option.getOrElse(flags.algTemp, () => defaults.algTemp)
    if (steps < 1) return yield* wrong("steps", "a whole number from 1 on")
    if (steps > mostSteps) return yield* wrong("steps", `at most ${mostSteps}`)
    if (!(eps > 0 && eps < 1)) return yield* wrong("eps", "a number between 0 and 1")
    if (!(algTemp >= 0)) return yield* wrong("alg-temp", "a number from 0 on")
    return {
      ...sampling,
      steps,
      eps,
      algTemp,
      alg: Option.getOrElse(flags.alg, () => defaults.alg),
      schedule: Option.getOrElse(flags.schedule, () => defaults.schedule),
      ...blocks
    }
  })

/** The same, where they go together. */
export const diffusionOf = (...asked: Parameters<typeof maskSettingsOf>): ReturnType<typeof maskSettingsOf> =>
  Effect.flatMap(maskSettingsOf(...asked), settings => {
    const fault = blockFault(settings)
    return fault === undefined
      ? Effect.succeed(settings)
      : Effect.fail(new ConfigError({ at: `--${flagOf(fault.field)}`, message: fault.why }))
  })

/** How many tokens to make behind a prompt, for a model that knows so many positions. */
export const roomFor = (
  prompt: number,
  positions: unknown,
  wanted: Option.Option<number>
): Effect.Effect<number, ConfigError> => {
  const limit = typeof positions === "number" ? positions : defaultPositions
  const room = limit - prompt
  const asked = Option.getOrElse(wanted, () => Math.min(defaultNewTokens, room))
  if (asked < 1 && Option.isSome(wanted)) return wrong("max-new-tokens", "a whole number from 1 on")
  return asked <= room && room > 0
    ? Effect.succeed(asked)
    : Effect.fail(
        new ConfigError({
          at: Option.isSome(wanted) && room > 0 ? `--max-new-tokens ${asked}` : "prompt",
          message: `the prompt has ${prompt} tokens; the model knows ${limit} positions`,
          advice: room > 0 ? `at most ${room} new tokens fit` : "shorten the prompt"
        })
      )
}

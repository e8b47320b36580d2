/** Which flag is read where: the one table from which the refusal of flags, and of fields of requests, that nobody would read follows. */
import { Effect } from "effect"
import { ruleOf } from "../../../decoding/accepting.ts"
import type { MaskDecoding } from "../../../decoding/blockSettings.ts"
import type { Decoding } from "../../../methods/Method.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { cacheFault } from "../../../sessions/maskedGenerator.ts"
import type { Described } from "./opened.ts"
import { type DecodingFlags, diffusionOf, flagOf, isGiven, maskSettingsOf, type Mode } from "./settings.ts"

/** What is decoded, and how. */
interface Situation {
  readonly mode: Mode
  readonly method: Pick<Decoding, "maskedReading" | "readsBeside">
  readonly model: Pick<LoadedModel, "config" | "latent">
  /** What flags and defaults say of decoding by masks. */
  readonly settings: MaskDecoding
  /** A conversation. Default false. */
  readonly chat?: boolean
  /** Whether tokens are drafted. Default false. */
  readonly drafts?: boolean
}

interface Refusal {
  readonly why: string
  readonly advice?: string
}

/** Why a flag is not read in a situation; undefined where it is, as far as this goes. */
type Need = (situation: Situation) => Refusal | undefined

const needs = (holds: (situation: Situation) => boolean, why: string, advice?: string): Need => {
  const refusal = advice === undefined ? { why } : { why, advice }
  return situation => (holds(situation) ? undefined : refusal)
}

const diffusion = needs(({ mode }) => mode === "diffusion", "goes with mode diffusion alone")
const tokenByToken = needs(
  ({ chat, mode }) => mode === "ar" && chat !== true,
  "drafts are for texts that are written token by token, and not for --chat"
)
const drafted = needs(({ drafts }) => drafts === true, "drafts nothing without --draft-tokens")
const conversation = needs(({ chat }) => chat === true, "goes with --chat")
const masks = needs(
  ({ method }) => method.maskedReading !== undefined,
  "the model draws latents and decodes all of them at once: it reveals no masks"
)
const byConfidence = needs(
  ({ settings }) => settings.alg !== "origin",
  "does not go with alg origin, which reveals by chance alone"
)
const scheduled: Need = ({ settings: { alg } }) =>
  alg === "origin" || alg === "p2"
    ? { why: `does not go with alg ${alg}, which has a schedule of its own`, advice: "name another alg" }
    : undefined
const timed = needs(
  ({ settings: { alg, schedule } }) => alg === "origin" || (alg !== "p2" && schedule === "floor"),
  "is the last value of a time that alg origin and the schedule floor alone have"
)
const inBlocks = needs(
  ({ settings }) => settings.blockLength !== undefined,
  "goes with several blocks",
  "say how long one is: --block-length"
)
const advancing = needs(
  ({ settings }) => ruleOf(settings) !== undefined || (settings.decodedTokenThreshold ?? 1) < 1,
  "changes nothing by itself: a step reveals something of a later block by a rule, or where it must",
  "add --threshold or another rule, or --decoded-token-threshold below 1"
)
const severalAtOnce = needs(
  ({ settings }) => (settings.blockAddThreshold ?? 1) < 1,
  "goes with several blocks at a time",
  "set --block-add-threshold below 1"
)
const cached: Need = ({ method, model, settings }) => {
  const fault = cacheFault(model.config, settings, method.readsBeside?.(model) === true)
  return fault === undefined ? undefined : { why: fault, advice: "leave it out" }
}
const byBlocksOfModel = "the model attends by blocks: what is decoded is kept as it is, and nothing is read again"
const approximate = needs(({ model }) => model.config.attentionBlockSize === undefined, byBlocksOfModel, "leave it out")
const oneCache: Need = situation => (situation.settings.cache === "dual" ? approximate(situation) : undefined)

const ofMasks = [diffusion, masks]

/** What each flag needs to be read, the first to be told first. */
const readBy = {
  temperature: [],
  topP: [],
  topK: [],
  steps: [diffusion],
  alg: ofMasks,
  algTemp: [...ofMasks, byConfidence],
  schedule: [...ofMasks, scheduled],
  eps: [...ofMasks, timed],
  blockLength: ofMasks,
  threshold: ofMasks,
  factor: ofMasks,
  entropyThreshold: ofMasks,
  entropyBound: ofMasks,
  blockAddThreshold: [...ofMasks, inBlocks, advancing],
  decodedTokenThreshold: [...ofMasks, inBlocks, severalAtOnce],
  kvCache: [...ofMasks, cached, oneCache],
  cacheDelayIter: [...ofMasks, approximate],
  refreshInterval: [...ofMasks, approximate],
  draftTokens: [tokenByToken],
  drafter: [tokenByToken, drafted],
  verbose: [diffusion],
  historyOut: [diffusion],
  system: [conversation]
} as const satisfies { readonly [name in keyof DecodingFlags]: ReadonlyArray<Need> } & {
  readonly [name: string]: ReadonlyArray<Need>
}

const names = Object.keys(readBy) as ReadonlyArray<keyof typeof readBy>

/** Refuses what was given and nobody would read. `given`: by the names of the table; what is not in it is read everywhere. */
const refuseUnread = (
  given: { readonly [name: string]: unknown },
  situation: Situation
): Effect.Effect<void, ConfigError> => {
  for (const name of names) {
    if (!isGiven(given[name])) continue
    const needed: ReadonlyArray<Need> = readBy[name]
    for (const need of needed) {
      const refusal = need(situation)
      if (refusal === undefined) continue
      const { advice, why } = refusal
      return Effect.fail(
        new ConfigError({ at: `--${flagOf(name)}`, message: why, ...(advice === undefined ? {} : { advice }) })
      )
    }
  }
  return Effect.void
}

/**
 * Checks what flags say of decoding for a model, before its weights are read: refuses those of `given` that nobody would read, and those that do not go together.
 */
export const checkDecoding = (
  flags: DecodingFlags,
  given: { readonly [name: string]: unknown },
  situation: Omit<Situation, "settings" | "method" | "model"> & Described
): Effect.Effect<void, ConfigError> =>
  Effect.gen(function* () {
    const ofModel = situation.method.blockLength?.(situation.model)
    yield* refuseUnread(given, { ...situation, settings: yield* maskSettingsOf(flags, 1, ofModel) })
    if (situation.mode === "diffusion") yield* diffusionOf(flags, 1, ofModel)
  })

/** Flags of the verbs that make texts: which model, and how it decodes. */
import { Flag } from "effect/cli"
import { caches } from "../../../decoding/accepting.ts"
import { algorithms, schedules } from "../../../decoding/diffusion.ts"
import * as flags from "../../flags.ts"
import { type DecodingFlags, defaultNewTokens } from "./settings.ts"

const defaultModel = "embedded:teacher"

const number = (name: string, description: string) =>
  Flag.Finite(name).pipe(Flag.withDescription(description), Flag.optional)

export const modelFlags = {
  mode: flags.optionalChoice(
    "mode",
    ["ar", "diffusion"],
    "How to decode: ar, token by token; diffusion, from masks (default: what the model was trained for)"
  ),
  model: flags
    .text(
      "model",
      "REF",
      `embedded:NAME, a directory in Hugging Face layout, or what a run made: an action (pretrain-teacher/pretrain) or digits of a digest (default: ${defaultModel})`
    )
    .pipe(Flag.withAlias("m"), Flag.withDefault(defaultModel)),
  base: flags.base,
  maxNewTokens: flags
    .whole(
      "max-new-tokens",
      "N",
      `Tokens to make at most (default: ${defaultNewTokens}, or as many as the model has room for)`
    )
    .pipe(Flag.withAlias("n"), Flag.optional)
} as const

export const decodingFlags = {
  temperature: number(
    "temperature",
    "Higher is more varied; 0 takes the most likely token (default: ar 0.8, diffusion 0.5)"
  ).pipe(Flag.withAlias("t")),
  topP: number(
    "top-p",
    "Draws from the most likely tokens that together reach this probability (default: ar 0.95, diffusion none)"
  ),
  topK: flags
    .whole("top-k", "N", "Draws from so many of the most likely tokens only (default: ar none, diffusion 200)")
    .pipe(Flag.optional),
  steps: flags.whole("steps", "N", "diffusion: denoising steps (default: as many as new tokens)").pipe(Flag.optional),
  eps: number("eps", "diffusion: last value of the time, for origin and the schedule floor (default: 0.001)"),
  alg: flags.optionalChoice(
    "alg",
    algorithms,
    "diffusion: which masks are revealed first (default: p2, in blocks and with a threshold maskgit_plus)"
  ),
  algTemp: number(
    "alg-temp",
    "diffusion: above 0, positions are drawn at random by their confidence (default: 0.5, in blocks and with a threshold 0)"
  ),
  schedule: flags.optionalChoice("schedule", schedules, "diffusion: how many masks a step reveals (default: quota)"),
  blockLength: flags
    .whole(
      "block-length",
      "N",
      "diffusion: tokens of a block; one block is revealed after the other (default: all tokens, with bd3lm the blocks of its training)"
    )
    .pipe(Flag.optional),
  threshold: number(
    "threshold",
    "diffusion: a step reveals every token of at least this probability, and the surest one at least (default: none)"
  ),
  factor: number("factor", "diffusion: instead of --threshold, Fast-dLLM's factor: more at once the surer all are"),
  entropyThreshold: number(
    "entropy-threshold",
    "diffusion: instead of --threshold, a step reveals every token whose distribution has less entropy than this, nats"
  ),
  entropyBound: number(
    "entropy-bound",
    "diffusion: instead of --threshold, a step reveals tokens until their entropies add up to this, nats"
  ),
  blockAddThreshold: number(
    "block-add-threshold",
    "diffusion: the next block begins when this share of the last one is revealed (default: 1)"
  ),
  decodedTokenThreshold: number(
    "decoded-token-threshold",
    "diffusion: with several blocks, one must advance in every step when this share of the one before it is revealed (default: 1)"
  ),
  kvCache: flags.optionalChoice(
    "kv-cache",
    caches,
    "diffusion: what passes do not read again: prefix, the blocks that are done; dual, also those that have not begun (default: none)"
  ),
  cacheDelayIter: flags
    .whole("cache-delay-iter", "N", "diffusion: with a cache, whole passes over a block that is done (default: 1)")
    .pipe(Flag.optional),
  refreshInterval: flags
    .whole("refresh-interval", "N", "diffusion: with a cache, every so many passes one reads all (default: never)")
    .pipe(Flag.optional)
} as const

export const decodingNames = Object.keys(decodingFlags) as ReadonlyArray<keyof DecodingFlags>

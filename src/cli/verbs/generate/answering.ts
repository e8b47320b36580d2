/** A model that answers requests as the flags say: behind `pipeline serve`, and in a chat. */
import { Effect, Option, Scope } from "effect"
import type { Engine } from "../../../engines/Engine.ts"
import type { Decoding as MethodDecoding } from "../../../methods/Method.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import { positionsOf } from "../../../models/families.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { makeCausalDecoder } from "../../../serving/causal.ts"
import { makeDiffusionDecoder } from "../../../serving/diffusion.ts"
import { endsOf } from "../../../serving/ends.ts"
import { type Decoder, type Decoding, failedBy } from "../../../serving/job.ts"
import type { CommonBody } from "../../../serving/requests.ts"
import { makeService } from "../../../serving/service.ts"
import { causalReader } from "../../../sessions/autoregressive.ts"
import { type DecodingFlags, defaultPositions, diffusionOf, samplingOf } from "./settings.ts"

interface Opened {
  readonly engine: Engine
  readonly files: ReadonlyArray<{ readonly name: string; readonly path: string }>
  readonly method: MethodDecoding
  readonly model: LoadedModel
}

interface Limits {
  /** Texts that are decoded together, and that may be waited for, at most. */
  readonly rows: number
  readonly most: number
  /** Tokens of a text, prompt included; by default as many as the model knows positions, and no more than usual. */
  readonly context: Option.Option<number>
}

/** How many tokens a text may have. */
export const contextOf = (
  model: Pick<LoadedModel, "json">,
  wanted: Option.Option<number>
): Effect.Effect<number, ConfigError> => {
  const positions = positionsOf(model.json)
  const known = typeof positions === "number" ? positions : defaultPositions
  const context = Option.getOrElse(wanted, () => Math.min(known, defaultPositions))
  return context <= known
    ? Effect.succeed(context)
    : Effect.fail(
        new ConfigError({ at: `--context ${context}`, message: `the model knows ${known} positions, and no more` })
      )
}

/** The service, with its decoders, which begin when they are needed first. */
export const makeAnswering = Effect.fnUntraced(function* (
  { engine, files, method, model }: Opened,
  { context: wanted, most, rows }: Limits
) {
  const { config, parameters, tokenizer } = model
  const context = yield* contextOf(model, wanted)
  const ends = yield* endsOf(model, files)
  const scope = yield* Effect.scope
  const inScope = <E>(effect: Effect.Effect<Decoder, E, Scope.Scope>) =>
    Effect.cached(Effect.mapError(Effect.provideService(effect, Scope.Scope, scope), failedBy))
  const decoders = {
    ar: yield* inScope(
      Effect.suspend(() =>
        makeCausalDecoder(causalReader(engine, config, parameters, { rows, length: context }), {
          rows,
          ends,
          mask: tokenizer.maskId
        })
      )
    ),
    diffusion: yield* inScope(Effect.suspend(() => makeDiffusionDecoder({ engine, method, model, rows, ends })))
  }
  const service = makeService({ tokenizer, most, decoderOf: mode => decoders[mode] })
  return { context, ends, service }
})

/** Fields of a request that say how masks are revealed. */
const diffusionFields = [
  "steps",
  "eps",
  "alg",
  "alg_temp",
  "schedule",
  "block_length",
  "threshold",
  "factor",
  "entropy_threshold",
  "entropy_bound",
  "block_add_threshold",
  "decoded_token_threshold",
  "kv_cache",
  "cache_delay_iter",
  "refresh_interval"
] as const

/** How a request is decoded: as it says, and else as the flags say. `ofModel`: the blocks that the model decodes in where no others are asked for. */
export const decodingOf =
  (flags: DecodingFlags, ofModel?: number) =>
  (mode: Decoding["mode"], body: CommonBody, newTokens: number): Effect.Effect<Decoding, ConfigError> =>
    Effect.gen(function* () {
      const over = <A>(field: A | undefined, flag: Option.Option<A>): Option.Option<A> =>
        field === undefined ? flag : Option.some(field)
      const filters =
        body.top_p === undefined && body.top_k === undefined ? flags : { topP: Option.none(), topK: Option.none() }
      const sampling = {
        temperature: over(body.temperature, flags.temperature),
        topP: over(body.top_p, filters.topP),
        topK: over(body.top_k, filters.topK)
      }
      if (mode === "ar") {
        const foreign = diffusionFields.find(field => body[field] !== undefined)
        if (foreign !== undefined)
          return yield* new ConfigError({ at: foreign, message: "goes with mode diffusion alone" })
        return { mode, sampling: yield* samplingOf({ ...flags, ...sampling }, mode) }
      }
      const settings = yield* diffusionOf(
        {
          ...sampling,
          steps: over(body.steps, flags.steps),
          eps: over(body.eps, flags.eps),
          alg: over(body.alg, flags.alg),
          algTemp: over(body.alg_temp, flags.algTemp),
          schedule: over(body.schedule, flags.schedule),
          blockLength: over(body.block_length, flags.blockLength),
          threshold: over(body.threshold, flags.threshold),
          factor: over(body.factor, flags.factor),
          entropyThreshold: over(body.entropy_threshold, flags.entropyThreshold),
          entropyBound: over(body.entropy_bound, flags.entropyBound),
          blockAddThreshold: over(body.block_add_threshold, flags.blockAddThreshold),
          decodedTokenThreshold: over(body.decoded_token_threshold, flags.decodedTokenThreshold),
          kvCache: over(body.kv_cache, flags.kvCache),
          cacheDelayIter: over(body.cache_delay_iter, flags.cacheDelayIter),
          refreshInterval: over(body.refresh_interval, flags.refreshInterval)
        },
        newTokens,
        ofModel
      )
      return { mode, settings }
    })

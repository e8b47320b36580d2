/** A model that answers requests as the flags say: behind `pipeline serve`, and in a chat. */
import { Effect, Option, Scope } from "effect"
import type { Engine } from "../../../engines/Engine.ts"
import type { Decoding as MethodDecoding } from "../../../methods/Method.ts"
import type { LoadedModel } from "../../../models/artifact.ts"
import { positionsOf } from "../../../models/families.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { makeCausalDecoder } from "../../../serving/causal.ts"
import { makeDiffusionDecoder } from "../../../serving/diffusion.ts"
import { type Decoder, type Decoding, failedBy } from "../../../serving/job.ts"
import type { CommonBody } from "../../../serving/requests.ts"
import { makeService } from "../../../serving/service.ts"
import { causalReader } from "../../../sessions/autoregressive.ts"
import { decodingNames } from "./decodingFlags.ts"
import type { Described } from "./opened.ts"
import { type DecodingFlags, defaultPositions, diffusionOf, flagOf, samplingOf } from "./settings.ts"
import { checkDecoding } from "./unread.ts"

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
  { engine, method, model }: Opened,
  { context: wanted, most, rows }: Limits
) {
  const { config, parameters, tokenizer } = model
  const context = yield* contextOf(model, wanted)
  const scope = yield* Effect.scope
  const inScope = <E>(effect: Effect.Effect<Decoder, E, Scope.Scope>) =>
    Effect.cached(Effect.mapError(Effect.provideService(effect, Scope.Scope, scope), failedBy))
  const decoders = {
    ar: yield* inScope(
      Effect.suspend(() =>
        makeCausalDecoder(causalReader(engine, config, parameters, { rows, length: context }), {
          rows,
          ends: tokenizer.ends,
          mask: tokenizer.maskId
        })
      )
    ),
    diffusion: yield* inScope(Effect.suspend(() => makeDiffusionDecoder({ engine, method, model, rows })))
  }
  const service = makeService({ tokenizer, most, decoderOf: mode => decoders[mode] })
  return { context, service }
})

/** The field of a request that says what a flag does. */
const fieldOf = (name: keyof DecodingFlags): string => flagOf(name).replaceAll("-", "_")

/** The fields of a request that the flags of decoding have, too. A filter that a request names takes the place of all of the flags'. */
const merged = (flags: DecodingFlags, body: CommonBody) => {
  const fields = body as { readonly [field: string]: unknown }
  const given = Object.fromEntries(
    decodingNames.flatMap(name => {
      const value = fields[fieldOf(name)]
      return value === undefined ? [] : [[name, Option.some(value)]]
    })
  )
  const filters =
    body.top_p === undefined && body.top_k === undefined ? {} : { topP: Option.none(), topK: Option.none() }
  // Bodies are decoded by the schema that has these fields with the flags' own types.
  return { given, flags: { ...flags, ...filters, ...(given as Partial<DecodingFlags>) } }
}

/** How a request is decoded: as it says, and else as the flags say. */
export const decodingOf =
  (server: DecodingFlags, described: Described) =>
  (mode: Decoding["mode"], body: CommonBody, newTokens: number): Effect.Effect<Decoding, ConfigError> =>
    Effect.gen(function* () {
      const { flags, given } = merged(server, body)
      yield* checkDecoding(flags, given, { ...described, mode })
      if (mode === "ar") return { mode, sampling: yield* samplingOf(flags, mode) }
      const ofModel = described.method.blockLength?.(described.model)
      return { mode, settings: yield* diffusionOf(flags, newTokens, ofModel) }
    })

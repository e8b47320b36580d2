/** What drafts tokens for `pipeline generate --mode ar`. */
import { Effect, Option } from "effect"
import type { Engine } from "../../../engines/Engine.ts"
import { loadWhole } from "../../../methods/Method.ts"
import { type LoadedModel, openModel } from "../../../models/artifact.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import type { Tokenizer } from "../../../tokens/tokenizer.ts"
import { findModel } from "../../modelSource.ts"

interface Drafted {
  readonly engine: Engine
  readonly model: LoadedModel
}

/** The first token that two tokenizers spell otherwise. */
const firstDifference = (a: Tokenizer, b: Tokenizer): number | undefined => {
  for (let id = 0; id < Math.max(a.vocabSize, b.vocabSize); id++) if (a.decode([id]) !== b.decode([id])) return id
  return undefined
}

/** What drafts, where drafts are asked for. */
export const speculationOf = (
  {
    cache,
    drafter,
    draftTokens
  }: {
    readonly draftTokens: Option.Option<number>
    readonly drafter: Option.Option<string>
    readonly cache: Option.Option<string>
  },
  { engine, model }: Drafted
) =>
  Effect.gen(function* () {
    if (Option.isNone(draftTokens)) return undefined
    const wanted = draftTokens.value
    if (wanted < 1) return yield* new ConfigError({ at: "--draft-tokens", message: "must be a whole number from 1 on" })
    const other = Option.isNone(drafter)
      ? model
      : (yield* loadWhole(engine, yield* openModel((yield* findModel(drafter.value, cache, Option.none())).files)))
          .model
    const { maskId } = model.tokenizer
    if (maskId >= other.config.vocabSize || other.tokenizer.maskId !== maskId)
      return yield* new ConfigError({
        at: Option.isNone(drafter) ? "--draft-tokens" : "--drafter",
        message: `drafts are written over the mask token ${maskId}, which the model that drafts does not have`
      })
    const differing = firstDifference(model.tokenizer, other.tokenizer)
    if (differing !== undefined)
      return yield* new ConfigError({
        at: "--drafter",
        message: `its tokenizer is another one: token ${differing} is ${JSON.stringify(other.tokenizer.decode([differing]))} there, and ${JSON.stringify(model.tokenizer.decode([differing]))} here`
      })
    return { drafter: other, draftTokens: wanted }
  })

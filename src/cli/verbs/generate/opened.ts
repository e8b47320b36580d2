/** The model that makes texts, opened and on an engine. */
import { availableParallelism } from "node:os"
import { Effect, Option } from "effect"
import { makeEngine } from "../../../engines/make.ts"
import type { EngineName, Precision } from "../../../engines/names.ts"
import { type Decoding, type DescribedModel, describeWhole, loadDescribed } from "../../../methods/Method.ts"
import { type LoadedModel, openModel } from "../../../models/artifact.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import * as flags from "../../flags.ts"
import { findModel } from "../../modelSource.ts"
import type { Mode } from "./settings.ts"

interface ModelArgs {
  readonly model: string
  readonly base: Option.Option<string>
  readonly cache: Option.Option<string>
  readonly engine: EngineName
  readonly precision: Precision
  readonly python: Option.Option<string>
}

export interface Described {
  readonly method: Decoding
  readonly model: DescribedModel
}

/** Reads the model that flags name into the memory of the engine that they name, if it passes: `check` is asked before any weight is read. */
export const openNamed = <E>(args: ModelArgs, check: (described: Described) => Effect.Effect<void, E>) =>
  Effect.gen(function* () {
    const { files, name } = yield* findModel(args.model, args.cache, args.base)
    const engineClass = yield* flags.engineClass(args)
    const described = yield* describeWhole(yield* openModel(files))
    yield* check(described)
    const engine = yield* makeEngine(engineClass, { threads: availableParallelism() })
    return { engine, files, name, ...(yield* loadDescribed(engine, described)) }
  })

/** How texts are decoded: as the flag says, or what the model was trained for. Refuses what the model cannot. */
export const modeOf = (wanted: Option.Option<Mode>, model: DescribedModel): Effect.Effect<Mode, ConfigError> => {
  const mode = Option.getOrElse(wanted, () => (model.diffusion ? "diffusion" : "ar"))
  const refusal = modeRefusal(model, mode)
  return refusal === undefined
    ? Effect.succeed(mode)
    : Effect.fail(new ConfigError({ at: `--mode ${mode}`, ...refusal }))
}

/** Why a model does not decode so, and what it does; undefined where it does. */
export const modeRefusal = (
  { config, tokenShift, tokenizer }: Pick<LoadedModel, "config" | "tokenShift" | "tokenizer">,
  mode: Mode
): { readonly message: string; readonly advice: string } | undefined => {
  if (mode === "ar")
    return tokenShift
      ? undefined
      : {
          message: "the model predicts every token at its own place (token_shift is false in its config.json)",
          advice: "it decodes by --mode diffusion"
        }
  return tokenizer.maskId < config.vocabSize
    ? undefined
    : {
        message: `the mask token has id ${tokenizer.maskId}, but the model's embedding has ${config.vocabSize} rows`,
        advice: "it decodes by --mode ar"
      }
}

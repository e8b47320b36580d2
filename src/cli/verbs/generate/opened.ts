/** The model that makes texts, opened and on an engine. */
import { availableParallelism } from "node:os"
import { Effect, type Option } from "effect"
import { makeEngine } from "../../../engines/make.ts"
import type { EngineName, Precision } from "../../../engines/names.ts"
import { loadWhole } from "../../../methods/Method.ts"
import { type LoadedModel, openModel } from "../../../models/artifact.ts"
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

/** Reads the model that flags name into the memory of the engine that they name. */
export const openNamed = Effect.fnUntraced(function* (args: ModelArgs) {
  const { files, name } = yield* findModel(args.model, args.cache, args.base)
  const engine = yield* makeEngine(yield* flags.engineClass(args), { threads: availableParallelism() })
  const { method, model } = yield* loadWhole(engine, yield* openModel(files))
  return { engine, files, method, model, name }
})

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

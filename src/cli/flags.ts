/** Flags and arguments that several verbs share, each defined once. */
import { Option } from "effect"
import { Argument, Flag } from "effect/cli"
import { defaultEngine, engineNames } from "../engines/names.ts"
import type { CacheLocation } from "../runner/Cache.ts"
import type { Variant } from "../pipeline/Pipeline.ts"
import { assets } from "./home.ts"

export const cache = Flag.String("cache").pipe(
  Flag.withDescription("Directory of the store and the ledger (default: $PIPELINE_CACHE, or ./cache)"),
  Flag.withMetavar("DIR"),
  Flag.optional
)

export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON instead of text (one event per line where work is under way)"),
  Flag.withDefault(false)
)

export const profile = Flag.String("profile").pipe(
  Flag.withAlias("p"),
  Flag.withDescription("Profile of the pipeline (default: its first; see `pipeline list`)"),
  Flag.withMetavar("NAME"),
  Flag.optional
)

export const set = Flag.String("set").pipe(
  Flag.withDescription(
    "Set a stage's parameter: STAGE.PARAMETER=VALUE, or STAGE/NAME.PARAMETER=VALUE; may be repeated"
  ),
  Flag.withMetavar("KEY=VALUE"),
  Flag.between(0, Number.MAX_SAFE_INTEGER)
)

/** What a pipeline may be asked besides its profile; the names are those of `Variant`. */
export const variant = {
  quick: Flag.Boolean("quick").pipe(
    Flag.withDescription("A first look, in little time (pipelines that have one)"),
    Flag.withDefault(false)
  ),
  controls: Flag.Boolean("controls").pipe(
    Flag.withDescription("With the rows that serve as controls"),
    Flag.withDefault(false)
  )
} as const

/** The flags that were given, as a pipeline takes them. */
export const variantOf = (args: { readonly quick: boolean; readonly controls: boolean }): Variant => ({
  ...(args.quick ? { quick: true } : {}),
  ...(args.controls ? { controls: true } : {})
})

export const only = Flag.String("only").pipe(
  Flag.withDescription("Only this stage and what it needs; may be repeated"),
  Flag.withMetavar("STAGE"),
  Flag.between(0, Number.MAX_SAFE_INTEGER)
)

export const refresh = Flag.Boolean("refresh").pipe(
  Flag.withDescription("Ask again what moving names (a branch of a repository) stand for"),
  Flag.withDefault(false)
)

export const engine = Flag.Literals("engine", engineNames).pipe(
  Flag.withDescription(
    "What computes tensors: ort (the processor), torch (PyTorch, on a GPU where there is one), reference (slow; for checking) (default: ort)"
  ),
  Flag.withDefault(defaultEngine)
)

export const pipelineName = Argument.String("pipeline").pipe(
  Argument.withDescription("Name of a pipeline (see `pipeline list`), or path of a pipeline file")
)

/** The data that ship with the program, as a read-only layer of the store. */
export const shippedLayer = assets

/** The cache that the flag, the environment or the working directory names. */
export const locationOf = (flag: Option.Option<string>): CacheLocation => ({
  root: Option.getOrElse(flag, () => process.env["PIPELINE_CACHE"] ?? "cache"),
  layers: [shippedLayer]
})

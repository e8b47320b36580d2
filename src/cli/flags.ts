/** Flags and arguments that several verbs share, each defined once. */
import { resolve } from "node:path"
import { Effect, Option } from "effect"
import { Argument, Flag } from "effect/cli"
import {
  defaultEngine,
  defaultPrecision,
  type EngineName,
  engineNames,
  numericClass,
  type Precision,
  precisions,
  precisionsOf
} from "../engines/names.ts"
import { pythonVariable } from "../engines/torch/python.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import type { CacheLocation } from "../runner/Cache.ts"
import type { Variant } from "../pipeline/Pipeline.ts"
import { assets } from "./home.ts"
import { cacheVariable, here } from "./place.ts"

/** Refuses smaller numbers. */
export const atLeast = (least: number) =>
  Flag.filter<number>(
    given => given >= least,
    given => `at least ${least}, got ${given}`
  )

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
  ),
  ablations: Flag.Boolean("ablations").pipe(
    Flag.withDescription("With the rows that have a single part changed"),
    Flag.withDefault(false)
  ),
  seeds: Flag.Int("seeds").pipe(
    Flag.withDescription("Every training so many times, each with a seed of its own (default: 1)"),
    Flag.withMetavar("N"),
    atLeast(1),
    Flag.optional
  )
} as const

interface VariantArgs {
  readonly quick: boolean
  readonly controls: boolean
  readonly ablations: boolean
  readonly seeds: Option.Option<number>
}

/** The flags that were given, as a pipeline takes them. */
export const variantOf = (args: VariantArgs): Variant => ({
  ...(args.quick ? { quick: true } : {}),
  ...(args.controls ? { controls: true } : {}),
  ...(args.ablations ? { ablations: true } : {}),
  ...(Option.isSome(args.seeds) && args.seeds.value > 1 ? { seeds: args.seeds.value } : {})
})

/** What decides the plan of a pipeline. */
export interface PlanArgs extends VariantArgs {
  readonly profile: Option.Option<string>
  readonly set: ReadonlyArray<string>
  readonly only?: ReadonlyArray<string>
  readonly refresh?: boolean
}

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
    "What computes tensors: ort (the processor), webgpu (a GPU, by ONNX Runtime), torch (PyTorch, on a GPU where there is one), reference (slow; for checking) (default: ort)"
  ),
  Flag.withDefault(defaultEngine)
)

export const precision = Flag.Literals("precision", precisions).pipe(
  Flag.withDescription(
    "How torch multiplies f32 matrices: f32, tf32, bf16 or f16 (with scaled losses); all else stays f32 (default: f32)"
  ),
  Flag.withDefault(defaultPrecision)
)

export const python = Flag.String("python").pipe(
  Flag.withDescription(
    `Interpreter with PyTorch (default: $${pythonVariable}, that of the active virtual environment, or python3)`
  ),
  Flag.withMetavar("PATH"),
  Flag.optional
)

/** Puts the interpreter into the environment, where processes that compute find it. */
export const usePython = (flag: Option.Option<string>): void => {
  if (Option.isSome(flag)) process.env[pythonVariable] = flag.value
}

/** What the flags `engine`, `precision` and `python` say: the numeric class of a key. The interpreter is no part of it. */
export const engineClass = (args: {
  readonly engine: EngineName
  readonly precision: Precision
  readonly python?: Option.Option<string>
}): Effect.Effect<string, ConfigError> => {
  if (args.python !== undefined) usePython(args.python)
  const known = precisionsOf(args.engine)
  return known.includes(args.precision)
    ? Effect.succeed(numericClass(args.engine, args.precision))
    : Effect.fail(
        new ConfigError({
          at: "--precision",
          message: `${args.engine} does not compute in ${args.precision}, only in ${known.join(", ")}`,
          advice: "--engine torch does"
        })
      )
}

/** What verbs that plan a pipeline take. */
export const planning = { profile, set, ...variant, engine, precision, cache, json } as const

export const pipelineName = Argument.String("pipeline").pipe(
  Argument.withDescription("Name of a pipeline (see `pipeline list`), or path of a pipeline file")
)

/** The data that ship with the program, as a read-only layer of the store. */
export const shippedLayer = assets

/** The cache that the flag, the environment or the working directory names. */
export const locationOf = (flag: Option.Option<string>): CacheLocation => ({
  root: resolve(
    here(),
    Option.getOrElse(flag, () => cacheVariable() ?? "cache")
  ),
  layers: [shippedLayer]
})

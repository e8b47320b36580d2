/** Flags and arguments that several verbs share, each defined once. */
import { resolve } from "node:path"
import { Effect, Option } from "effect"
import { Argument, type Command, Flag } from "effect/cli"
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
import { modelFamilies } from "../pipeline/ModelFamily.ts"
import type { Variant } from "../pipeline/Pipeline.ts"
import { assets } from "./home.ts"
import { cacheVariable, here } from "./place.ts"

/** Refuses smaller numbers. */
export const atLeast = (least: number) =>
  Flag.filter<number>(
    given => given >= least,
    given => `at least ${least}, got ${given}`
  )

export const argument = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.withDescription(description))

/** A flag without a value. */
export const toggle = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

/** `metavar` stands for the value in the page of help. */
export const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.withMetavar(metavar))

/** A whole number. */
export const whole = (name: string, metavar: string, description: string) =>
  Flag.Int(name).pipe(Flag.withDescription(description), Flag.withMetavar(metavar))

/** One of some words. */
export const choice = <const A extends ReadonlyArray<string>>(name: string, words: A, description: string) =>
  Flag.Literals(name, words).pipe(Flag.withDescription(description))

export const optionalText = (name: string, metavar: string, description: string) =>
  text(name, metavar, description).pipe(Flag.optional)

export const optionalWhole = (name: string, metavar: string, description: string, least: number) =>
  whole(name, metavar, description).pipe(atLeast(least), Flag.optional)

export const optionalChoice = <const A extends ReadonlyArray<string>>(name: string, words: A, description: string) =>
  choice(name, words, description).pipe(Flag.optional)

export const repeated = <A>(flag: Flag.Flag<A>) => Flag.between(flag, 0, Number.MAX_SAFE_INTEGER)

export const cache = optionalText(
  "cache",
  "DIR",
  "Directory of the store and the ledger (default: $PIPELINE_CACHE, or ./cache)"
)

export const json = toggle("json", "Print JSON instead of text (one event per line where work is under way)")

/** What verbs take that look into a cache, or change it. */
export const ofCache = { cache, json } as const

const profile = optionalText(
  "profile",
  "NAME",
  "Profile of the pipeline (default: its first; see `pipeline list`)"
).pipe(Flag.withAlias("p"))

const set = text(
  "set",
  "KEY=VALUE",
  "Set a stage's parameter: STAGE.PARAMETER=VALUE, or STAGE/NAME.PARAMETER=VALUE; may be repeated"
).pipe(repeated)

/** What a pipeline may be asked besides its profile; the names are those of `Variant`. */
const variant = {
  quick: toggle("quick", "A first look, in little time (pipelines that have one)"),
  controls: toggle("controls", "With the rows that serve as controls"),
  ablations: toggle("ablations", "With the rows that have a single part changed"),
  seeds: optionalWhole(
    "seeds",
    "N",
    "Every training so many times, each with a seed of its own (default: as the profile says)",
    1
  ),
  sweep: text(
    "sweep",
    "KEY=A,B,…",
    "One run with a row for each value: STAGE.PARAMETER=A,B,… as for --set, of the training of rows; several make a grid"
  ).pipe(repeated),
  family: optionalChoice(
    "family",
    modelFamilies,
    "Kind of the model (pipelines that train several, as pretrain-teacher does)"
  ),
  config: optionalText("config", "FILE", "Configuration file of your own (pipelines that take one, as convert does)")
} as const

type VariantArgs = Command.Command.Config.Infer<typeof variant>

/** The flags that were given, as a pipeline takes them. */
export const variantOf = (args: VariantArgs): Variant => ({
  ...(args.quick ? { quick: true } : {}),
  ...(args.controls ? { controls: true } : {}),
  ...(args.ablations ? { ablations: true } : {}),
  ...(Option.isSome(args.seeds) ? { seeds: args.seeds.value } : {}),
  ...(args.sweep.length > 0 ? { sweep: args.sweep } : {}),
  ...(Option.isSome(args.family) ? { family: args.family.value } : {}),
  ...(Option.isSome(args.config) ? { config: args.config.value } : {})
})

/** What decides the plan of a pipeline. */
export interface PlanArgs extends VariantArgs {
  readonly profile: Option.Option<string>
  readonly set: ReadonlyArray<string>
  readonly only?: ReadonlyArray<string>
  readonly force?: ReadonlyArray<string>
  readonly refresh?: boolean
}

export const only = text("only", "STAGE", "Only this stage and what it needs; may be repeated").pipe(repeated)

export const force = text(
  "force",
  "STAGE",
  "Compute this stage anew although its result is known; what needs it follows if it comes out otherwise; may be repeated"
).pipe(repeated)

export const refresh = toggle("refresh", "Ask again what moving names (a branch of a repository) stand for")

export const allowCodeExecution = toggle(
  "allow-code-execution",
  "Run programs that a model wrote, in a sandbox (stages that test them, as in `evaluate`)"
)

export const engine = choice(
  "engine",
  engineNames,
  "What computes tensors: ort (the processor), webgpu (a GPU, by ONNX Runtime), torch (PyTorch, on a GPU where there is one), reference (slow; for checking) (default: ort)"
).pipe(Flag.withDefault(defaultEngine))

export const base = optionalText(
  "base",
  "REF",
  "The model that an adapter is for, where --model is a directory with an adapter alone (default: the one that its adapter_config.json names, if it is here)"
)

export const precision = choice(
  "precision",
  precisions,
  "How torch multiplies f32 matrices: f32, tf32, bf16 or f16 (with scaled losses); all else stays f32 (default: f32)"
).pipe(Flag.withDefault(defaultPrecision))

export const python = optionalText(
  "python",
  "PATH",
  `Interpreter with PyTorch (default: $${pythonVariable}, that of the active virtual environment, or python3)`
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
export const planning = { profile, set, ...variant, engine, precision, ...ofCache } as const

export const pipelineName = argument("pipeline", "Name of a pipeline (see `pipeline list`), or path of a pipeline file")

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

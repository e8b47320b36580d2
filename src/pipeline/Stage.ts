/** Stages: kinds of work with typed inputs, parameters and outputs. Calling one inside a pipeline adds it to the plan. */
import type { Effect, Schema } from "effect"
import type { AnyPort, Kind, Manifest, Port, Ref } from "./Artifact.ts"
import * as Declaration from "./Declaration.ts"
import type { Json } from "./Digest.ts"
import * as Origin from "./Origin.ts"
import { current } from "./PlanBuilder.ts"
import * as Scheduling from "./Scheduling.ts"
import type { StageContext } from "./StageContext.ts"
import type { StageError } from "./StageError.ts"

export type { Resources } from "./Scheduling.ts"

/** As many processors as there are: nothing else runs beside the action. */
export const allProcessors = Number.MAX_SAFE_INTEGER

/** What planning may ask of the world when a parameter only points to what determines the result (a file, a branch name). */
export interface IdentityContext {
  /** SHA-256 and size of a file outside the store, remembered by its stat. */
  readonly fileDigest: (path: string) => Effect.Effect<{ readonly sha256: string; readonly size: number }, StageError>
  /** The manifest of an artifact that ships with the program. */
  readonly embedded: (name: string) => Effect.Effect<Manifest, StageError>
  /** Computes a value once and keeps it in the ledger: a moving name (a branch) stays what it was until `--refresh`. */
  readonly remember: (name: string, compute: Effect.Effect<string, StageError>) => Effect.Effect<string, StageError>
}

/** A module, relative to the one that declares the stage. */
type MethodPath = `.${string}`

type RecordOf<T> = { readonly [name: string]: T }

export interface StageOptions<
  Inputs extends RecordOf<AnyPort>,
  P extends Schema.Codec<unknown, unknown>,
  Outputs extends RecordOf<Kind.Any>
> {
  /** For readers of the declaration. */
  readonly description?: string
  /** `{}` for a stage that takes no artifact. */
  readonly inputs: Inputs
  /** `Schema.Struct({})` for a stage without parameters. */
  readonly parameters: P
  readonly outputs: Outputs
  /**
   * For chunk sets: what an item's key contains besides the code and its own material.
   * Left out, an item depends on all parameters and on no input. Name the inputs that every item depends on (a tokenizer, a teacher).
   */
  readonly items?: {
    readonly parameters?: ReadonlyArray<keyof P["Type"] & string>
    readonly inputs?: ReadonlyArray<keyof Inputs & string>
  }
  /**
   * A stage whose parameter chooses a method: the code fingerprint covers the modules of the chosen one only. They are named relative to the
   * module that declares the stage: `{ fast: "./fast.ts" }` for `import("./fast.ts")`, or a list. Imports of another method's module are left
   * out where they are written in the declaring module, or in a module that `dispatch` names; all other imports count.
   */
  readonly methods?: {
    readonly by: keyof P["Type"] & string
    readonly modules: RecordOf<MethodPath | ReadonlyArray<MethodPath>>
    readonly dispatch?: ReadonlyArray<MethodPath>
  }
  /** Files (or directories) that `run` reads beside its inputs, relative to the module that declares the stage: their content is part of the key. */
  readonly files?: ReadonlyArray<string>
  /**
   * Replaces the parameters in the key by what they stand for. For example the content of a file instead of its path.
   * The stage receives the parameters as written, and what this returned as `identity` beside them in the ledger.
   */
  readonly identity?: (parameters: P["Type"], context: IdentityContext) => Effect.Effect<Json, StageError>
  readonly resources?: Scheduling.Resources | ((parameters: P["Type"]) => Scheduling.Resources)
  /** Further attempts after a failure of that class; a pause of 1 s that doubles lies between them. */
  readonly retries?: { readonly transient?: number; readonly crashed?: number; readonly timeout?: number }
  /** Seconds of one attempt. */
  readonly timeout?: number
  /** Without effect: every action has a process of its own, and light ones find it started. Accepted, as older files say it. */
  readonly process?: "own" | "shared"
  /** Whether results depend on the numeric class of the engine (engine, device kind, precision). */
  readonly engine?: boolean
  /** Whether `run` runs programs that a model wrote. A run with such a stage needs `--allow-code-execution`, and is refused without it before anything is computed. */
  readonly executesCode?: boolean
  readonly run: (context: StageContext<Inputs, P["Type"], Outputs>) => Effect.Effect<void, StageError>
}

/** A stage with its types erased: what planning and execution work on. */
export interface AnyStage {
  readonly name: string
  readonly inputs: RecordOf<AnyPort>
  readonly outputs: RecordOf<Kind.Any>
  readonly parameters: Schema.Codec<unknown, unknown>
  readonly items: { readonly parameters?: ReadonlyArray<string>; readonly inputs?: ReadonlyArray<string> } | undefined
  readonly methods:
    | {
        readonly by: string
        readonly modules: RecordOf<string | ReadonlyArray<string>>
        readonly dispatch?: ReadonlyArray<string>
      }
    | undefined
  readonly files: ReadonlyArray<string>
  readonly identity: ((parameters: unknown, context: IdentityContext) => Effect.Effect<Json, StageError>) | undefined
  readonly engine: boolean
  readonly run: (
    context: StageContext<RecordOf<AnyPort>, unknown, RecordOf<Kind.Any>>
  ) => Effect.Effect<void, StageError>
  /** Where `Stage.make` was called: the file that must export it. */
  readonly definedAt: Origin.Position | undefined
}

type InputArguments<Inputs extends RecordOf<AnyPort>> = {
  readonly [P in keyof Inputs as Inputs[P] extends Port<Kind.Any, "optional"> ? never : P]: Inputs[P] extends Port<
    infer K,
    infer Arity
  >
    ? Arity extends "many"
      ? ReadonlyArray<Ref<K>>
      : { readonly [name: string]: Ref<K> }
    : Inputs[P] extends Kind.Any
      ? Ref<Inputs[P]>
      : never
} & {
  readonly [P in keyof Inputs as Inputs[P] extends Port<Kind.Any, "optional"> ? P : never]?: Inputs[P] extends Port<
    infer K,
    "optional"
  >
    ? Ref<K> | undefined
    : never
}

/** One output: the reference itself. Several: a record of references. */
type Results<Outputs extends RecordOf<Kind.Any>> =
  IsSingle<keyof Outputs> extends true
    ? Ref<Outputs[keyof Outputs]>
    : { readonly [P in keyof Outputs]: Ref<Outputs[P]> }

type IsSingle<T, U = T> = [T] extends [never] ? false : T extends unknown ? ([U] extends [T] ? true : false) : never

/** Every stage takes a `name` beside its inputs and parameters: the label of this use of it, as in `train/with_align`. */
export interface Stage<
  Name extends string,
  Inputs extends RecordOf<AnyPort>,
  P extends Schema.Codec<unknown, unknown>,
  Outputs extends RecordOf<Kind.Any>
> extends AnyStage {
  readonly name: Name
  (args: InputArguments<Inputs> & P["Encoded"] & { readonly name?: string }): Results<Outputs>
  /**
   * The parameters that a call with this name and these parameters gets: decoded, defaults filled in, `--set` applied. A pipeline whose wiring depends on a
   * parameter asks here, as what it passes itself may be overridden.
   */
  readonly settings: (args: P["Encoded"] & { readonly name?: string }) => P["Type"]
  /** The same as they are written, right or wrong: for what must be known before they are complete. */
  readonly written: (args: object & { readonly name?: string }) => { readonly [name: string]: unknown }
}

/**
 * Declares a stage. It must be exported from the module that declares it: actions run in processes of their own,
 * which load that module.
 */
export const make = <
  const Name extends string,
  const Outputs extends RecordOf<Kind.Any>,
  const Inputs extends RecordOf<AnyPort>,
  P extends Schema.Codec<unknown, unknown>
>(
  name: Name,
  options: StageOptions<Inputs, P, Outputs>
): Stage<Name, Inputs, P, Outputs> => {
  const definedAt = Origin.callSite(make)
  Declaration.check(name, options, definedAt)
  const outputs = Object.keys(options.outputs)
  const stage: AnyStage = {
    name,
    inputs: options.inputs,
    outputs: options.outputs,
    parameters: options.parameters,
    items: options.items,
    methods: options.methods,
    files: options.files ?? [],
    identity: options.identity as AnyStage["identity"],
    engine: options.engine ?? false,
    run: options.run as unknown as AnyStage["run"],
    definedAt
  }
  const call = (args: Record<string, unknown>): unknown => {
    const references = current(name).add(self, args, call)
    return outputs.length === 1 ? references[outputs[0]!] : references
  }
  call.settings = (args: Record<string, unknown>): unknown => current(name).settings(self, args, call.settings)
  call.written = (args: Record<string, unknown>): unknown => current(name).written(self, args, call.written)
  Object.defineProperty(call, "name", { configurable: true })
  const self = Object.defineProperties(call, Object.getOwnPropertyDescriptors(stage)) as unknown as AnyStage
  Scheduling.declare(self, name, options)
  return self as unknown as Stage<Name, Inputs, P, Outputs>
}

export const isStage = (value: unknown): value is AnyStage =>
  typeof value === "function" && "outputs" in value && "run" in value && "definedAt" in value

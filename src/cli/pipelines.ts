/** Finds pipelines: ours by name, a user's own by the path of its file. */
import { existsSync } from "node:fs"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import { pipelines } from "../../pipelines/index.ts"
import { parseOverride } from "../data/overrides.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { evaluate, isPipeline, type Pipeline } from "../pipeline/Pipeline.ts"
import { only as restrict, type Plan } from "../pipeline/Plan.ts"
import { resolveOurselves } from "./ourselves.ts"

/** Text that can only be meant as a path. */
const looksLikePath = (name: string) => name.includes("/") || name.includes("\\") || /\.[cm]?[jt]s$/.test(name)

const attempt = <A>(run: () => A): Effect.Effect<A, ConfigError> =>
  Effect.try({ try: run, catch: cause => (cause instanceof ConfigError ? cause : asConfigError(cause)) })

const asConfigError = (cause: unknown): ConfigError => {
  if (!(cause instanceof Error)) return new ConfigError({ message: String(cause) })
  const place = /\((?:file:\/\/)?([^()]+:\d+:\d+)\)|at (?:file:\/\/)?(\/\S+:\d+:\d+)/.exec(cause.stack ?? "")
  const at = place?.[1] ?? place?.[2]
  return new ConfigError({ message: `${cause.name}: ${cause.message}`, ...(at === undefined ? {} : { at }) })
}

export const load = (name: string): Effect.Effect<Pipeline, ConfigError> =>
  Effect.gen(function* () {
    if (looksLikePath(name)) return yield* loadFile(resolve(name), name)
    const known = pipelines[name]
    if (known === undefined) {
      return yield* new ConfigError({
        message: `there is no pipeline ${name}`,
        advice: `pipelines: ${Object.keys(pipelines).join(", ")}; a file of your own is given as a path, for example ./${name}.ts`
      })
    }
    return (yield* Effect.promise(known)).default
  })

const loadFile = (path: string, name: string): Effect.Effect<Pipeline, ConfigError> =>
  Effect.gen(function* () {
    if (!existsSync(path)) return yield* new ConfigError({ at: name, message: "there is no such file" })
    resolveOurselves()
    const module = yield* Effect.tryPromise({
      try: () => import(pathToFileURL(path).href) as Promise<{ default?: unknown }>,
      catch: cause =>
        new ConfigError({
          at: name,
          message: `could not be loaded: ${cause instanceof Error ? cause.message : String(cause)}`
        })
    })
    if (!isPipeline(module.default)) {
      return yield* new ConfigError({
        at: name,
        message: "its default export is not a pipeline",
        advice: "write: export default Pipeline.make(…)"
      })
    }
    return module.default
  })

export interface PlanFlags {
  readonly profile: string | undefined
  readonly set: ReadonlyArray<string>
  readonly only: ReadonlyArray<string>
}

/** Evaluates a pipeline under the flags of the command line. */
export const planOf = (name: string, flags: PlanFlags): Effect.Effect<Plan, ConfigError> =>
  Effect.gen(function* () {
    const pipeline = yield* load(name)
    const overrides = yield* attempt(() => flags.set.map(parseOverride))
    const plan = yield* attempt(() => evaluate(pipeline, { profile: flags.profile, overrides }))
    if (flags.only.length === 0) return plan
    const { plan: restricted, unmatched } = restrict(plan, flags.only)
    if (unmatched.length > 0) {
      return yield* new ConfigError({
        at: `--only ${unmatched[0]}`,
        message: `pipeline ${pipeline.name} has no stage ${unmatched[0]}`,
        advice: `its stages: ${plan.nodes
          .slice(0, 20)
          .map(node => node.label)
          .join(", ")}${plan.nodes.length > 20 ? ", …" : ""}`
      })
    }
    return restricted
  })

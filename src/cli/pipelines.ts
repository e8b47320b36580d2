/** Finds pipelines: ours by name, a user's own by the path of its file. */
import { existsSync } from "node:fs"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import { pipelines } from "../../pipelines/index.ts"
import { parseOverride } from "../config/overrides.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { evaluate, isPipeline, type Pipeline, stagesAdvice, type Variant } from "../pipeline/Pipeline.ts"
import { meant, only as restrict, type Plan } from "../pipeline/Plan.ts"
import { noteLoads } from "../runner/InMemory.ts"
import * as awaited from "../runner/awaited.ts"
import { notAlone } from "./ending.ts"
import { dist, frames, root } from "./home.ts"
import { resolveOurselves } from "../runner/ourselves.ts"
import { here, keepPlace } from "./place.ts"
import { keepStdout } from "./terminal/terminal.ts"

/** Text that can only be meant as a path. */
const looksLikePath = (name: string) => name.includes("/") || name.includes("\\") || /\.[cm]?[jt]s$/.test(name)

const attempt = <A>(run: () => A): Effect.Effect<A, ConfigError> =>
  Effect.try({ try: run, catch: cause => asConfigError(cause) })

/** An error of a pipeline's own code, with the place where it was raised. */
const asConfigError = (cause: unknown, file?: string): ConfigError => {
  if (cause instanceof ConfigError) return cause
  const at = (cause instanceof Error ? placeOf(cause) : undefined) ?? file
  const message = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
  return new ConfigError({ message, ...(at === undefined ? {} : { at }) })
}

/** An error of loading a user's file. `npm init` makes packages whose files Node takes for CommonJS. */
const asModuleError = (cause: unknown, file: string): ConfigError =>
  cause instanceof SyntaxError &&
  /^Cannot use import statement outside a module|^Unexpected token 'export'/.test(cause.message)
    ? new ConfigError({
        at: file,
        message: "Node takes it for CommonJS, which has no `import` and `export`",
        advice: `write "type": "module" into the package.json of its folder, or name it ${file.replace(/\.[cm]?([jt]s)$/, ".m$1")}`
      })
    : asConfigError(cause, file)

/** On top of the stack for wrong syntax; else the first frame that is neither Node's nor ours. */
const placeOf = (error: Error): string | undefined => {
  const syntax = /^(?:file:\/\/)?(\/\S+:\d+)$/m.exec(error.stack ?? "")?.[1]
  return syntax ?? frames(error).find(frame => !frame.startsWith(dist ?? root))
}

export const load = (name: string): Effect.Effect<Pipeline, ConfigError> =>
  Effect.gen(function* () {
    if (looksLikePath(name)) return yield* loadFile(resolve(here(), name), name)
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
    noteLoads()
    keepPlace()
    keepStdout()
    notAlone()
    const module = yield* Effect.tryPromise({
      try: () => import(pathToFileURL(path).href) as Promise<{ default?: unknown }>,
      catch: cause => asModuleError(cause, name)
    }).pipe(awaited.as(`the module ${name}`))
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
  readonly force?: ReadonlyArray<string>
  readonly variant?: Variant
}

/** Evaluates a pipeline under the flags of the command line. */
export const planOf = (name: string, flags: PlanFlags): Effect.Effect<Plan, ConfigError> =>
  Effect.gen(function* () {
    const pipeline = yield* load(name)
    const overrides = yield* attempt(() => flags.set.map(parseOverride))
    const variant = flags.variant ?? {}
    const plan = yield* attempt(() => evaluate(pipeline, { profile: flags.profile, overrides, variant }))
    const matched = (flag: string, [missing]: ReadonlyArray<string>): Effect.Effect<void, ConfigError> =>
      missing === undefined
        ? Effect.void
        : Effect.fail(
            new ConfigError({
              at: `${flag} ${missing}`,
              message: `pipeline ${pipeline.name} has no stage ${missing}`,
              advice: stagesAdvice(pipeline, variant, plan.nodes, missing)
            })
          )
    const { plan: wanted, unmatched } = flags.only.length === 0 ? { plan, unmatched: [] } : restrict(plan, flags.only)
    yield* matched("--only", unmatched)
    yield* matched("--force", meant(wanted, flags.force ?? []).unmatched)
    return wanted
  })

/** For verbs that only look: opens the cache without creating anything, and says so kindly where there is none. */
import { existsSync, statSync } from "node:fs"
import { Effect, type Option } from "effect"
import { LedgerError } from "../ledger/LedgerError.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import * as Cache from "../runner/Cache.ts"
import * as flags from "./flags.ts"
import { stdout } from "./terminal/terminal.ts"

/** Runs synchronous code that throws ConfigError or LedgerError. */
export const attempt = <A>(run: () => A): Effect.Effect<A, ConfigError | LedgerError> =>
  Effect.try({
    try: run,
    catch: cause => {
      if (cause instanceof ConfigError || cause instanceof LedgerError) return cause
      throw cause
    }
  })

/** The cache that the flag names; undefined where nothing was ever run. */
export const openCache = (
  flag: Option.Option<string>
): Effect.Effect<Cache.Cache | undefined, ConfigError | LedgerError> =>
  attempt(() => Cache.openReadonly(flags.locationOf(flag)))

/** As `openCache`, for verbs that have nothing to say without a ledger. */
export const needCache = (flag: Option.Option<string>): Effect.Effect<Cache.Cache, ConfigError | LedgerError> =>
  Effect.flatMap(openCache(flag), cache =>
    cache === undefined
      ? Effect.fail(new ConfigError({ message: nothingYet(flag), advice: nothingYetAdvice }))
      : Effect.succeed(cache)
  )

export const nothingYet = (flag: Option.Option<string>): string =>
  `nothing was ever run with the cache ${flags.locationOf(flag).root}`

export const nothingYetAdvice = "`pipeline run NAME` makes it; another cache is named with --cache or PIPELINE_CACHE"

/** The name of a user's own pipeline is known to its file only: `./mine.ts/train` becomes `mine/train`. */
export const nameOf = (text: string): Effect.Effect<string, ConfigError> =>
  Effect.gen(function* () {
    const { path, rest } = splitPath(text)
    if (path === undefined) return text
    // Loaded for files only: pipelines bring with them what they are made of.
    const { load } = yield* Effect.promise(() => import("./pipelines.ts"))
    const pipeline = yield* load(path)
    return `${pipeline.name}${rest}`
  })

/** Splits `FILE/STAGE` after the file. */
export const splitPath = (text: string): { readonly path: string | undefined; readonly rest: string } => {
  const match = /^(.+?\.[cm]?[jt]s)(\/.*)?$/.exec(text)
  const path = match?.[1]
  return path !== undefined && existsSync(path) && statSync(path).isFile()
    ? { path, rest: match?.[2] ?? "" }
    : { path: undefined, rest: text }
}

export const printJson = (value: unknown): void => void stdout().write(`${JSON.stringify(value, null, 2)}\n`)

/** Prints lines to stdout. */
export const print = (...lines: ReadonlyArray<string>): void => void stdout().write(`${lines.join("\n")}\n`)

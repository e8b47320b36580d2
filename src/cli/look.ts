/** For verbs that only look: opens the cache without creating anything, and says so kindly where there is none. */
import { existsSync, statSync } from "node:fs"
import { Effect, type Option } from "effect"
import type { Database } from "../ledger/Database.ts"
import { LedgerError } from "../ledger/LedgerError.ts"
import { fromEarlier } from "../ledger/Names.ts"
import { type Asked, artifactsOf, type NamedArtifact, onlyOne, type Reference, resolve } from "../ledger/References.ts"
import * as Suspects from "../ledger/Suspects.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { short } from "../pipeline/Digest.ts"
import * as Cache from "../runner/Cache.ts"
import * as flags from "./flags.ts"
import { print, printJson } from "./terminal/terminal.ts"
import { asTyped } from "./typed.ts"

/** Runs synchronous code that throws ConfigError or LedgerError. */
export const attempt = <A>(run: () => A): Effect.Effect<A, ConfigError | LedgerError> =>
  Effect.try({
    try: run,
    catch: cause => {
      if (cause instanceof ConfigError || cause instanceof LedgerError) return cause
      throw cause
    }
  })

/** What a text refers to. Says on stderr where a name was found in an earlier run than the last of its pipeline. */
export const lookFor = (
  database: Database,
  text: string,
  asked?: Asked
): Effect.Effect<Reference, ConfigError | LedgerError> =>
  attempt(() => {
    const reference = resolve(database, text, asked)
    const earlier =
      reference._tag === "action" && reference.use !== undefined ? fromEarlier(database, reference.use) : undefined
    if (earlier !== undefined) process.stderr.write(`note: ${earlier}\n`)
    return reference
  })

/** The artifacts that a text stands for: of a name, those of the newest run that has any. */
export const artifactsFor = (
  database: Database,
  text: string
): Effect.Effect<ReadonlyArray<NamedArtifact>, ConfigError | LedgerError> =>
  Effect.flatMap(lookFor(database, text, { returned: true }), reference =>
    attempt(() => artifactsOf(database, reference, text))
  )

/** The one artifact that a text stands for; of several, that of a kind. */
export const artifactFor = (
  database: Database,
  text: string,
  kind?: string
): Effect.Effect<NamedArtifact, ConfigError | LedgerError> =>
  Effect.flatMap(artifactsFor(database, text), artifacts => attempt(() => onlyOne(artifacts, text, kind)))

/** The cache that the flag names; undefined where nothing was ever run. */
export const openCache = (
  flag: Option.Option<string>
): Effect.Effect<Cache.Cache | undefined, ConfigError | LedgerError> =>
  attempt(() => Cache.openReadonly(flags.locationOf(flag)))

/** As `openCache`, for verbs that have nothing to say without a ledger. */
export const needCache = (flag: Option.Option<string>): Effect.Effect<Cache.Cache, ConfigError | LedgerError> =>
  needed(openCache(flag), flags.locationOf(flag))

/** Fails where nothing was ever run. */
export const needed = <A, E>(opened: Effect.Effect<A | undefined, E>, { root }: Cache.CacheLocation) =>
  Effect.flatMap(opened, (cache): Effect.Effect<A, ConfigError> =>
    cache === undefined
      ? Effect.fail(new ConfigError({ message: nothingYet(root), advice: nothingYetAdvice }))
      : Effect.succeed(cache)
  )

const nothingYet = (root: string): string => `nothing was ever run with the cache ${root}`

const nothingYetAdvice = "`pipeline run NAME` makes it; another cache is named with --cache or PIPELINE_CACHE"

/** Answers where nothing was ever run; with `value` in JSON. */
export const sayNothingYet = (
  { cache, json }: { readonly cache: Option.Option<string>; readonly json: boolean },
  value: unknown = { exists: false }
): void => (json ? printJson(value) : print(nothingYet(flags.locationOf(cache).root), `  ${asTyped(nothingYetAdvice)}`))

/** Says on stderr if what is about to be handed out was computed from damaged bytes. It may be looked at; it is not to be relied on. */
export const warnIfSuspect = (database: Database, { digest, id }: NamedArtifact): void => {
  const object = Suspects.ofArtifact(database, id)
  if (object !== undefined)
    warn(`${short(digest)} was computed from damaged bytes (object ${short(object)}); the next run makes it again`)
}

export const warn = (text: string): void => void process.stderr.write(`warning: ${text}\n`)

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

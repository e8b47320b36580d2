/** The cache as the verbs of maintenance need it: opened for looking, or for changing what is there; never created. */
import { Effect } from "effect"
import type { Database } from "../ledger/Database.ts"
import { fromCause, LedgerError } from "../ledger/LedgerError.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import * as Cache from "../runner/Cache.ts"
import type { Maintenance } from "../runner/Leftovers.ts"
import { isAlive, newOwner } from "../runner/Machine.ts"
import { readOnly } from "../store/Disk.ts"
import { nodeDisk } from "../store/NodeDisk.ts"

const maintenanceOf = ({ database, paths, store }: Cache.Cache, writable: boolean): Maintenance => ({
  database,
  store,
  paths,
  disk: writable ? nodeDisk : readOnly(nodeDisk),
  owner: newOwner(),
  alive: isAlive
})

/** Undefined where nothing was ever run. */
export const openMaintenance = (
  location: Cache.CacheLocation,
  access: "read" | "write"
): Effect.Effect<Maintenance | undefined, LedgerError> =>
  Effect.try({
    try: () => {
      const looked = Cache.openReadonly(location)
      if (looked === undefined || access === "read") return looked && maintenanceOf(looked, false)
      looked.database.close()
      return maintenanceOf(Cache.open(location), true)
    },
    catch: cause =>
      cause instanceof LedgerError ? cause : fromCause(cause, Cache.pathsOf(location.root).ledger, "open the ledger")
  })

/** What to say where there is no cache. */
export const nothingYet = (location: Cache.CacheLocation): string =>
  `nothing was run yet with the cache ${Cache.pathsOf(location.root).root}\n`

/** Asks the ledger; its errors, and those of wrong references, keep their kind. */
export const attempt = <A>(database: Database, ask: () => A): Effect.Effect<A, LedgerError | ConfigError> =>
  Effect.try({
    try: ask,
    catch: cause =>
      cause instanceof ConfigError || cause instanceof LedgerError
        ? cause
        : fromCause(cause, database.file, "use the ledger")
  })

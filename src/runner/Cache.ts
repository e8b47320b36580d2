/** The cache: the store and the ledger below one directory, and the read-only layers beneath. */
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { Effect } from "effect"
import * as Actions from "../ledger/Actions.ts"
import * as Checked from "../ledger/Checked.ts"
import { Database } from "../ledger/Database.ts"
import * as Suspects from "../ledger/Suspects.ts"
import { type Disk, readOnly } from "../store/Disk.ts"
import * as Faults from "../store/Faults.ts"
import type { Damage } from "../store/StoreContext.ts"
import * as Layer from "../store/Layer.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import * as Store from "../store/Store.ts"
import type { CachePaths } from "./Ports.ts"

export interface CacheLocation {
  /** From --cache, PIPELINE_CACHE, or `cache` in the working directory. */
  readonly root: string
  /** Directories of the read-only layers. */
  readonly layers: ReadonlyArray<string>
}

export const pathsOf = (root: string): CachePaths => ({
  root: resolve(root),
  ledger: join(resolve(root), "ledger.db"),
  actions: join(resolve(root), "actions"),
  checkpoints: join(resolve(root), "checkpoints"),
  logs: join(resolve(root), "logs")
})

export interface Cache {
  readonly paths: CachePaths
  readonly database: Database
  readonly store: Store.Store
}

/** A damaged object: what it is part of is lost, and what was computed from it is suspect. */
export const noteDamage = (database: Database, { covered, digest, size }: Damage, now: number): void =>
  database.immediate(() => {
    Suspects.distrust(database, { digest, size }, now)
    if (!covered) Actions.markObjects(database, [digest], "lost")
  })

/** Verbs that only look have the ledger open for reading: to say that an object is damaged it is opened once more. */
const noteBy = (paths: CachePaths, open: Database | undefined) => (damage: Damage) =>
  Effect.try({
    try: () => {
      if (open !== undefined) return noteDamage(open, damage, Date.now())
      if (!existsSync(paths.ledger)) return
      const database = Database.open(paths.ledger)
      try {
        noteDamage(database, damage, Date.now())
      } finally {
        database.close()
      }
    },
    catch: cause => cause
  })

/** A store below the cache root that tells the ledger what it finds damaged. */
export const storeAt = (
  location: CacheLocation,
  disk: Disk,
  database?: Database,
  checked: Store.StoreOptions["checked"] = []
): Store.Store =>
  Store.make({
    checked,
    aside: noteBy(pathsOf(location.root), database),
    root: resolve(location.root),
    disk,
    layers: location.layers.map(directory => Layer.make({ directory, disk })),
    faults: Faults.fromEnvironment(process.env)
  })

/** Opens for writing; creates what is missing. Throws LedgerError. */
export const open = (location: CacheLocation): Cache => {
  const paths = pathsOf(location.root)
  const database = Database.open(paths.ledger)
  return { paths, database, store: storeAt(location, nodeDisk, database) }
}

/** Opens for looking only: creates nothing, takes no lock. Undefined where nothing was ever run. Throws LedgerError. */
export const openReadonly = (location: CacheLocation): Cache | undefined => {
  const paths = pathsOf(location.root)
  if (!existsSync(paths.ledger)) return undefined
  const database = Database.openReadonly(paths.ledger)
  return database === undefined
    ? undefined
    : { paths, database, store: storeAt(location, readOnly(nodeDisk), undefined, Checked.all(database)) }
}

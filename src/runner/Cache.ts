/** The cache: the store and the ledger below one directory, and the read-only layers beneath. */
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { Database } from "../ledger/Database.ts"
import { readOnly } from "../store/Disk.ts"
import * as Faults from "../store/Faults.ts"
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

const storeAt = (location: CacheLocation, disk: typeof nodeDisk): Store.Store =>
  Store.make({
    root: resolve(location.root),
    disk,
    layers: location.layers.map(directory => Layer.make({ directory, disk })),
    faults: Faults.fromEnvironment(process.env)
  })

/** Opens for writing; creates what is missing. Throws LedgerError. */
export const open = (location: CacheLocation): Cache => {
  const paths = pathsOf(location.root)
  return { paths, database: Database.open(paths.ledger), store: storeAt(location, nodeDisk) }
}

/** Opens for looking only: creates nothing, takes no lock. Undefined where nothing was ever run. Throws LedgerError. */
export const openReadonly = (location: CacheLocation): Cache | undefined => {
  const paths = pathsOf(location.root)
  if (!existsSync(paths.ledger)) return undefined
  const database = Database.openReadonly(paths.ledger)
  return database === undefined ? undefined : { paths, database, store: storeAt(location, readOnly(nodeDisk)) }
}

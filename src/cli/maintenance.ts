/** The cache as the verbs of maintenance need it: opened for looking, or for changing what is there; never created. */
import * as Cache from "../runner/Cache.ts"
import type { Maintenance } from "../runner/Leftovers.ts"
import { isAlive, newOwner } from "../runner/Machine.ts"
import { readOnly } from "../store/Disk.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import { attempt, needed } from "./look.ts"

const maintenanceOf = ({ database, paths, store }: Cache.Cache, writable: boolean): Maintenance => ({
  database,
  store,
  paths,
  disk: writable ? nodeDisk : readOnly(nodeDisk),
  owner: newOwner(),
  alive: isAlive
})

/** Undefined where nothing was ever run. */
export const openMaintenance = (location: Cache.CacheLocation, access: "read" | "write") =>
  attempt(() => {
    const looked = Cache.openReadonly(location)
    if (looked === undefined || access === "read") return looked && maintenanceOf(looked, false)
    looked.database.close()
    return maintenanceOf(Cache.open(location), true)
  })

/** As `openMaintenance`; fails where nothing was ever run. */
export const needMaintenance = (location: Cache.CacheLocation, access: "read" | "write") =>
  needed(openMaintenance(location, access), location)

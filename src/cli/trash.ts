/** Emptying the trash, shared by `gc --empty-trash` and `cache trash --empty`. */
import { Effect } from "effect"
import { bytes, plural } from "../pipeline/units.ts"
import type { CacheLocation } from "../runner/Cache.ts"
import { pathsOf } from "../runner/Cache.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import * as Store from "../store/Store.ts"
import { print, printJson } from "./terminal/terminal.ts"

export interface EmptyTrash {
  readonly location: CacheLocation
  /** Without it, only what would be deleted is told. */
  readonly apply: boolean
  readonly json: boolean
  readonly olderThanMs: number
}

/** Works without the ledger, which a full disk may keep from being opened. */
export const emptyTrash = Effect.fn("emptyTrash")(function* ({ apply, json, location, olderThanMs }: EmptyTrash) {
  const { root } = pathsOf(location.root)
  const store = Store.make({ root, disk: nodeDisk })
  const { bytes: freed, objects } = yield* store.emptyTrash({ olderThanMs, dryRun: !apply })
  if (json) return printJson({ applied: apply, objects, bytes: freed })
  if (objects === 0) return print("the trash holds nothing to delete")
  const did = apply ? "deleted" : "would delete"
  print(`${did} ${plural(objects, "object")}, ${bytes(freed)}${apply ? "" : "; add --apply to do it"}`)
})

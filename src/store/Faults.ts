/** Named points at which a test may kill the process, one at every step of writing to the store. */
import { Effect } from "effect"

/** Called at each point as the code passes it. Outside tests it does nothing. */
export type Faults = (point: string) => Effect.Effect<void>

/**
 * The store's points, in the order of a write. Between any two of them the disk is changed in at most one way, except that
 * the files of a batch are synced side by side.
 */
export const faultPoints = [
  /** A directory of the layout was created, its parent not yet synced. */
  "directory.created",
  "put.before-write",
  /** Between two pieces of an object of more than a megabyte, or of an iterable. */
  "put.mid-write",
  "put.after-write",
  "put.after-sync",
  "put.after-rename",
  "put.after-directory-sync",
  "publish.before-check",
  "publish.after-check",
  /** One staged file is synced; visited once per file. */
  "publish.file-synced",
  "publish.before-rename",
  "publish.after-rename",
  /** One shard directory is synced; visited once per shard. */
  "publish.directory-synced",
  /** Everything is published; staged files that were not needed are about to go. */
  "publish.published",
  "publish.done",
  "quarantine.before-rename",
  "quarantine.after-rename",
  "quarantine.after-note",
  "materialise.after-copy",
  "materialise.after-sync",
  "materialise.after-rename",
  "trash.before-rename",
  "trash.after-rename",
  "trash.after-directory-sync",
  "restore.before-rename",
  "restore.after-rename"
] as const

export type FaultPoint = (typeof faultPoints)[number]

export const none: Faults = () => Effect.void

/** The variable that `fromEnvironment` reads. */
export const variable = "PIPELINE_FAULT"

/**
 * Reads `PIPELINE_FAULT=point[:nth]`: the process kills itself (SIGKILL, as `kill -9` or the kernel's OOM killer would) when it
 * passes the point for the nth time, counted from 1. Throws an Error when the value has another form.
 */
export const fromEnvironment = (environment: Readonly<Record<string, string | undefined>>): Faults => {
  const text = environment[variable]
  if (text === undefined || text === "") return none
  const match = /^([a-z][a-z0-9.-]*)(?::([1-9][0-9]*))?$/.exec(text)
  if (match === null) throw new Error(`${variable} must be POINT or POINT:NTH, got ${JSON.stringify(text)}`)
  const [, point, nth = "1"] = match
  let left = Number(nth)
  return visited => (visited !== point || --left > 0 ? Effect.void : kill)
}

/** The signal cannot be caught; never returns. */
const kill = Effect.flatMap(
  Effect.sync(() => process.kill(process.pid, "SIGKILL")),
  () => Effect.never
)

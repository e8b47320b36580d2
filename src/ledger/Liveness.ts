/** Who is at work: leases and runs whose process lives, or may live. Unsure cases count as alive, as what they use must stay. */
import type { Digest } from "../pipeline/Digest.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"
import type { RunId } from "./Runs.ts"

/** The machine that asks, and the time. */
export interface Here {
  readonly host: string
  /** Changes with every start of the machine. */
  readonly boot: string
  /** Whether a process of this machine lives. */
  readonly alive: (pid: number) => boolean
  readonly now: number
}

export interface LiveLease {
  readonly key: Digest
  readonly token: number
  readonly host: string
  readonly pid: number
}

export interface LiveRun {
  readonly id: RunId
  readonly pipeline: string
  readonly profile: string
  readonly startedMs: number
}

/** Another host's lease is given up this many milliseconds after it expired: its clock may differ from ours. */
const leaseGraceMs = 3_600_000
/** Another host's run is given up after this many milliseconds without a sign of life. */
const runGraceMs = 86_400_000

/** Undefined where only the other host could tell. */
const livesHere = (row: { readonly host: string; readonly boot: string; readonly pid: number }, here: Here) =>
  row.host === here.host ? row.boot === here.boot && here.alive(row.pid) : undefined

export const liveLeases = (database: Database, here: Here): ReadonlyArray<LiveLease> =>
  database
    .all<LiveLease & { readonly boot: string; readonly expiresMs: number }>(
      `SELECT ${hex("key")} AS key, token, host, boot, pid, expires_ms AS expiresMs FROM lease`
    )
    .filter(row => livesHere(row, here) ?? row.expiresMs + leaseGraceMs > here.now)

export const liveRuns = (database: Database, here: Here): ReadonlyArray<LiveRun> =>
  database
    .all<LiveRun & { readonly host: string; readonly boot: string; readonly pid: number; readonly seenMs: number }>(
      `SELECT id, pipeline, profile, host, boot, pid, started_ms AS startedMs, max(started_ms,
         coalesce((SELECT max(at_ms) FROM event WHERE event.run = run.id), 0),
         coalesce((SELECT max(started_ms) FROM execution WHERE execution.run = run.id), 0)) AS seenMs
       FROM run WHERE status = 'running'`
    )
    .filter(row => livesHere(row, here) ?? row.seenMs + runGraceMs > here.now)

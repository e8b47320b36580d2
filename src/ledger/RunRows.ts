/** Runs as they are shown: their rows, and what became of those whose process is gone. */
import type { Database } from "./Database.ts"
import type { Owner } from "./Leases.ts"
import type { RunCounts, RunId, RunStatus } from "./Runs.ts"

export interface RunRow extends RunCounts {
  readonly id: RunId
  readonly pipeline: string
  readonly profile: string
  readonly plan: number | null
  readonly status: RunStatus
  readonly startedMs: number
  readonly endedMs: number | null
  /** As typed. */
  readonly command: string
  readonly program: string
  readonly host: string
  readonly boot: string
  readonly pid: number
  /** What people call it, and say of it. */
  readonly tag: string | null
  readonly note: string | null
}

/** The columns of a `RunRow`, for a SELECT from `run`. */
export const rowColumns =
  "run.id, run.pipeline, run.profile, run.plan, run.status, run.started_ms AS startedMs, run.ended_ms AS endedMs, run.command, run.program, run.host, run.boot, run.pid, run.executed, run.reused, run.failed, run.skipped, run.saved_ms AS savedMs, run.tag, run.note"

export const runRow = (database: Database, id: RunId): RunRow | undefined =>
  database.get<RunRow>(`SELECT ${rowColumns} FROM run WHERE id = ?`, id)

/**
 * The status of a run. One that says it is running although its process is gone has crashed; the next run writes that down,
 * who only looks must not.
 */
export const statusOf = (
  run: Pick<RunRow, "status" | "host" | "boot" | "pid">,
  here: Pick<Owner, "host" | "boot">,
  alive: (pid: number) => boolean
): RunStatus =>
  run.status === "running" && run.host === here.host && (run.boot !== here.boot || !alive(run.pid))
    ? "crashed"
    : run.status

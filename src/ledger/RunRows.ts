/** Runs as they are shown: their rows, and what became of those whose process is gone. */
import type { Database } from "./Database.ts"
import type { Owner } from "./Leases.ts"
import type { RunCounts, RunId, RunStatus } from "./Runs.ts"

/** The counts of a run without a plan, which is under way or was killed, are those of its executions so far; what it reused or skipped is written down at its end. */
export interface RunRow extends RunCounts {
  readonly id: RunId
  readonly pipeline: string
  readonly profile: string
  /** Null until the run has ended. */
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

/** A count of a run: what was written down at its end, and until then how many of its labels have a last execution with this status. */
export const counted = (column: "executed" | "failed", status: "done" | "failed"): string =>
  `CASE WHEN run.plan IS NOT NULL THEN run.${column} ELSE (
    SELECT count(*) FROM execution WHERE execution.run = run.id AND execution.status = '${status}'
      AND execution.id IN (SELECT max(id) FROM execution WHERE execution.run = run.id GROUP BY label)
  ) END AS ${column}`

/** The columns of a `RunRow`, for a SELECT from `run`. */
export const rowColumns = `run.id, run.pipeline, run.profile, run.plan, run.status, run.started_ms AS startedMs, run.ended_ms AS endedMs, run.command, run.program, run.host, run.boot, run.pid, ${counted("executed", "done")}, run.reused, ${counted("failed", "failed")}, run.skipped, run.saved_ms AS savedMs, run.tag, run.note`

/** Whether a run has ended, so that all of its counts are known. */
export const hasEnded = ({ plan }: Pick<RunRow, "plan">): boolean => plan !== null

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

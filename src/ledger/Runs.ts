/** Runs and executions: what was asked for, what was computed for it, and how each attempt ended. */
import type { Digest } from "../pipeline/Digest.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"
import { type ActionId, artifactId } from "./Actions.ts"
import type { Database } from "./Database.ts"
import * as Held from "./Held.ts"
import type { Owner } from "./Leases.ts"
import { ensurePlan, type ResolvedNode } from "./Plans.ts"

export type RunId = number
export type ExecutionId = number
export type RunStatus = "running" | "done" | "failed" | "interrupted" | "crashed"

export interface RunStart {
  readonly pipeline: string
  readonly profile: string
  /** The command line as typed. */
  readonly command: string
  /** Version of this program. */
  readonly program: string
  readonly owner: Owner
  readonly now: number
}

export const begin = (database: Database, start: RunStart): RunId =>
  database.run(
    "INSERT INTO run (pipeline, profile, status, started_ms, command, program, host, boot, pid) VALUES (?, ?, 'running', ?, ?, ?, ?, ?, ?)",
    start.pipeline,
    start.profile,
    start.now,
    start.command,
    start.program,
    start.owner.host,
    start.owner.boot,
    start.owner.pid
  ).id

export interface RunEnd {
  readonly status: Exclude<RunStatus, "running">
  readonly now: number
  readonly nodes: ReadonlyArray<ResolvedNode>
  /** The ledger's generation when the nodes were looked up: what changed since is not in them. */
  readonly generation: number
  readonly pipeline: string
  readonly profile: string
  readonly targets: ReadonlyArray<{ readonly name: string; readonly digest: Digest }>
  readonly executed: number
  readonly reused: number
  readonly failed: number
  readonly skipped: number
  readonly savedMs: number
}

export const finish = (database: Database, run: RunId, end: RunEnd): void =>
  database.immediate(() => {
    Held.release(database, run)
    const plan = ensurePlan(database, end.pipeline, end.profile, end.nodes, end.generation)
    database.run(
      "UPDATE run SET plan = ?, status = ?, ended_ms = ?, executed = ?, reused = ?, failed = ?, skipped = ?, saved_ms = ? WHERE id = ?",
      plan,
      end.status,
      end.now,
      end.executed,
      end.reused,
      end.failed,
      end.skipped,
      end.savedMs,
      run
    )
    for (const { digest, name } of end.targets) {
      const artifact = artifactId(database, digest)
      if (artifact !== undefined)
        database.run("INSERT OR REPLACE INTO target (run, name, artifact) VALUES (?, ?, ?)", run, name, artifact)
    }
  })

/** Runs of this host that say they are running but whose process is gone are marked as crashed, their executions as lost. */
export const markCrashed = (database: Database, owner: Owner, alive: (pid: number) => boolean): void => {
  const dead = database
    .all<{ id: number; boot: string; pid: number }>(
      "SELECT id, boot, pid FROM run WHERE status = 'running' AND host = ?",
      owner.host
    )
    .filter(run => run.boot !== owner.boot || !alive(run.pid))
  if (dead.length === 0) return
  database.immediate(() => {
    for (const { id } of dead) {
      database.run("UPDATE run SET status = 'crashed' WHERE id = ?", id)
      Held.release(database, id)
      database.run("UPDATE execution SET status = 'lost' WHERE run = ? AND status = 'running'", id)
    }
  })
}

export interface ExecutionStart {
  readonly action: ActionId
  readonly run: RunId
  readonly label: string
  readonly attempt: number
  readonly now: number
  /** Path of the log below the cache. */
  readonly log: string
}

export const beginExecution = (database: Database, start: ExecutionStart): ExecutionId =>
  database.run(
    "INSERT INTO execution (action, run, label, attempt, status, started_ms, log) VALUES (?, ?, ?, ?, 'running', ?, ?)",
    start.action,
    start.run,
    start.label,
    start.attempt,
    start.now,
    start.log
  ).id

export interface ExecutionEnd {
  readonly status: "done" | "failed" | "interrupted"
  readonly class?: ErrorClass | undefined
  readonly message?: string | undefined
  readonly now: number
  readonly cpuMs?: number | undefined
  readonly peakKib?: number | undefined
}

export const finishExecution = (database: Database, execution: ExecutionId, end: ExecutionEnd): void =>
  void database.run(
    "UPDATE execution SET status = ?, class = ?, message = ?, ended_ms = ?, cpu_ms = ?, peak_kib = ? WHERE id = ?",
    end.status,
    end.class ?? null,
    end.message ?? null,
    end.now,
    end.cpuMs ?? null,
    end.peakKib ?? null,
    execution
  )

export interface EventRow {
  readonly atMs: number
  readonly type: string
  readonly label?: string | undefined
  /** JSON. */
  readonly data: string
}

export const recordEvents = (database: Database, run: RunId, events: ReadonlyArray<EventRow>): void =>
  database.immediate(() => {
    for (const event of events) {
      database.run(
        "INSERT INTO event (run, at_ms, type, label, data) VALUES (?, ?, ?, ?, ?)",
        run,
        event.atMs,
        event.type,
        event.label ?? null,
        event.data
      )
    }
  })

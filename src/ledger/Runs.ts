/** Runs and executions: what was asked for, what was computed for it, and how each attempt ended. */
import type { Digest } from "../pipeline/Digest.ts"
import type { ErrorClass } from "../pipeline/StageError.ts"
import { type ActionId, artifactId } from "./Actions.ts"
import type { Database } from "./Database.ts"
import * as Held from "./Held.ts"
import { planCost } from "./History.ts"
import type { Owner } from "./Leases.ts"
import { ensurePlan, type ResolvedNode } from "./Plans.ts"

export type RunId = number
export type ExecutionId = number
export type RunStatus = "running" | "done" | "failed" | "interrupted" | "crashed"

/** How many nodes came to what, and what reusing saved. */
export interface RunCounts {
  readonly executed: number
  readonly reused: number
  readonly failed: number
  readonly skipped: number
  readonly savedMs: number
}

export interface RunStart {
  readonly pipeline: string
  readonly profile: string
  /** The command line as typed. */
  readonly command: string
  /** Version of this program. */
  readonly program: string
  /** What people call it, and say of it. */
  readonly tag?: string | undefined
  readonly note?: string | undefined
  readonly owner: Owner
  readonly now: number
}

export const begin = (database: Database, { now, owner: { boot, host, pid }, ...start }: RunStart): RunId =>
  database.insert("run", { ...start, status: "running", started_ms: now, host, boot, pid })

export interface RunEnd extends Omit<RunCounts, "savedMs"> {
  readonly status: Exclude<RunStatus, "running">
  readonly now: number
  readonly nodes: ReadonlyArray<ResolvedNode>
  /** The ledger's generation when the nodes were looked up: what changed since is not in them. */
  readonly generation: number
  readonly pipeline: string
  readonly profile: string
  readonly targets: ReadonlyArray<{ readonly name: string; readonly digest: Digest }>
  /** What computing the nodes that ran took, in milliseconds. */
  readonly executedMs: number
}

/** Returns the milliseconds that reusing results has saved. */
export const finish = (database: Database, run: RunId, end: RunEnd): number =>
  database.immediate(() => {
    Held.release(database, run)
    const plan = ensurePlan(database, end.pipeline, end.profile, end.nodes, end.generation)
    const { executed, failed, now, reused, skipped, status } = end
    const saved = reused === 0 ? 0 : Math.max(0, planCost(database, plan) - end.executedMs)
    const counts = { executed, reused, failed, skipped, saved_ms: Math.round(saved) }
    database.update("run", run, { plan, status, ended_ms: now, ...counts })
    for (const { digest, name } of end.targets) {
      const artifact = artifactId(database, digest)
      if (artifact !== undefined) database.insert("target", { run, name, artifact }, "OR REPLACE")
    }
    return saved
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
      database.update("run", id, { status: "crashed" })
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

export const beginExecution = (database: Database, { now, ...start }: ExecutionStart): ExecutionId =>
  database.insert("execution", { ...start, status: "running", started_ms: now })

export interface ExecutionEnd {
  readonly status: "done" | "failed" | "interrupted"
  readonly class?: ErrorClass | undefined
  readonly message?: string | undefined
  readonly now: number
  readonly cpuMs?: number | undefined
  readonly peakKib?: number | undefined
}

export const finishExecution = (database: Database, execution: ExecutionId, end: ExecutionEnd): void =>
  database.update("execution", execution, {
    status: end.status,
    class: end.class,
    message: end.message,
    ended_ms: end.now,
    cpu_ms: end.cpuMs,
    peak_kib: end.peakKib
  })

export interface EventRow {
  readonly atMs: number
  readonly type: string
  readonly label?: string | undefined
  /** JSON. */
  readonly data: string
}

export const recordEvents = (database: Database, run: RunId, events: ReadonlyArray<EventRow>): void =>
  database.immediate(() => {
    for (const { atMs, data, label, type } of events) database.insert("event", { run, at_ms: atMs, type, label, data })
  })

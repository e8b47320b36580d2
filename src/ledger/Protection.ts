/** What collection must keep, and why: pins, what running work uses or has just made, and what the last runs came to. */
import { fromBytes, toBytes } from "../pipeline/Digest.ts"
import type { ArtifactId } from "./Actions.ts"
import type { Database } from "./Database.ts"
import * as Held from "./Held.ts"
import { type Here, liveLeases, liveRuns } from "./Liveness.ts"
import { least } from "../pipeline/lists.ts"

/** In the order of precedence: an artifact that is kept for several reasons is listed under the first. */
export type Protection = "pinned" | "in-use" | "last-runs"

export interface ProtectionOptions {
  /** Runs kept per pipeline and profile. */
  readonly keepRuns: number
  /** Whether of the kept runs only the final results stay: targets, and what no later stage of the run consumes. */
  readonly finalOnly: boolean
}

/** The protected artifacts. */
export const protections = (
  database: Database,
  options: ProtectionOptions,
  here: Here
): ReadonlyMap<ArtifactId, Protection> => {
  const found = new Map<ArtifactId, Protection>()
  const protect = (why: Protection, artifacts: Iterable<ArtifactId>) => {
    for (const artifact of artifacts) if (!found.has(artifact)) found.set(artifact, why)
  }
  protect("pinned", database.column<number>("SELECT artifact FROM pin"))
  protect("in-use", inUse(database, here))
  protect("last-runs", ofLastRuns(database, options))
  return found
}

/** What running work needs, and what running runs planned with, found later, or made. */
const inUse = (database: Database, here: Here): ReadonlySet<ArtifactId> => {
  const used = new Set<ArtifactId>()
  const add = (sql: string, ...values: ReadonlyArray<number | string | Uint8Array>) => {
    for (const artifact of database.column<number>(sql, ...values)) used.add(artifact)
  }
  for (const lease of liveLeases(database, here)) {
    const key = toBytes(lease.key)
    add("SELECT artifact FROM input JOIN action ON action.id = input.action WHERE action.key = ?", key)
    add("SELECT artifact FROM output JOIN action ON action.id = output.action WHERE action.key = ?", key)
    // It may take items over from any earlier set of its family, and its stage is all that the ledger knows of that.
    add(
      `SELECT output.artifact FROM action AS asking JOIN action ON action.stage = asking.stage
       JOIN output ON output.action = action.id WHERE asking.key = ? AND output.family IS NOT NULL`,
      key
    )
  }
  const running = liveRuns(database, here)
  for (const run of running) {
    add("SELECT artifact FROM execution JOIN output ON output.action = execution.action WHERE run = ?", run.id)
    add(
      "SELECT artifact FROM execution JOIN input ON input.action = execution.action WHERE run = ? AND status = 'running'",
      run.id
    )
    const plan = database.value<number>(
      "SELECT plan FROM run WHERE pipeline = ? AND profile = ? AND plan IS NOT NULL ORDER BY id DESC LIMIT 1",
      run.pipeline,
      run.profile
    )
    if (plan !== undefined) for (const artifact of ofPlan(database, plan, [], false)) used.add(artifact)
  }
  const held = Held.heldBy(
    database,
    running.map(({ id }) => id)
  )
  if (held.size > 0)
    for (const { digest, id } of database.all<{ digest: Buffer; id: number }>("SELECT id, digest FROM artifact"))
      if (held.has(fromBytes(digest))) used.add(id)
  if (running.length > 0) add("SELECT id FROM artifact WHERE created_ms >= ?", least(running.map(run => run.startedMs)))
  return used
}

/**
 * The runs that count as the last ones of their pipeline and profile: those that succeeded, and, with places of their own, those that did not.
 * Five failed attempts in a row do not make one forget what went well.
 */
export const lastRuns = (
  database: Database,
  keepRuns: number
): ReadonlyArray<{ readonly id: number; readonly plan: number | null }> =>
  database.all(
    `SELECT id, plan FROM (
       SELECT id, plan, row_number() OVER (PARTITION BY pipeline, profile, status = 'done' ORDER BY id DESC) AS place FROM run)
     WHERE place <= ?`,
    keepRuns
  )

/** What the last runs consist of. */
const ofLastRuns = (database: Database, options: ProtectionOptions): ReadonlySet<ArtifactId> => {
  const kept = new Set<ArtifactId>()
  const plans = new Map<number, Set<ArtifactId>>()
  for (const run of lastRuns(database, options.keepRuns)) {
    const targets = database.column<number>("SELECT artifact FROM target WHERE run = ?", run.id)
    for (const artifact of targets) kept.add(artifact)
    if (run.plan === null) {
      // It crashed, or still runs: what it made is what the next run goes on from.
      const made = "SELECT artifact FROM execution JOIN output ON output.action = execution.action WHERE run = ?"
      for (const artifact of database.column<number>(made, run.id)) kept.add(artifact)
      continue
    }
    const wanted = plans.get(run.plan) ?? new Set()
    plans.set(run.plan, wanted)
    for (const artifact of targets) wanted.add(artifact)
  }
  for (const [plan, targets] of plans)
    for (const artifact of ofPlan(database, plan, [...targets], options.finalOnly)) kept.add(artifact)
  return kept
}

/** The artifacts of a plan's nodes; with `finalOnly` those of its targets and sinks. */
const ofPlan = (
  database: Database,
  plan: number,
  targets: ReadonlyArray<ArtifactId>,
  finalOnly: boolean
): ReadonlySet<ArtifactId> => {
  const outputs = database.all<{ action: number; artifact: number }>(
    "SELECT DISTINCT output.action, artifact FROM plan_node JOIN output ON output.action = plan_node.action WHERE plan = ?",
    plan
  )
  const inputs = new Set(
    database.column<number>(
      "SELECT DISTINCT artifact FROM plan_node JOIN input ON input.action = plan_node.action WHERE plan = ?",
      plan
    )
  )
  const all = outputs.map(({ artifact }) => artifact)
  if (!finalOnly) return new Set([...all, ...inputs])
  const makers = new Map<ArtifactId, number>()
  for (const artifact of all) makers.set(artifact, (makers.get(artifact) ?? 0) + 1)
  const wanted = new Set(targets)
  const consumed = new Set<number>()
  const final = new Set<number>()
  for (const { action, artifact } of outputs) {
    if (wanted.has(artifact)) final.add(action)
    // What two actions of the plan returned may be consumed from one and be the end of the other: the ledger has no wires.
    if (inputs.has(artifact) && makers.get(artifact) === 1) consumed.add(action)
  }
  return new Set(
    outputs.filter(({ action }) => final.has(action) || !consumed.has(action)).map(({ artifact }) => artifact)
  )
}

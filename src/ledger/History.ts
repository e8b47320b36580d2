/** How long and how large the same work was before: the basis of every estimate. */
import type { Database } from "./Database.ts"

export interface Past {
  /** Wall-clock milliseconds. */
  readonly ms: number
  /** Bytes of the outputs. */
  readonly bytes: number
}

const pastWhere = (condition: string) => `
  SELECT avg(ended_ms - started_ms) AS ms, avg(bytes) AS bytes FROM (
    SELECT execution.started_ms, execution.ended_ms,
      (SELECT coalesce(sum(artifact.bytes), 0) FROM output JOIN artifact ON artifact.id = output.artifact WHERE output.action = execution.action) AS bytes
    FROM execution JOIN run ON run.id = execution.run ${condition} AND run.pipeline = ? AND run.profile = ? AND (' ' || run.command || ' ' LIKE '% --quick %') = ? AND execution.status = 'done' ORDER BY execution.id DESC LIMIT 5)`

const byLabel = pastWhere("WHERE execution.label = ?")
const byStage = pastWhere(
  "JOIN action ON action.id = execution.action JOIN stage ON stage.id = action.stage WHERE stage.name = ?"
)

/**
 * The mean of the last five executions of that label, else of that stage; undefined when it was never executed. Those of the pipeline and the profile alone, and of first looks (`--quick`) or of whole runs: the
 * same stage takes seconds for a model that ships or for little data, and hours for a large one.
 */
export const history = (
  database: Database,
  {
    pipeline,
    profile,
    quick = false
  }: { readonly pipeline: string; readonly profile: string; readonly quick?: boolean }
): ((label: string, stage: string) => Past | undefined) => {
  const stages = new Map<string, Past | undefined>()
  const ask = (sql: string, value: string): Past | undefined => {
    const row = database.get<{ ms: number | null; bytes: number | null }>(sql, value, pipeline, profile, Number(quick))
    return row === undefined || row.ms === null ? undefined : { ms: row.ms, bytes: row.bytes ?? 0 }
  }
  return (label, stage) => {
    const past = ask(byLabel, label)
    if (past !== undefined) return past
    if (!stages.has(stage)) stages.set(stage, ask(byStage, stage))
    return stages.get(stage)
  }
}

/** Milliseconds that computing these actions took when they were executed last; what reusing them saves. */
export const planCost = (database: Database, plan: number): number =>
  database.value("SELECT cost_ms FROM plan WHERE id = ?", plan) ?? 0

const heldOf = `
  SELECT coalesce(sum(artifact.bytes), 0) FROM output JOIN artifact ON artifact.id = output.artifact
  WHERE artifact.state = 0 AND output.action =
    (SELECT action FROM execution WHERE label = ? AND status = 'done' ORDER BY id DESC LIMIT 1)`

/** Bytes of the last result of that label, as far as they are there. */
export const heldBytes = (database: Database, label: string): number => database.value(heldOf, label) ?? 0

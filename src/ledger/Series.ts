/** Metrics as they are read: final values and series of an action, or of all actions of a run. */
import type { ActionId } from "./Actions.ts"
import type { Database } from "./Database.ts"
import type { RunId } from "./Runs.ts"

export interface Point {
  readonly step: number
  /** Null where it was not a finite number. */
  readonly value: number | null
}

export interface Metric {
  readonly label: string
  readonly name: string
  /** The final value; where only a series was recorded, its last point. Null where that is no finite number. */
  readonly value: number | null
  /** In the order of steps. */
  readonly points: ReadonlyArray<Point>
}

/** The metrics of an action; those whose name matches a pattern of SQLite's GLOB. */
export const metricsOfAction = (
  database: Database,
  action: ActionId,
  label: string,
  glob = "*"
): ReadonlyArray<Metric> =>
  database
    .all<{ id: number; name: string; value: number | null }>(
      "SELECT id, name, value FROM metric WHERE action = ? AND name GLOB ? ORDER BY id",
      action,
      glob
    )
    .map(({ id, name, value }) => {
      const points = database.all<Point>("SELECT step, value FROM point WHERE metric = ? ORDER BY step", id)
      return { label, name, value: value ?? points.at(-1)?.value ?? null, points }
    })

/** Actions with metrics of a run, reused ones included, in the order of its plan; of one without a plan (under way, killed) those that were executed. */
const actionsOfRun = (
  database: Database,
  run: RunId
): ReadonlyArray<{ readonly label: string; readonly action: ActionId }> =>
  database.all(
    `SELECT label, action FROM (
       SELECT seq, label, action FROM plan_node WHERE plan = (SELECT plan FROM run WHERE id = ?) AND action IS NOT NULL
       UNION ALL
       SELECT min(id), label, action FROM execution WHERE run = ? AND (SELECT plan FROM run WHERE id = run) IS NULL GROUP BY label, action
     ) WHERE action IN (SELECT action FROM metric) ORDER BY seq`,
    run,
    run
  )

/** The metrics of every action of a run, in the order of the plan. */
export const metricsOfRun = (database: Database, run: RunId, glob = "*"): ReadonlyArray<Metric> =>
  actionsOfRun(database, run).flatMap(({ action, label }) => metricsOfAction(database, action, label, glob))

/** What an action came to, by the names of metrics. */
export interface Standing {
  readonly run: RunId
  readonly label: string
  readonly values: { readonly [name: string]: number }
}

/** The actions of some runs that have metrics whose names match, each once: in the first of the runs that has it. */
export const standings = (database: Database, runs: ReadonlyArray<RunId>, glob: string): ReadonlyArray<Standing> => {
  const seen = new Set<ActionId>()
  return runs.flatMap(run =>
    actionsOfRun(database, run).flatMap(({ action, label }) => {
      if (seen.has(action)) return []
      seen.add(action)
      const finals = database.all<{ name: string; value: number | null }>(
        `SELECT name, coalesce(value, (SELECT value FROM point WHERE metric = metric.id ORDER BY step DESC LIMIT 1)) AS value
         FROM metric WHERE action = ? AND name GLOB ? ORDER BY id`,
        action,
        glob
      )
      const values = Object.fromEntries(finals.flatMap(({ name, value }) => (value === null ? [] : [[name, value]])))
      return Object.keys(values).length === 0 ? [] : [{ run, label, values }]
    })
  )
}

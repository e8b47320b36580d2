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

/** The metrics of every action of a run, reused ones included, in the order of the plan. */
export const metricsOfRun = (database: Database, run: RunId, glob = "*"): ReadonlyArray<Metric> =>
  database
    .all<{ label: string; action: number }>(
      `SELECT label, action FROM (
         SELECT seq, label, action FROM plan_node WHERE plan = (SELECT plan FROM run WHERE id = ?) AND action IS NOT NULL
         UNION ALL
         SELECT min(id), label, action FROM execution WHERE run = ? AND (SELECT plan FROM run WHERE id = run) IS NULL GROUP BY label, action
       ) WHERE action IN (SELECT action FROM metric) ORDER BY seq`,
      run,
      run
    )
    .flatMap(({ action, label }) => metricsOfAction(database, action, label, glob))

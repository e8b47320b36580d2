/** Metrics of actions: final values and series. */
import type { ActionId } from "./Actions.ts"
import type { Database } from "./Database.ts"

export interface MetricValue {
  readonly name: string
  /** Left out for a final value. */
  readonly step?: number | undefined
  readonly value: number
}

/** Replaces the metrics of an action by those of its newest execution. Runs inside a transaction. NaN is kept as NULL. */
export const record = (database: Database, action: ActionId, values: ReadonlyArray<MetricValue>): void => {
  database.run("DELETE FROM point WHERE metric IN (SELECT id FROM metric WHERE action = ?)", action)
  database.run("DELETE FROM metric WHERE action = ?", action)
  const ids = new Map<string, number>()
  for (const { name, step, value } of values) {
    let id = ids.get(name)
    if (id === undefined) ids.set(name, (id = database.insert("metric", { action, name })))
    const stored = Number.isFinite(value) ? value : null
    if (step === undefined) database.update("metric", id, { value: stored })
    else database.insert("point", { metric: id, step, value: stored }, "OR REPLACE")
  }
}

/** Names of actions: `PIPELINE/LABEL`, or a label alone. A stage that is used several times (train/a, train/b) has the name of all of them. */
import type { Digest } from "../pipeline/Digest.ts"
import { append } from "../pipeline/lists.ts"
import type { ActionId } from "./Actions.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"
import type { RunId } from "./Runs.ts"

/** An action under a label, in the newest run that came to know its key. */
export interface Use {
  readonly pipeline: string
  readonly label: string
  readonly run: RunId
  readonly id: ActionId
  readonly key: Digest
}

/** Plans of a pipeline that are searched for a label, newest first; one that vanished longer ago is named by its key. */
const searchedPlans = 50

/** Pipelines that were run, by name. A scan of the index over runs. */
export const pipelineNames = (database: Database): ReadonlyArray<string> =>
  database.column<string>("SELECT DISTINCT pipeline FROM run ORDER BY pipeline")

/** A name split where the pipeline ends; a pipeline that was never run is unknown here. */
export const splitName = (
  database: Database,
  text: string
): { readonly pipeline: string; readonly label: string | undefined } | undefined => {
  const pipeline = pipelineNames(database)
    .filter(name => text === name || text.startsWith(`${name}/`))
    .sort((a, b) => b.length - a.length)[0]
  if (pipeline === undefined) return undefined
  return { pipeline, label: text === pipeline ? undefined : text.slice(pipeline.length + 1) }
}

/**
 * The actions that a name stands for, each label once: of a pipeline `PIPELINE/NAME`, of all of them `NAME`. A label that is just the name comes before those of a stage's
 * uses. With `returned`, an action that returned nothing does not hide one of an earlier run that did.
 */
export const usesOf = (database: Database, text: string, returned = false): ReadonlyArray<Use> => {
  const split = splitName(database, text)
  if (split !== undefined && split.label === undefined) return []
  const [pipelines, name] =
    split === undefined ? [pipelineNames(database), text] : [[split.pipeline], split.label as string]
  const uses = pipelines.flatMap(pipeline => usesIn(database, pipeline, name, returned))
  const exact = uses.filter(({ label }) => label === name)
  return exact.length > 0 ? exact : uses
}

const usesIn = (database: Database, pipeline: string, name: string, returned: boolean): ReadonlyArray<Use> => {
  // '0' comes after '/'.
  const names = [name, `${name}/`, `${name}0`]
  const plans = database.all<{ plan: number; run: RunId }>(
    `SELECT plan, max(id) AS run FROM run WHERE pipeline = ? AND plan IS NOT NULL GROUP BY plan ORDER BY run DESC LIMIT ${searchedPlans}`,
    pipeline
  )
  const found: Array<{ readonly label: string; readonly run: RunId; readonly action: ActionId }> = []
  for (const { plan, run } of plans)
    append(
      found,
      database
        .all<{ label: string; action: ActionId }>(
          `SELECT label, action FROM plan_node WHERE plan = ? AND action IS NOT NULL AND (label = ? OR label >= ? AND label < ?) ORDER BY seq`,
          plan,
          ...names
        )
        .map(row => ({ ...row, run }))
    )
  // A run that is still under way, or that was killed, has executions, but no plan.
  append(
    found,
    database.all<{ label: string; run: RunId; action: ActionId }>(
      `SELECT label, run, action FROM execution WHERE id IN (
         SELECT max(execution.id) FROM execution JOIN run ON run.id = execution.run
         WHERE (label = ? OR label >= ? AND label < ?) AND pipeline = ? GROUP BY label)`,
      ...names,
      pipeline
    )
  )
  const newest = new Map<string, (typeof found)[number]>()
  const isThere = ({ action }: { readonly action: ActionId }): boolean =>
    database.value("SELECT 1 FROM output WHERE action = ? LIMIT 1", action) !== undefined
  for (const use of found) {
    const other = newest.get(use.label)
    const [has, had] = returned && other !== undefined ? [isThere(use), isThere(other)] : [true, true]
    if (other === undefined || (has === had ? use.run > other.run : has)) newest.set(use.label, use)
  }
  return [...newest.values()].map(({ action, label, run }) => ({
    pipeline,
    label,
    run,
    id: action,
    key: database.value<Digest>(`SELECT ${hex("key")} FROM action WHERE id = ?`, action)!
  }))
}

/** That a name was found in an earlier run, and not in the last one of its pipeline; undefined where it was. */
export const fromEarlier = (database: Database, { label, pipeline, run }: Use): string | undefined => {
  const last = database.value<RunId>("SELECT max(id) FROM run WHERE pipeline = ?", pipeline)!
  return run === last
    ? undefined
    : `${pipeline}/${label} is that of run ${run}: run ${last}, the last, has not come to it`
}

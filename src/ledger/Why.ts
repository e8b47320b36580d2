/** Why an action ran: the smallest part of its key that differs from the nearest earlier action, or what else made it run. */
import { type Digest, toBytes } from "../pipeline/Digest.ts"
import { actionKey, type KeyComponents } from "../pipeline/Key.ts"
import type { ActionId } from "./Actions.ts"
import { stateName } from "./columns.ts"
import type { Database } from "./Database.ts"
import { type Difference, differences, inputName } from "./Difference.ts"
import { componentsOf, type EarlierAction, nearest } from "./Nearest.ts"
import type { ExecutionId, RunId } from "./Runs.ts"

export interface Explanation {
  readonly differences: ReadonlyArray<Difference>
  /** Parts that are equal, for reassurance. */
  readonly unchanged: ReadonlyArray<string>
  /** One line. */
  readonly summary: string
  /** Canonical JSON of the parameters in the later key. */
  readonly parameters: string
}

export const smallestDifference = (
  earlier: EarlierAction,
  now: KeyComponents,
  codeDetail: string | undefined
): Explanation => {
  const found = differences(earlier.components, now, earlier.codeDetail, codeDetail)
  const unchanged = [
    ...(earlier.components.code === now.code ? [`code ${brief(now.code)}`] : []),
    ...(earlier.components.parameters === now.parameters ? ["parameters"] : []),
    ...now.inputs
      .filter(input =>
        earlier.components.inputs.some(old => inputName(old) === inputName(input) && old.digest === input.digest)
      )
      .map(input => `${inputName(input)} ${brief(input.digest)}`),
    ...(now.engine === earlier.components.engine && now.engine !== "none" ? [`engine ${now.engine}`] : [])
  ]
  const first = found[0]
  return {
    differences: found,
    unchanged,
    parameters: now.parameters,
    summary:
      first === undefined
        ? newForm
        : `${first.component}: ${first.before} → ${first.after}${found.length > 1 ? `, and ${found.length - 1} more` : ""}`
  }
}

/** When all components are equal and the keys are not. */
const newForm = "no part changed, but this version of the program writes keys in another form"

/** Enough of a digest to recognise it. */
const brief = (digest: Digest): string => digest.slice(0, 4)

/**
 * Why an action ran, or would run:
 * - `first`: its label was never executed before.
 * - `changed`: its key differs from that of every earlier action of the label; `since` is the last run that used the nearest.
 * - `again`: the same key was computed before, but could not be reused.
 */
export type Reason =
  | { readonly _tag: "first" }
  | {
      readonly _tag: "changed"
      readonly since: { readonly run: RunId; readonly atMs: number; readonly key: Digest }
      readonly explanation: Explanation
    }
  | {
      readonly _tag: "again"
      readonly since: { readonly run: RunId; readonly atMs: number }
      readonly because: string
    }

/** One node of a run, explained. */
export interface Explained {
  readonly label: string
  readonly run: RunId
  readonly key: Digest
  readonly status: string
  readonly attempts: number
  readonly startedMs: number
  readonly reason: Reason
}

export interface ExecutionRow {
  readonly id: ExecutionId
  readonly action: ActionId
  readonly run: RunId
  readonly label: string
  readonly status: string
  readonly startedMs: number
}

export const executionColumns = "id, action, run, label, status, started_ms AS startedMs"

/** Explains why an execution took place. Further attempts at the same action in one run have the reason of the first. */
export const explainExecution = (database: Database, execution: ExecutionRow): Explained => {
  const attempts = database.all<ExecutionRow>(
    `SELECT ${executionColumns} FROM execution WHERE action = ? AND run = ? ORDER BY id`,
    execution.action,
    execution.run
  )
  const first = attempts[0] ?? execution
  const { codeDetail, components, key } = componentsOf(database, execution.action)!
  return {
    label: execution.label,
    run: execution.run,
    key,
    status: attempts.at(-1)?.status ?? execution.status,
    attempts: attempts.length,
    startedMs: first.startedMs,
    reason: reasonFor(database, {
      key,
      label: execution.label,
      components,
      codeDetail,
      before: first.id,
      run: execution.run
    })
  }
}

export interface Asked {
  readonly label: string
  readonly key: Digest
  readonly components: KeyComponents
  readonly codeDetail: string | undefined
  /** Executions from this one on do not count; undefined to ask about the future. */
  readonly before?: ExecutionId | undefined
  readonly run?: RunId | undefined
}

export const reasonFor = (database: Database, { before, codeDetail, components, label, run }: Asked): Reason => {
  const key = actionKey(components)
  const limit = before ?? Number.MAX_SAFE_INTEGER
  const same = database.get<{ id: number; run: number; status: string; message: string | null; at: number }>(
    `SELECT execution.id, run, status, message, coalesce(ended_ms, started_ms) AS at FROM execution
     JOIN action ON action.id = execution.action WHERE action.key = ? AND execution.id < ? ORDER BY execution.id DESC LIMIT 1`,
    toBytes(key),
    limit
  )
  if (same !== undefined) {
    return {
      _tag: "again",
      since: { run: same.run, atMs: same.at },
      because: againBecause(database, key, label, same, run)
    }
  }
  const earlier = nearest(database, label, components, before, key)
  if (earlier === undefined) return { _tag: "first" }
  return {
    _tag: "changed",
    since: { ...lastUse(database, earlier, run), key: earlier.key },
    explanation: smallestDifference(earlier, components, codeDetail)
  }
}

const againBecause = (
  database: Database,
  key: Digest,
  label: string,
  earlier: { readonly status: string; readonly message: string | null },
  run: RunId | undefined
): string => {
  switch (earlier.status) {
    case "failed":
      return `the attempt before failed: ${earlier.message ?? "no message was left"}`
    case "interrupted":
      return "the attempt before was interrupted"
    case "lost":
    case "running":
      return "the process of the attempt before vanished"
  }
  const noted = run === undefined ? undefined : remakeNote(database, run, label)
  if (noted !== undefined) return noted
  const gone = database.get<{ port: string; state: string }>(
    `SELECT port, ${stateName} AS state FROM output JOIN artifact ON artifact.id = output.artifact JOIN action ON action.id = output.action
     WHERE action.key = ? AND artifact.state <> 0`,
    toBytes(key)
  )
  const suspect =
    run === undefined
      ? database.get("SELECT 1 FROM suspect JOIN action ON action.id = suspect.action WHERE key = ?", toBytes(key))
      : undefined
  if (suspect !== undefined) return fromDamaged
  if (run === undefined && gone !== undefined) return `the bytes of its output ${gone.port} are ${gone.state}`
  return "its result was asked for anew"
}

/** Why a suspect result is made again. */
export const fromDamaged = "its result was computed from damaged bytes"

/** What the run itself noted when it computed a known result again. */
const remakeNote = (database: Database, run: RunId, label: string): string | undefined => {
  const data = database.value<string>(
    "SELECT data FROM event WHERE run = ? AND type = 'started' AND label = ? ORDER BY id LIMIT 1",
    run,
    label
  )
  if (data === undefined) return undefined
  const { remake } = JSON.parse(data) as { readonly remake?: unknown }
  return typeof remake === "string" ? remake : undefined
}

/** The last run before `run` in which an action was executed or reused. */
const lastUse = (
  database: Database,
  earlier: EarlierAction,
  run: RunId | undefined
): { readonly run: RunId; readonly atMs: number } => {
  const row = database.get<{ run: number; at: number }>(
    `SELECT run.id AS run, run.started_ms AS at FROM run WHERE run.id < ? AND run.plan IN (SELECT plan FROM plan_node WHERE action = ?)
     ORDER BY run.id DESC LIMIT 1`,
    run ?? Number.MAX_SAFE_INTEGER,
    earlier.action
  )
  return row !== undefined && row.run > earlier.run
    ? { run: row.run, atMs: row.at }
    : { run: earlier.run, atMs: earlier.startedMs }
}

/** Where an input came from in a run: the node whose output it is, and whether that node returned other bytes for the same key. */
export const producerOf = (
  database: Database,
  run: RunId,
  digest: Digest
): { readonly label: string; readonly executed: boolean; readonly diverged: boolean } | undefined => {
  const row = database.get<{ label: string; action: number }>(
    `SELECT label, output.action FROM output JOIN artifact ON artifact.id = output.artifact JOIN plan_node ON plan_node.action = output.action
     WHERE digest = ? AND plan_node.plan = (SELECT plan FROM run WHERE id = ?)
     UNION ALL
     SELECT label, output.action FROM output JOIN artifact ON artifact.id = output.artifact JOIN execution ON execution.action = output.action
     WHERE digest = ? AND execution.run = ? LIMIT 1`,
    toBytes(digest),
    run,
    toBytes(digest),
    run
  )
  if (row === undefined) return undefined
  const executed = database.get("SELECT 1 FROM execution WHERE action = ? AND run = ?", row.action, run) !== undefined
  const diverged =
    database.get(
      `SELECT 1 FROM divergence JOIN execution ON execution.id = divergence.execution JOIN artifact ON artifact.id = divergence.after
       WHERE execution.run = ? AND execution.action = ? AND artifact.digest = ?`,
      run,
      row.action,
      toBytes(digest)
    ) !== undefined
  return { label: row.label, executed, diverged }
}

export type { Difference }

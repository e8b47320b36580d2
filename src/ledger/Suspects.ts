/**
 * Results that were computed from damaged bytes. They stay for looking, but are no hits: the next run that comes to such an action makes it
 * again. If the same bytes come out, all below is as good as before; if not, what was computed from them gets other keys, as always.
 */
import { type Digest, toBytes } from "../pipeline/Digest.ts"
import { type ActionId, type ArtifactId, nextGeneration } from "./Actions.ts"
import * as Checked from "./Checked.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"
import type { ExecutionId } from "./Runs.ts"

/** Objects up to this size are hashed whenever they are read: from wrong bytes of them nothing was ever computed. */
export const smallUpTo = 1024 * 1024

export interface Damage {
  readonly digest: Digest
  /** Bytes, as far as whoever found it knows. */
  readonly size: number
}

/**
 * Marks every action that may have read the object since its last good check, finished or not, and whoever took items over from one. Returns
 * their keys.
 */
export const distrust = (database: Database, { digest, size }: Damage, now: number): ReadonlyArray<Digest> =>
  database.immediate(() => {
    const known = database.value<number>("SELECT size FROM object WHERE digest = ?", toBytes(digest)) ?? 0
    if (Math.max(size, known) <= smallUpTo) return []
    const since = Checked.lastGood(database, digest) ?? -1
    Checked.forget(database, digest, now)
    const tainted = new Map<ActionId, number>()
    for (const artifact of holdersOf(database, digest)) {
      for (const row of database.all<{ action: number; started: number }>(
        `SELECT input.action, min(started_ms) AS started FROM input JOIN execution ON execution.action = input.action
         WHERE input.artifact = ? AND started_ms > ? GROUP BY input.action`,
        artifact,
        since
      ))
        tainted.set(row.action, Math.min(row.started, tainted.get(row.action) ?? row.started))
    }
    addBorrowers(database, tainted)
    if (tainted.size === 0) return []
    const execution = database.value<number | null>("SELECT max(id) FROM execution") ?? 0
    const mark = { object: toBytes(digest), execution, checkpoint: 1, at_ms: now }
    for (const action of tainted.keys()) database.insert("suspect", { action, ...mark }, "OR REPLACE")
    nextGeneration(database)
    return [...tainted.keys()].map(action =>
      database.value<Digest>(`SELECT ${hex("key")} FROM action WHERE id = ?`, action)!
    )
  })

/** Of an item the ledger does not know in which sets it is: it may be in any. */
const holdersOf = (database: Database, object: Digest): ReadonlyArray<ArtifactId> => {
  const holders = database.column<number>(
    `SELECT id FROM artifact WHERE digest = ?
     UNION SELECT artifact FROM artifact_object JOIN object ON object.id = artifact_object.object WHERE object.digest = ?`,
    toBytes(object),
    toBytes(object)
  )
  return holders.length > 0 ? holders : database.column<number>("SELECT id FROM artifact WHERE items > 0")
}

/** A later set of the same family may have taken over what a tainted action put into its own. */
const addBorrowers = (database: Database, tainted: Map<ActionId, number>): void => {
  const pending = [...tainted]
  while (pending.length > 0) {
    const [action, since] = pending.pop()!
    for (const row of database.all<{ action: number; started: number }>(
      `SELECT other.action, min(started_ms) AS started FROM output JOIN output AS other ON other.family = output.family
       JOIN execution ON execution.action = other.action WHERE output.action = ? AND started_ms >= ? GROUP BY other.action`,
      action,
      since
    )) {
      if (tainted.has(row.action)) continue
      tainted.set(row.action, row.started)
      pending.push([row.action, row.started])
    }
  }
}

/** Whether an execution began before its action was marked: then what it returns counts for nothing. */
export const taints = (database: Database, key: Digest, execution: ExecutionId): boolean =>
  database.get(
    "SELECT 1 FROM suspect JOIN action ON action.id = suspect.action WHERE action.key = ? AND execution >= ?",
    toBytes(key),
    execution
  ) !== undefined

/** An action has run again, on sound bytes. */
export const trust = (database: Database, action: ActionId): void =>
  void database.run("DELETE FROM suspect WHERE action = ?", action)

/** Whether an action's checkpoint was written by someone who had read damaged bytes. */
export const taintsCheckpoint = (database: Database, key: Digest): boolean =>
  database.get(
    "SELECT 1 FROM suspect JOIN action ON action.id = suspect.action WHERE action.key = ? AND checkpoint = 1",
    toBytes(key)
  ) !== undefined

/** The checkpoint is gone; what is written from now on may be gone on from. */
export const checkpointDropped = (database: Database, key: Digest): void =>
  void database.run(
    "UPDATE suspect SET checkpoint = 0 WHERE action = (SELECT id FROM action WHERE key = ?)",
    toBytes(key)
  )

const first = (database: Database, sql: string, id: number): Digest | undefined =>
  keys(database).length === 0 ? undefined : database.value<Digest>(sql, id)

/** The damaged object that an action had read, or an action above it. */
export const ofAction = (database: Database, action: ActionId): Digest | undefined =>
  first(
    database,
    `WITH RECURSIVE above (id) AS (SELECT ? UNION SELECT output.action FROM above JOIN input ON input.action = above.id
       JOIN output ON output.artifact = input.artifact)
     SELECT ${hex("object")} FROM above JOIN suspect ON suspect.action = above.id LIMIT 1`,
    action
  )

/** The damaged object from which an artifact was computed, directly or by way of others. */
export const ofArtifact = (database: Database, artifact: ArtifactId): Digest | undefined =>
  first(
    database,
    `WITH RECURSIVE above (id) AS (SELECT ? UNION SELECT parent FROM above JOIN edge ON child = id)
     SELECT ${hex("object")} FROM above JOIN output ON output.artifact = above.id JOIN suspect ON suspect.action = output.action LIMIT 1`,
    artifact
  )

/** The keys of all marked actions. */
export const keys = (database: Database): ReadonlyArray<Digest> =>
  database.column(`SELECT ${hex("key")} FROM suspect JOIN action ON action.id = suspect.action`)

/** Actions that have a result, and are marked. */
export const count = (database: Database): number =>
  database.value("SELECT count(*) FROM suspect WHERE action IN (SELECT action FROM output)")!

/** What those returned, by the label of their last execution. */
export const labels = (database: Database): ReadonlyArray<string> =>
  database.column<string>(
    `SELECT label FROM suspect JOIN execution ON execution.id =
       (SELECT max(id) FROM execution WHERE execution.action = suspect.action AND status = 'done')
     WHERE suspect.action IN (SELECT action FROM output) ORDER BY label`
  )

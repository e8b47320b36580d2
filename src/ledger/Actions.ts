/** Actions and their results: looking keys up in batches, and recording what an action returned. */
import type { Manifest } from "../pipeline/Artifact.ts"
import { canonical, type Digest, fromBytes, type Json, toBytes } from "../pipeline/Digest.ts"
import type { KeyComponents } from "../pipeline/Key.ts"
import { manifestBytes } from "../pipeline/Artifact.ts"
import type { Database } from "./Database.ts"

export type ActionId = number
export type ArtifactId = number

/** Whether an artifact's bytes are in the store. `collected`: dropped by gc on purpose; `lost`: found missing or damaged. */
export type ArtifactState = "present" | "collected" | "lost"

const states: ReadonlyArray<ArtifactState> = ["present", "collected", "lost"]

export interface KnownOutput {
  readonly port: string
  readonly digest: Digest
  readonly state: ArtifactState
}

export interface KnownAction {
  readonly id: ActionId
  readonly outputs: ReadonlyArray<KnownOutput>
}

/** The results of actions that were computed before, by key. Keys that are unknown are left out, and those whose result is suspect. */
export const lookup = (database: Database, keys: ReadonlyArray<Digest>): ReadonlyMap<Digest, KnownAction> => {
  const found = new Map<Digest, KnownAction>()
  for (let start = 0; start < keys.length; start += batchSize) {
    const batch = keys.slice(start, start + batchSize)
    // One statement for every size of batch would defeat the statement cache: unused places are NULL.
    const values =
      batch.length === 1
        ? [toBytes(batch[0]!)]
        : Array.from({ length: batchSize }, (_, i) => (i < batch.length ? toBytes(batch[i]!) : null))
    const rows = database.all<{ id: number; key: Buffer; port: string; digest: Buffer; state: number }>(
      batch.length === 1 ? lookupOne : lookupMany,
      ...values
    )
    for (const row of rows) {
      const key = fromBytes(row.key)
      const output = { port: row.port, digest: fromBytes(row.digest), state: states[row.state]! }
      const known = found.get(key)
      if (known === undefined) found.set(key, { id: row.id, outputs: [output] })
      else (known.outputs as Array<KnownOutput>).push(output)
    }
  }
  return found
}

const batchSize = 250

const lookupWhere = (condition: string) =>
  `SELECT action.id, action.key, output.port, artifact.digest, artifact.state
   FROM action JOIN output ON output.action = action.id JOIN artifact ON artifact.id = output.artifact
   WHERE action.key ${condition} AND NOT EXISTS (SELECT 1 FROM suspect WHERE suspect.action = action.id)`
const lookupOne = lookupWhere("= ?")
const lookupMany = lookupWhere(`IN (${Array.from({ length: batchSize }, () => "?").join(",")})`)

/** What an action needs to be recorded with, besides its outputs. */
export interface ActionRecord {
  readonly key: Digest
  readonly components: KeyComponents
  /** Canonical JSON of the parameters as written, where that differs from what entered the key. */
  readonly arguments?: string | undefined
  readonly codeDetail: string
}

export interface OutputRecord {
  readonly port: string
  readonly digest: Digest
  readonly manifest: Manifest
  readonly family?: Digest | undefined
}

export const stageId = (database: Database, name: string): number =>
  database.get<{ id: number }>("SELECT id FROM stage WHERE name = ?", name)?.id ??
  database.run("INSERT INTO stage (name) VALUES (?)", name).id

const codeId = (database: Database, digest: Digest, detail: string): number =>
  database.get<{ id: number }>("SELECT id FROM code WHERE digest = ?", toBytes(digest))?.id ??
  database.run("INSERT INTO code (digest, detail) VALUES (?, ?)", toBytes(digest), detail).id

export const artifactId = (database: Database, digest: Digest): ArtifactId | undefined =>
  database.get<{ id: number }>("SELECT id FROM artifact WHERE digest = ?", toBytes(digest))?.id

/** Metadata and size of a known artifact. */
export const artifactOf = (
  database: Database,
  digest: Digest
): { readonly metadata: Json; readonly bytes: number } | undefined => {
  const row = database.get<{ metadata: string; bytes: number }>(
    "SELECT metadata, bytes FROM artifact WHERE digest = ?",
    toBytes(digest)
  )
  return row === undefined ? undefined : { metadata: JSON.parse(row.metadata) as Json, bytes: row.bytes }
}

/** Those of these artifacts whose bytes are not in the store, as far as the ledger knows. */
export const notPresent = (database: Database, artifacts: ReadonlyArray<Digest>): ReadonlyArray<Digest> =>
  [...new Set(artifacts)].filter(
    digest => database.get("SELECT 1 FROM artifact WHERE digest = ? AND state <> 0", toBytes(digest)) !== undefined
  )

/** Finds or adds the row of an action with its inputs. Runs inside a transaction. */
export const ensureAction = (database: Database, record: ActionRecord, now: number): ActionId => {
  const known = database.get<{ id: number }>("SELECT id FROM action WHERE key = ?", toBytes(record.key))
  if (known !== undefined) return known.id
  const { components } = record
  const { id } = database.run(
    "INSERT INTO action (key, stage, code, engine, parameters, arguments, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
    toBytes(record.key),
    stageId(database, components.stage),
    codeId(database, components.code, record.codeDetail),
    components.engine,
    components.parameters,
    record.arguments ?? null,
    now
  )
  components.inputs.forEach((input, seq) => {
    const artifact = artifactId(database, input.digest)
    if (artifact === undefined) throw new Error(`input ${input.digest} of ${components.stage} is not in the ledger`)
    database.run(
      "INSERT INTO input (action, seq, port, name, artifact) VALUES (?, ?, ?, ?, ?)",
      id,
      seq,
      input.port,
      input.name ?? null,
      artifact
    )
  })
  return id
}

/** Finds or adds the row of an artifact and marks it present. Runs inside a transaction. */
export const ensureArtifact = (database: Database, digest: Digest, manifest: Manifest, now: number): ArtifactId => {
  const known = artifactId(database, digest)
  if (known !== undefined) {
    database.run("UPDATE artifact SET state = 0 WHERE id = ? AND state <> 0", known)
    return known
  }
  const { id } = database.run(
    "INSERT INTO artifact (digest, kind, bytes, items, metadata, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
    toBytes(digest),
    manifest.kind,
    manifestBytes(manifest),
    manifest.items?.count ?? null,
    canonical(manifest.metadata),
    now
  )
  const link = (path: string, object: { readonly sha256: Digest; readonly size: number }) =>
    database.run(
      "INSERT INTO artifact_object (artifact, path, object) VALUES (?, ?, ?)",
      id,
      path,
      objectId(database, object)
    )
  for (const file of manifest.files) link(file.path, file)
  manifest.items?.pages.forEach((page, i) => link(`#${String(i).padStart(6, "0")}`, page))
  return id
}

const objectId = (database: Database, object: { readonly sha256: Digest; readonly size: number }): number =>
  database.get<{ id: number }>("SELECT id FROM object WHERE digest = ?", toBytes(object.sha256))?.id ??
  database.run("INSERT INTO object (digest, size) VALUES (?, ?)", toBytes(object.sha256), object.size).id

/** An output that differs from what the same key returned before. */
export interface Divergence {
  readonly port: string
  readonly before: Digest
  readonly after: Digest
}

/**
 * Records what an action returned: artifacts, outputs, lineage. Runs inside a transaction.
 * When the same key returned something else before, the new result counts and the difference is kept.
 */
export const recordOutputs = (
  database: Database,
  action: ActionId,
  execution: number,
  outputs: ReadonlyArray<OutputRecord>,
  now: number
): ReadonlyArray<Divergence> => {
  const divergences: Array<Divergence> = []
  for (const { digest, family, manifest, port } of outputs) {
    const artifact = ensureArtifact(database, digest, manifest, now)
    const before = database.get<{ id: number; digest: Buffer }>(
      "SELECT artifact.id, artifact.digest FROM output JOIN artifact ON artifact.id = output.artifact WHERE output.action = ? AND port = ?",
      action,
      port
    )
    if (before !== undefined && before.id !== artifact) {
      divergences.push({ port, before: fromBytes(before.digest), after: digest })
      database.run(
        "INSERT INTO divergence (execution, port, before, after) VALUES (?, ?, ?, ?)",
        execution,
        port,
        before.id,
        artifact
      )
      nextGeneration(database)
    }
    database.run(
      "INSERT OR REPLACE INTO output (action, port, artifact, family) VALUES (?, ?, ?, ?)",
      action,
      port,
      artifact,
      family === undefined ? null : toBytes(family)
    )
    database.run(
      "INSERT OR IGNORE INTO edge (child, parent) SELECT ?, artifact FROM input WHERE action = ? AND artifact <> ?",
      artifact,
      action,
      artifact
    )
  }
  return divergences
}

export const generation = (database: Database): number =>
  database.get<{ value: number }>("SELECT value FROM counter WHERE name = 'generation'")!.value

export const nextGeneration = (database: Database): void =>
  void database.run("UPDATE counter SET value = value + 1 WHERE name = 'generation'")

/** Marks every artifact that holds one of these objects as collected or lost: from now on its action is no hit for a consumer that must read it. */
export const markObjects = (database: Database, objects: ReadonlyArray<Digest>, state: "collected" | "lost"): number =>
  database.immediate(() => {
    let changed = 0
    for (const digest of objects) {
      changed += database.run(
        `UPDATE artifact SET state = ? WHERE state = 0 AND (digest = ? OR id IN
         (SELECT artifact FROM artifact_object JOIN object ON object.id = artifact_object.object WHERE object.digest = ?))`,
        states.indexOf(state),
        toBytes(digest),
        toBytes(digest)
      ).changes
    }
    if (changed > 0) nextGeneration(database)
    return changed
  })

/** Marks artifacts as collected or lost by their own digests (a chunk set whose item is gone has no row for the item's object). */
export const markArtifacts = (
  database: Database,
  artifacts: ReadonlyArray<Digest>,
  state: "collected" | "lost"
): number =>
  database.immediate(() => {
    let changed = 0
    for (const digest of artifacts)
      changed += database.run(
        "UPDATE artifact SET state = ? WHERE state = 0 AND digest = ?",
        states.indexOf(state),
        toBytes(digest)
      ).changes
    if (changed > 0) nextGeneration(database)
    return changed
  })

/** The newest chunk sets of a family whose bytes are present, and not suspect: where items of the next set may be found. */
export const setsOfFamily = (database: Database, family: Digest, limit: number): ReadonlyArray<Digest> =>
  database
    .column<Buffer>(
      `SELECT artifact.digest FROM output JOIN artifact ON artifact.id = output.artifact
       WHERE output.family = ? AND artifact.state = 0
         AND NOT EXISTS (SELECT 1 FROM output AS made JOIN suspect ON suspect.action = made.action WHERE made.artifact = artifact.id)
       GROUP BY artifact.id ORDER BY artifact.id DESC LIMIT ?`,
      toBytes(family),
      limit
    )
    .map(fromBytes)

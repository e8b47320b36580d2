/** Actions and their results: looking keys up in batches, and recording what an action returned. */
import type { Manifest } from "../pipeline/Artifact.ts"
import { canonical, type Digest, fromBytes, type Json, toBytes } from "../pipeline/Digest.ts"
import type { KeyComponents } from "../pipeline/Key.ts"
import { manifestBytes } from "../pipeline/Artifact.ts"
import { type ArtifactState, states } from "./columns.ts"
import type { Database } from "./Database.ts"

export type ActionId = number
export type ArtifactId = number

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
  /** Holds what was timed: other bytes are no divergence. */
  readonly timed?: boolean
}

export const stageId = (database: Database, name: string): number =>
  database.value<number>("SELECT id FROM stage WHERE name = ?", name) ?? database.insert("stage", { name })

const codeId = (database: Database, digest: Digest, detail: string): number =>
  database.value<number>("SELECT id FROM code WHERE digest = ?", toBytes(digest)) ??
  database.insert("code", { digest: toBytes(digest), detail })

export const artifactId = (database: Database, digest: Digest): ArtifactId | undefined =>
  database.value<number>("SELECT id FROM artifact WHERE digest = ?", toBytes(digest))

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
  const known = database.value<number>("SELECT id FROM action WHERE key = ?", toBytes(record.key))
  if (known !== undefined) return known
  const { components } = record
  const id = database.insert("action", {
    key: toBytes(record.key),
    stage: stageId(database, components.stage),
    code: codeId(database, components.code, record.codeDetail),
    engine: components.engine,
    parameters: components.parameters,
    arguments: record.arguments,
    created_ms: now
  })
  components.inputs.forEach(({ digest, name, port }, seq) => {
    const artifact = artifactId(database, digest)
    if (artifact === undefined) throw new Error(`input ${digest} of ${components.stage} is not in the ledger`)
    database.insert("input", { action: id, seq, port, name, artifact })
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
  const id = database.insert("artifact", {
    digest: toBytes(digest),
    kind: manifest.kind,
    bytes: manifestBytes(manifest),
    items: manifest.items?.count,
    metadata: canonical(manifest.metadata),
    created_ms: now
  })
  const link = (path: string, object: { readonly sha256: Digest; readonly size: number }) =>
    database.insert("artifact_object", { artifact: id, path, object: objectId(database, object) })
  for (const file of manifest.files) link(file.path, file)
  manifest.items?.pages.forEach((page, i) => link(`#${String(i).padStart(6, "0")}`, page))
  return id
}

const objectId = (database: Database, { sha256, size }: { readonly sha256: Digest; readonly size: number }): number =>
  database.value<number>("SELECT id FROM object WHERE digest = ?", toBytes(sha256)) ??
  database.insert("object", { digest: toBytes(sha256), size })

/** An output that differs from what the same key returned before. */
export interface Divergence {
  readonly port: string
  readonly before: Digest
  readonly after: Digest
}

/**
 * Records what an action returned: artifacts, outputs, lineage. Runs inside a transaction.
 * When the same key returned something else before, the new result counts and the difference is kept, unless it may lie in times alone.
 */
export const recordOutputs = (
  database: Database,
  action: ActionId,
  execution: number,
  outputs: ReadonlyArray<OutputRecord>,
  now: number
): ReadonlyArray<Divergence> => {
  const divergences: Array<Divergence> = []
  for (const { digest, family, manifest, port, timed = false } of outputs) {
    const artifact = ensureArtifact(database, digest, manifest, now)
    const before = database.get<{ id: number; digest: Buffer }>(
      "SELECT artifact.id, artifact.digest FROM output JOIN artifact ON artifact.id = output.artifact WHERE output.action = ? AND port = ?",
      action,
      port
    )
    if (before !== undefined && before.id !== artifact) {
      if (!timed) {
        divergences.push({ port, before: fromBytes(before.digest), after: digest })
        database.insert("divergence", { execution, port, before: before.id, after: artifact })
      }
      nextGeneration(database)
    }
    database.insert("output", { action, port, artifact, family: family && toBytes(family) }, "OR REPLACE")
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
  database.value<number>("SELECT value FROM counter WHERE name = 'generation'")!

export const nextGeneration = (database: Database): void =>
  void database.run("UPDATE counter SET value = value + 1 WHERE name = 'generation'")

const marks =
  (condition: string) =>
  (database: Database, digests: ReadonlyArray<Digest>, state: "collected" | "lost"): number =>
    database.immediate(() => {
      const sql = `WITH given AS (SELECT ?) UPDATE artifact SET state = ? WHERE state = 0 AND (${condition})`
      let changed = 0
      for (const digest of digests) changed += database.run(sql, toBytes(digest), states.indexOf(state)).changes
      if (changed > 0) nextGeneration(database)
      return changed
    })

/** Marks every artifact that holds one of these objects as collected or lost: from now on its action is no hit for a consumer that must read it. */
export const markObjects = marks(
  "digest = (SELECT * FROM given) OR id IN (SELECT artifact FROM artifact_object JOIN object ON object.id = artifact_object.object WHERE object.digest = (SELECT * FROM given))"
)

/** Marks artifacts as collected or lost by their own digests (a chunk set whose item is gone has no row for the item's object). */
export const markArtifacts = marks("digest = (SELECT * FROM given)")

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

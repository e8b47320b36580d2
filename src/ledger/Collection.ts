/** What garbage collection drops, and why: a decision on what the ledger knows and the store holds. Touches neither. */
import type { Digest } from "../pipeline/Digest.ts"
import { fromBytes } from "../pipeline/Digest.ts"
import type { ArtifactId } from "./Actions.ts"
import type { Database } from "./Database.ts"
import { Counted, Needs } from "./Needs.ts"
import type { Protection } from "./Protection.ts"
import { append } from "../pipeline/lists.ts"

/** An artifact whose bytes may be dropped, unless it is protected. */
export interface Candidate {
  readonly id: ArtifactId
  readonly digest: Digest
  readonly kind: string
  /** Of the node that returned it last; undefined for an artifact that no action returned. */
  readonly label: string | undefined
  /** The later of its making and the start of the last run whose plan holds it. */
  readonly lastUsedMs: number
  /** The last run whose plan holds it. */
  readonly lastRun: number | undefined
  /** What making it again took the last time, in milliseconds; undefined where no action that returned it is known. */
  readonly costMs: number | undefined
}

/** An object of the writable store. */
export interface StoredObject {
  readonly size: number
  /** Its last change. */
  readonly modifiedMs: number
}

export interface CollectionOptions {
  readonly now: number
  /** Only artifacts that were used last more than this many milliseconds ago. */
  readonly olderThanMs?: number | undefined
  /** Only as many artifacts, the least valuable first, as it takes for the store to fit into this many bytes. */
  readonly maxBytes?: number | undefined
  /** Objects of no artifact are dropped when they are older than this; younger ones may be about to be listed. */
  readonly orphanGraceMs: number
  /** False where the objects of some artifact are not known, or where work is under way that may reuse any object. */
  readonly orphans: boolean
}

export interface Holdings {
  readonly candidates: ReadonlyArray<Candidate>
  readonly protections: ReadonlyMap<ArtifactId, Protection>
  /** What an artifact needs: its manifest, files and pages. */
  readonly objectsOf: (artifact: Candidate) => Iterable<Digest>
  /** What an object needs in turn: the items that a page lists; nothing for others. */
  readonly partsOf: (object: Digest) => Iterable<Digest>
  readonly stored: ReadonlyMap<Digest, StoredObject>
}

export interface Dropped extends Candidate {
  /** Bytes that leave the store with it: of objects that nothing kept needs, counted once. */
  readonly bytes: number
}

export interface Orphan {
  readonly digest: Digest
  readonly size: number
}

/** How much is kept for one reason. Objects that are needed for several count under the first. */
export interface Kept {
  readonly artifacts: number
  readonly bytes: number
}

export interface CollectionPlan {
  /** In the order in which they were chosen. */
  readonly dropped: ReadonlyArray<Dropped>
  readonly orphans: ReadonlyArray<Orphan>
  /** Objects that leave the store with all of these. */
  readonly objects: ReadonlyArray<Digest>
  /** Bytes of the writable store, before and after. */
  readonly before: number
  readonly after: number
  readonly kept: Readonly<Record<Protection | "not-chosen", Kept>>
  /** Bytes by which even the protected artifacts alone exceed the cap. */
  readonly excess: number
}

/** The artifacts whose bytes the ledger believes in the store, newest last. */
export const candidates = (database: Database): ReadonlyArray<Candidate> => {
  const used = new Map<number, { readonly run: number; readonly at: number }>()
  for (const row of database.all<{ action: number; run: number; at: number }>(
    `SELECT plan_node.action, max(last.run) AS run, max(last.at) AS at
     FROM (SELECT plan, max(id) AS run, max(started_ms) AS at FROM run WHERE plan IS NOT NULL GROUP BY plan) AS last
     JOIN plan_node ON plan_node.plan = last.plan WHERE plan_node.action IS NOT NULL GROUP BY plan_node.action`
  ))
    used.set(row.action, row)
  const costs = new Map<number, { readonly label: string; readonly ms: number | null }>()
  for (const row of database.all<{ action: number; label: string; ms: number | null }>(
    `SELECT action, label, ended_ms - started_ms AS ms, max(id) FROM execution WHERE status = 'done' GROUP BY action`
  ))
    costs.set(row.action, row)
  const outputs = database.all<{ action: number; artifact: number }>(
    "SELECT output.artifact, action FROM output JOIN artifact ON artifact.id = output.artifact WHERE state = 0"
  )
  const makers = Map.groupBy(outputs, ({ artifact }) => artifact)
  return database
    .all<{ id: number; digest: Buffer; kind: string; created_ms: number }>(
      "SELECT id, digest, kind, created_ms FROM artifact WHERE state = 0 ORDER BY id"
    )
    .map(row => {
      let lastUsedMs = row.created_ms
      let lastRun: number | undefined
      let label: string | undefined
      let costMs: number | undefined
      for (const { action } of makers.get(row.id) ?? []) {
        const use = used.get(action)
        if (use !== undefined) {
          lastUsedMs = Math.max(lastUsedMs, use.at)
          lastRun = Math.max(lastRun ?? 0, use.run)
        }
        const cost = costs.get(action)
        if (cost === undefined) continue
        label = cost.label
        // Any of several makers will do.
        costMs = Math.min(costMs ?? Number.POSITIVE_INFINITY, cost.ms ?? 0)
      }
      return { id: row.id, digest: fromBytes(row.digest), kind: row.kind, label, lastUsedMs, lastRun, costMs }
    })
}

/** The files and pages of all present artifacts, as the ledger lists them; pages are marked, as more objects hang on them. */
export const listedObjects = (database: Database) =>
  Map.groupBy(
    database
      .all<{ artifact: number; path: string; digest: Buffer; size: number }>(
        `SELECT artifact, path, object.digest, size FROM artifact_object JOIN object ON object.id = artifact_object.object
         JOIN artifact ON artifact.id = artifact_object.artifact WHERE state = 0`
      )
      .map(({ artifact, digest, path, size }) => ({
        artifact,
        digest: fromBytes(digest),
        size,
        page: path.startsWith("#")
      })),
    ({ artifact }) => artifact
  )

/** An artifact that was made in no time at all still costs the start of a process. */
const leastCostMs = 50

/** Byte-seconds freed per second of work to make it again: what is large, old and cheap goes first. Unknown work counts as endless. */
const uselessness = ({ costMs, lastUsedMs }: Candidate, bytes: number, now: number): number =>
  costMs === undefined ? 0 : (bytes * Math.max(1, now - lastUsedMs)) / Math.max(leastCostMs, costMs)

const precedence: ReadonlyArray<Protection> = ["pinned", "in-use", "last-runs"]

/** Decides. Artifacts that are protected or of which the writable store holds nothing are never dropped. */
export const choose = (holdings: Holdings, options: CollectionOptions): CollectionPlan => {
  const { protections, stored } = holdings
  const kept = {
    pinned: { artifacts: 0, bytes: 0 },
    "in-use": { artifacts: 0, bytes: 0 },
    "last-runs": { artifacts: 0, bytes: 0 },
    "not-chosen": { artifacts: 0, bytes: 0 }
  }
  const needs = new Needs(holdings)
  for (const candidate of holdings.candidates) needs.add(candidate)
  const counted = new Counted(holdings)
  for (const why of precedence) {
    for (const candidate of holdings.candidates) {
      if (protections.get(candidate.id) !== why) continue
      kept[why].artifacts++
      kept[why].bytes += counted.add(candidate)
    }
  }
  const leastBytes = kept.pinned.bytes + kept["in-use"].bytes + kept["last-runs"].bytes

  let before = 0
  for (const { size } of stored.values()) before += size
  let after = before
  const objects: Array<Digest> = []
  const orphans: Array<Orphan> = []
  if (options.orphans) {
    for (const [digest, { modifiedMs, size }] of stored) {
      if (needs.has(digest) || modifiedMs + options.orphanGraceMs > options.now) continue
      orphans.push({ digest, size })
      objects.push(digest)
      after -= size
    }
  }

  const limit = options.now - (options.olderThanMs ?? 0)
  const open = holdings.candidates
    .filter(candidate => !protections.has(candidate.id) && candidate.lastUsedMs <= limit)
    .map(candidate => ({ candidate, free: counted.others(candidate) }))
    // Nothing is gained by forgetting an artifact that a layer holds, or whose bytes all belong to protected ones as well.
    .filter(({ free }) => free.count > 0)
    .map(({ candidate, free }) => ({ candidate, score: uselessness(candidate, free.bytes, options.now) }))
    .sort((a, b) => b.score - a.score || a.candidate.id - b.candidate.id)
  const dropped: Array<Dropped> = []
  for (const { candidate } of open) {
    if (options.maxBytes !== undefined && after <= options.maxBytes) break
    const freed = needs.drop(candidate)
    let bytes = 0
    for (const digest of freed) bytes += stored.get(digest)!.size
    append(objects, freed)
    after -= bytes
    dropped.push({ ...candidate, bytes })
  }

  const gone = new Set(dropped.map(({ id }) => id))
  for (const candidate of holdings.candidates) {
    if (protections.has(candidate.id) || gone.has(candidate.id)) continue
    kept["not-chosen"].artifacts++
    kept["not-chosen"].bytes += counted.add(candidate)
  }
  const excess = options.maxBytes === undefined ? 0 : Math.max(0, leastBytes - options.maxBytes)
  return { dropped, orphans, objects, before, after, kept, excess }
}

/** Marks artifacts as present again, after their bytes came back. Runs inside a transaction. */
export const markPresent = (database: Database, artifacts: ReadonlyArray<ArtifactId>): void => {
  for (const id of artifacts) database.run("UPDATE artifact SET state = 0 WHERE id = ?", id)
}

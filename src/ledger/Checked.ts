/** The memory of full checks: which file had the digest of its object, and when. What is unchanged since is not hashed again. */
import { type Digest, fromBytes, toBytes } from "../pipeline/Digest.ts"
import type { Database } from "./Database.ts"

export interface Check {
  readonly digest: string
  /** Device, inode, size and times of the file; empty where it may have changed meanwhile. */
  readonly file: string
  /** When it began. */
  readonly atMs: number
}

/** Keeps checks; of several of an object the latest counts. */
export const record = (database: Database, checks: ReadonlyArray<Check>): void =>
  database.immediate(() => {
    for (const { atMs, digest, file } of checks) {
      database.run(
        `INSERT INTO checked (object, file, at_ms) VALUES (?, ?, ?)
         ON CONFLICT (object) DO UPDATE SET file = excluded.file, at_ms = excluded.at_ms WHERE excluded.at_ms > at_ms`,
        toBytes(digest),
        file,
        atMs
      )
    }
  })

/** What is known of the files of some artifacts. */
export const ofArtifacts = (
  database: Database,
  artifacts: ReadonlyArray<Digest>
): ReadonlyArray<{ readonly digest: Digest; readonly file: string }> =>
  [...new Set(artifacts)].flatMap(artifact =>
    database
      .all<{ object: Buffer; file: string }>(
        `SELECT checked.object, file FROM artifact JOIN artifact_object ON artifact_object.artifact = artifact.id
         JOIN object ON object.id = artifact_object.object JOIN checked ON checked.object = object.digest
         WHERE artifact.digest = ? AND file <> ''`,
        toBytes(artifact)
      )
      .map(({ file, object }) => ({ digest: fromBytes(object), file }))
  )

/** What is known of all files. */
export const all = (database: Database): ReadonlyArray<{ readonly digest: Digest; readonly file: string }> =>
  database
    .all<{ object: Buffer; file: string }>("SELECT object, file FROM checked WHERE file <> ''")
    .map(({ file, object }) => ({ digest: fromBytes(object), file }))

/** When an object was last known to be sound; undefined if nobody knows. */
export const lastGood = (database: Database, object: Digest): number | undefined =>
  database.get<{ at_ms: number }>("SELECT at_ms FROM checked WHERE object = ?", toBytes(object))?.at_ms

/** Forgets the file of a damaged object. What was computed from it up to now is accounted for by the caller. */
export const forget = (database: Database, object: Digest, now: number): void =>
  void database.run("INSERT OR REPLACE INTO checked (object, file, at_ms) VALUES (?, '', ?)", toBytes(object), now)

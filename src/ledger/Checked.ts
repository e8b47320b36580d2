/** The memory of full checks: which file had the digest of its object, and when. What is unchanged since is not hashed again. */
import { type Digest, toBytes } from "../pipeline/Digest.ts"
import { hex } from "./columns.ts"
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

interface CheckedFile {
  readonly digest: Digest
  readonly file: string
}

/** What is known of the files of some artifacts. */
export const ofArtifacts = (database: Database, artifacts: ReadonlyArray<Digest>): ReadonlyArray<CheckedFile> =>
  [...new Set(artifacts)].flatMap(artifact =>
    database.all<CheckedFile>(
      `SELECT ${hex("checked.object")} AS digest, file FROM artifact JOIN artifact_object ON artifact_object.artifact = artifact.id
       JOIN object ON object.id = artifact_object.object JOIN checked ON checked.object = object.digest
       WHERE artifact.digest = ? AND file <> ''`,
      toBytes(artifact)
    )
  )

/** What is known of all files. */
export const all = (database: Database): ReadonlyArray<CheckedFile> =>
  database.all(`SELECT ${hex("object")} AS digest, file FROM checked WHERE file <> ''`)

/** When an object was last known to be sound; undefined if nobody knows. */
export const lastGood = (database: Database, object: Digest): number | undefined =>
  database.value("SELECT at_ms FROM checked WHERE object = ?", toBytes(object))

/** Forgets the file of a damaged object. What was computed from it up to now is accounted for by the caller. */
export const forget = (database: Database, object: Digest, now: number): void =>
  void database.insert("checked", { object: toBytes(object), file: "", at_ms: now }, "OR REPLACE")

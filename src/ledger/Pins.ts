/** Pins: artifacts that collection never drops, each with a note that says why. */
import type { Digest } from "../pipeline/Digest.ts"
import type { ArtifactId } from "./Actions.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"

export interface Pin {
  readonly artifact: ArtifactId
  readonly digest: Digest
  readonly kind: string
  /** Bytes of its objects. */
  readonly bytes: number
  readonly present: boolean
  readonly note: string
  readonly createdMs: number
}

/** Oldest first. */
export const list = (database: Database): ReadonlyArray<Pin> =>
  database
    .all<Omit<Pin, "present"> & { readonly present: number }>(
      `SELECT pin.artifact, ${hex("digest")} AS digest, kind, bytes, state = 0 AS present, note, pin.created_ms AS createdMs
       FROM pin JOIN artifact ON artifact.id = pin.artifact ORDER BY pin.created_ms, pin.artifact`
    )
    .map(pin => ({ ...pin, present: Boolean(pin.present) }))

/** Pins artifacts; a pin that exists gets the new note, unless that is empty. */
export const add = (database: Database, artifacts: ReadonlyArray<ArtifactId>, note: string, now: number): void =>
  database.immediate(() => {
    for (const artifact of artifacts) {
      database.run(
        `INSERT INTO pin (artifact, note, created_ms) VALUES (?, ?, ?)
         ON CONFLICT (artifact) DO UPDATE SET note = CASE WHEN excluded.note = '' THEN note ELSE excluded.note END`,
        artifact,
        note,
        now
      )
    }
  })

/** Returns how many of them were pinned. */
export const remove = (database: Database, artifacts: ReadonlyArray<ArtifactId>): number =>
  database.immediate(() =>
    artifacts.reduce(
      (removed, artifact) => removed + database.run("DELETE FROM pin WHERE artifact = ?", artifact).changes,
      0
    )
  )

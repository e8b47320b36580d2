/** What running runs count on: results that they planned with or found later. Collection leaves them alone while the run lives. */
import { type Digest, fromBytes } from "../pipeline/Digest.ts"
import type { Database } from "./Database.ts"
import type { RunId } from "./Runs.ts"

const digestBytes = 32

/** One row for all of them: a row for each would dwarf everything else that a run of hits does. */
export const hold = (database: Database, run: RunId, artifacts: ReadonlyArray<Digest>): void => {
  if (artifacts.length > 0) database.insert("held", { run, artifacts: Buffer.from(artifacts.join(""), "hex") })
}

/** The digests that some runs hold. */
export const heldBy = (database: Database, runs: ReadonlyArray<RunId>): ReadonlySet<Digest> => {
  const held = new Set<Digest>()
  for (const run of runs) {
    for (const bytes of database.column<Buffer>("SELECT artifacts FROM held WHERE run = ?", run)) {
      for (let at = 0; at < bytes.length; at += digestBytes) held.add(fromBytes(bytes.subarray(at, at + digestBytes)))
    }
  }
  return held
}

/** The run has ended. */
export const release = (database: Database, run: RunId): void =>
  void database.run("DELETE FROM held WHERE run = ?", run)

/** How values of the ledger are read as the rest of the program has them: parts of a SELECT. */
import type { Digest } from "../pipeline/Digest.ts"

/** Whether an artifact's bytes are in the store. `collected`: dropped by gc on purpose; `lost`: found missing or damaged. */
export type ArtifactState = "present" | "collected" | "lost"

/** By the number that stands for each. */
export const states: ReadonlyArray<ArtifactState> = ["present", "collected", "lost"]

/** A digest, of which the ledger keeps the bytes; null where there is none. */
export const hex = (column: string): string => `nullif(lower(hex(${column})), '')`

/** An artifact in a list. */
export interface ArtifactLine {
  readonly name: string
  readonly digest: Digest
  readonly kind: string
  readonly bytes: number
  /** Of a chunk set. */
  readonly items: number | null
  readonly state: ArtifactState
}

export const stateName = "CASE artifact.state WHEN 0 THEN 'present' WHEN 1 THEN 'collected' ELSE 'lost' END"

/** All of an `ArtifactLine` but its name. */
export const artifactColumns = `${hex("artifact.digest")} AS digest, artifact.kind, artifact.bytes, artifact.items, ${stateName} AS state`

/** A port, with the name of an input of several. */
export const portName = "CASE WHEN name IS NULL THEN port ELSE port || '.' || name END"

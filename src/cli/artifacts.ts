/** The artifacts that a reference stands for, for verbs that act on artifacts but let people name runs and actions. */
import type { ArtifactId, ArtifactState } from "../ledger/Actions.ts"
import type { Database } from "../ledger/Database.ts"
import * as Suspects from "../ledger/Suspects.ts"
import { resolve } from "../ledger/References.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { type Digest, fromBytes, short } from "../pipeline/Digest.ts"

export interface NamedArtifact {
  readonly id: ArtifactId
  readonly digest: Digest
  readonly kind: string
  readonly state: ArtifactState
}

const states: ReadonlyArray<ArtifactState> = ["present", "collected", "lost"]

/** An artifact itself; of an action its outputs, of a run its targets. Never none. Throws ConfigError. */
export const artifactsOf = (database: Database, text: string): ReadonlyArray<NamedArtifact> => {
  const reference = resolve(database, text, ["artifact", "run", "action"])
  const condition =
    reference._tag === "run"
      ? "IN (SELECT artifact FROM target WHERE run = ?)"
      : reference._tag === "action"
        ? "IN (SELECT artifact FROM output WHERE action = ?)"
        : "= ?"
  const found = database
    .all<{ id: number; digest: Buffer; kind: string; state: number }>(
      `SELECT id, digest, kind, state FROM artifact WHERE id ${condition} ORDER BY id`,
      reference.id
    )
    .map(row => ({ id: row.id, digest: fromBytes(row.digest), kind: row.kind, state: states[row.state]! }))
  if (found.length === 0) {
    throw new ConfigError({
      at: text,
      message: reference._tag === "run" ? "the run came to no target" : "the action has returned nothing yet",
      advice: "name an artifact of it; `pipeline show` lists them"
    })
  }
  return found
}

/** The one artifact that a reference stands for; where it stands for several, that of a kind. Throws ConfigError. */
export const artifactOf = (database: Database, text: string, kind?: string): NamedArtifact => {
  const all = artifactsOf(database, text)
  const ofKind = all.filter(artifact => artifact.kind === kind)
  const [only, ...others] = ofKind.length === 1 ? ofKind : all
  if (others.length === 0) return only!
  throw new ConfigError({
    at: text,
    message: `stands for ${others.length + 1} artifacts`,
    advice: `name one: ${[only!, ...others].map(({ digest, kind }) => `${short(digest)} (${kind})`).join(", ")}`
  })
}

/** Says on stderr if what is about to be handed out was computed from damaged bytes. It may be looked at; it is not to be relied on. */
export const warnIfSuspect = (database: Database, { digest, id }: NamedArtifact): void => {
  const object = Suspects.ofArtifact(database, id)
  if (object !== undefined)
    process.stderr.write(
      `warning: ${short(digest)} was computed from damaged bytes (object ${short(object)}); the next run makes it again\n`
    )
}

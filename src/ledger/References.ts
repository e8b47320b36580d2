/** References: what people type to mean a run, an action, an artifact or an object. */
import { ConfigError } from "../pipeline/ConfigError.ts"
import { type Digest, short } from "../pipeline/Digest.ts"
import { closest } from "../pipeline/Suggestion.ts"
import { bytes } from "../pipeline/units.ts"
import type { ActionId, ArtifactId } from "./Actions.ts"
import { artifactColumns, type ArtifactLine, hex } from "./columns.ts"
import type { Database } from "./Database.ts"
import { pipelineNames, splitName, type Use, usesOf } from "./Names.ts"
import type { RunId } from "./Runs.ts"

export type Reference =
  | { readonly _tag: "run"; readonly id: RunId; readonly pipeline: string }
  /** `label`: the name by which it was asked for, or under which it was executed last. `use`: where it was found by a name. */
  | {
      readonly _tag: "action"
      readonly id: ActionId
      readonly key: Digest
      readonly label: string | undefined
      readonly use?: Use
    }
  | { readonly _tag: "artifact"; readonly id: ArtifactId; readonly digest: Digest; readonly kind: string }
  | { readonly _tag: "object"; readonly id: number; readonly digest: Digest }

export type ReferenceTag = Reference["_tag"]

/** Fewer digits than this are no reference: they would hit something by chance. */
export const shortestPrefix = 4

/** Candidates that an error lists. */
const listed = 8

/** The word for the newest run. */
const newest = "last"

/** Names that runs may be given: none of them is a number, a word of ours or a file. */
export const isTag = (text: string): boolean => /^[A-Za-z][\w.-]*$/.test(text) && text !== newest

/** Which references are asked for. */
export interface Asked {
  readonly accepted?: ReadonlyArray<ReferenceTag>
  /** Of the actions that had a name, the newest that returned something. */
  readonly returned?: boolean
}

/**
 * Finds what a text refers to. Forms: `41`, `run:41`, `last`, a pipeline's name (its last run), a tag or `tag:…` (the newest run of that tag); `PIPELINE/LABEL`, or `LABEL` alone (an action of the newest run that has one);
 * at least four digits of a key or digest, or `action:…`, `artifact:…`, `object:…` where both would fit.
 * Throws ConfigError for a text that refers to nothing, to several things, or to none of the `accepted` kinds.
 */
export const resolve = (
  database: Database,
  text: string,
  { accepted = ["run", "action", "artifact"], returned = false }: Asked = {}
): Reference => {
  const candidates = find(database, text, returned).filter(({ _tag }) => accepted.includes(_tag))
  const [only, ...others] = candidates
  if (only === undefined) throw unknown(database, text, accepted)
  if (others.length === 0) return only
  const more = candidates.length > listed ? [`… and ${candidates.length - listed} more`] : []
  throw new ConfigError({
    at: text,
    message: `could mean ${candidates.length > listed ? "many things" : `any of ${candidates.length}`}`,
    advice: [...candidates.slice(0, listed).map(candidate => describe(database, candidate)), ...more].join("\n  ")
  })
}

/** Everything that a text may refer to. An object that is part of an artifact is meant only when nothing else is. */
const find = (database: Database, text: string, returned = false): ReadonlyArray<Reference> => {
  const scoped = /^(run|action|artifact|object):(.+)$/.exec(text)
  if (scoped !== null) {
    const [, tag, rest] = scoped as unknown as [string, ReferenceTag, string]
    if (tag === "run") return /^\d+$/.test(rest) ? runs(database, Number(rest)) : []
    return byPrefix(database, rest, [tag])
  }
  if (text === newest) return runs(database, database.value("SELECT max(id) FROM run"))
  const run = /^\d{1,15}$/.test(text) ? runs(database, Number(text)) : []
  if (run.length > 0) return run
  const tagged = text.startsWith(tagPrefix) ? byTag(database, text.slice(tagPrefix.length)) : []
  if (tagged.length > 0) return tagged
  // A pipeline's name is that of its last run, whatever other runs are called.
  const named = [byName, byTag].map(by => by(database, text, returned)).find(found => found.length > 0)
  if (named !== undefined) return named
  const digests = byPrefix(database, text, ["action", "artifact"])
  return digests.length > 0 ? digests : byPrefix(database, text, ["object"])
}

const runs = (database: Database, id: number | null | undefined): ReadonlyArray<Reference> => {
  if (id === null || id === undefined) return []
  const row = database.get<{ id: number; pipeline: string }>("SELECT id, pipeline FROM run WHERE id = ?", id)
  return row === undefined ? [] : [{ _tag: "run", ...row }]
}

const tagPrefix = "tag:"

const byTag = (database: Database, tag: string): ReadonlyArray<Reference> =>
  runs(database, database.value("SELECT max(id) FROM run WHERE tag = ?", tag))

const byName = (database: Database, text: string, returned: boolean): ReadonlyArray<Reference> => {
  const name = splitName(database, text)
  if (name !== undefined && name.label === undefined)
    return runs(database, database.value("SELECT max(id) FROM run WHERE pipeline = ?", name.pipeline))
  return usesOf(database, text, returned).map(use => ({
    _tag: "action",
    id: use.id,
    key: use.key,
    label: use.label,
    use
  }))
}

const byPrefix = (database: Database, text: string, tags: ReadonlyArray<ReferenceTag>): ReadonlyArray<Reference> => {
  const prefix = text.toLowerCase()
  if (!/^[0-9a-f]+$/.test(prefix) || prefix.length < shortestPrefix || prefix.length > 64) return []
  const asked = <R>(column: string, rest: string, table: string) =>
    database.all<R & { readonly id: number }>(
      `SELECT id, ${hex(column)} AS ${column}${rest} FROM ${table} WHERE ${column} BETWEEN ? AND ? ORDER BY ${table}.${column} LIMIT ${listed + 1}`,
      Buffer.from(prefix.padEnd(64, "0"), "hex"),
      Buffer.from(prefix.padEnd(64, "f"), "hex")
    )
  return tags.flatMap((tag): ReadonlyArray<Reference> => {
    switch (tag) {
      case "run":
        return []
      case "action":
        return asked<{ key: Digest; label: string | null }>(
          "key",
          ", (SELECT label FROM execution WHERE execution.action = action.id ORDER BY id DESC LIMIT 1) AS label",
          "action"
        ).map(row => ({ _tag: "action", ...row, label: row.label ?? undefined }))
      case "artifact":
        return asked<{ digest: Digest; kind: string }>("digest", ", kind", "artifact").map(row => ({
          _tag: "artifact",
          ...row
        }))
      case "object":
        return asked<{ digest: Digest }>("digest", "", "object").map(row => ({ _tag: "object", ...row }))
    }
  })
}

/** One line about a reference, beginning with a text that means it alone. */
const describe = (database: Database, reference: Reference): string => {
  switch (reference._tag) {
    case "run":
      return `run:${reference.id}  a run of ${reference.pipeline}`
    case "action":
      return reference.use === undefined
        ? `action:${short(reference.key)}  ${reference.label ?? "never executed"}`
        : `${reference.use.pipeline}/${reference.use.label}`
    case "artifact": {
      const size = database.value<number>("SELECT bytes FROM artifact WHERE id = ?", reference.id)!
      return `artifact:${short(reference.digest)}  ${reference.kind}, ${bytes(size)}`
    }
    case "object":
      return `object:${short(reference.digest)}  bytes of an artifact`
  }
}

const forms: { readonly [tag in ReferenceTag]: string } = {
  run: "a run (41, run:41, last, its tag)",
  action: "an action (PIPELINE/STAGE, STAGE, or digits of its key)",
  artifact: "an artifact (digits of its digest)",
  object: "an object (digits of its digest)"
}

const unknown = (database: Database, text: string, accepted: ReadonlyArray<ReferenceTag>): ConfigError => {
  const wanted = accepted.filter(tag => tag !== "object").map(tag => forms[tag])
  const fallback = `give ${wanted.length > 1 ? `${wanted.slice(0, -1).join(", ")} or ${wanted.at(-1)}` : wanted[0]}`
  const error = (message: string, advice: string) => new ConfigError({ at: text, message, advice })
  const found = find(database, text)
  if (found.length > 0) return error(`is ${found[0]!._tag === "run" ? "a run" : `an ${found[0]!._tag}`}`, fallback)
  const last = database.value<number | null>("SELECT max(id) FROM run")
  const number = /^(?:run:)?(\d+)$/.exec(text)
  if (number !== null || text === newest)
    return error(
      "there is no such run",
      last === null ? "nothing was ever run" : `the newest is ${last}; see \`pipeline runs\``
    )
  const name = splitName(database, text)
  if (name?.label !== undefined) {
    const labels = database.column<string>(
      `SELECT DISTINCT label FROM plan_node WHERE plan = (SELECT max(plan) FROM run WHERE pipeline = ?) ORDER BY seq LIMIT 200`,
      name.pipeline
    )
    if (labels.includes(name.label))
      return error("was not reached by any run, and has no key yet", `see \`pipeline plan ${name.pipeline}\``)
    const near = closest(name.label, labels)
    return error(
      `pipeline ${name.pipeline} has no stage ${name.label}`,
      near !== undefined
        ? `did you mean ${name.pipeline}/${near}?`
        : `its stages: ${labels.slice(0, 20).join(", ")}${labels.length > 20 ? ", …" : ""}`
    )
  }
  const digits = text.replace(/^(?:action|artifact|object):/, "")
  if (/^[0-9a-f]+$/i.test(digits) && digits.length < shortestPrefix)
    return error("is too short", `give at least ${shortestPrefix} digits of a key or digest`)
  if (/^[0-9a-f]+$/i.test(digits)) return error("nothing in the ledger begins with these digits", fallback)
  const near = closest(text.split("/")[0]!, pipelineNames(database))
  return error("is not known to the ledger", near === undefined ? fallback : `did you mean ${near}?`)
}

/** An artifact by the name that it has in what was referred to: an output port, or a target. */
export interface NamedArtifact extends ArtifactLine {
  readonly id: ArtifactId
}

/** The artifacts that a reference, given as `text`, stands for: itself, the outputs of an action, or the targets of a run. Each once; never none. Throws ConfigError. */
export const artifactsOf = (database: Database, reference: Reference, text: string): ReadonlyArray<NamedArtifact> => {
  const sql = {
    artifact: "SELECT kind AS name, id AS artifact FROM artifact WHERE id = ?",
    action: "SELECT port AS name, artifact FROM output WHERE action = ?",
    run: "SELECT name, artifact FROM target WHERE run = ?",
    object: "SELECT path AS name, artifact FROM artifact_object WHERE object = ?"
  }[reference._tag]
  const found = database.all<NamedArtifact>(
    `SELECT min(named.name) AS name, artifact.id, ${artifactColumns} FROM (${sql}) AS named JOIN artifact ON artifact.id = named.artifact
     GROUP BY artifact.id ORDER BY 1`,
    reference.id
  )
  if (found.length > 0) return found
  throw new ConfigError({
    at: text,
    message: reference._tag === "run" ? "the run came to no target" : "the action has returned nothing yet",
    advice: `\`pipeline show ${/^[0-9a-f]{64}$/.test(text) ? short(text as Digest) : text}\` says more`
  })
}

/** The one artifact that `text` stands for; where it stands for several, that of a kind. Throws ConfigError. */
export const onlyOne = (all: ReadonlyArray<NamedArtifact>, text: string, kind?: string): NamedArtifact => {
  const ofKind = all.filter(artifact => artifact.kind === kind)
  const [only, ...others] = ofKind.length === 1 ? ofKind : all
  if (others.length === 0) return only!
  const named = all.slice(0, listed).map(({ digest, kind: its, name }) => `${short(digest)} (${name}, ${its})`)
  throw new ConfigError({
    at: text,
    message: `stands for ${all.length} artifacts`,
    advice: `name one: ${named.join(", ")}`
  })
}

/** Everything that the ledger holds about one run, action, artifact or object, as `pipeline show` prints it. */
import { type Digest, type Json, toBytes } from "../pipeline/Digest.ts"
import type { ActionId, ArtifactId } from "./Actions.ts"
import { artifactColumns, type ArtifactLine, hex, portName } from "./columns.ts"
import * as Suspects from "./Suspects.ts"
import type { Database } from "./Database.ts"
import { decodeDetail } from "./Difference.ts"
import type { RunId } from "./Runs.ts"
import { runRow, type RunRow } from "./RunRows.ts"
import { metricsOfAction, type Metric } from "./Series.ts"

/** One attempt. Times in milliseconds, memory in KiB; null where nobody measured it. */
export interface ExecutionLine {
  readonly run: RunId
  readonly label: string
  readonly attempt: number
  readonly status: string
  readonly class: string | null
  readonly message: string | null
  readonly startedMs: number
  readonly endedMs: number | null
  readonly cpuMs: number | null
  readonly peakKib: number | null
  /** Below the cache. */
  readonly log: string
}

const executionColumns =
  "run, label, attempt, status, class, message, started_ms AS startedMs, ended_ms AS endedMs, cpu_ms AS cpuMs, peak_kib AS peakKib, log"

export const executionsOfAction = (database: Database, action: ActionId): ReadonlyArray<ExecutionLine> =>
  database.all<ExecutionLine>(`SELECT ${executionColumns} FROM execution WHERE action = ? ORDER BY id`, action)

export const executionsOfRun = (database: Database, run: RunId): ReadonlyArray<ExecutionLine> =>
  database.all<ExecutionLine>(`SELECT ${executionColumns} FROM execution WHERE run = ? ORDER BY id`, run)

/** What became of a node in a run. `unreached`: its key never came to be known, or it was skipped. */
export interface NodeLine {
  readonly label: string
  readonly key: Digest | undefined
  readonly outcome: "reused" | "unreached" | string
}

export interface RunDetails {
  readonly run: RunRow
  readonly nodes: ReadonlyArray<NodeLine>
  readonly executions: ReadonlyArray<ExecutionLine>
  readonly targets: ReadonlyArray<ArtifactLine>
}

export const runDetails = (database: Database, id: RunId): RunDetails => {
  const run = runRow(database, id)!
  const executions = executionsOfRun(database, id)
  const last = new Map(executions.map(execution => [execution.label, execution.status]))
  const planned = database.all<{ label: string; key: Digest | null; whole: number }>(
    `SELECT label, ${hex("action.key")} AS key,
       (SELECT count(*) FROM output WHERE output.action = plan_node.action) AS whole
     FROM plan_node LEFT JOIN action ON action.id = plan_node.action WHERE plan = ? ORDER BY seq`,
    run.plan
  )
  const nodes = planned.map(({ key, label, whole }): NodeLine => ({
    label,
    key: key ?? undefined,
    outcome: last.get(label) ?? (whole > 0 ? "reused" : "unreached")
  }))
  return {
    run,
    // While a run is under way only its executions are known.
    nodes: run.plan === null ? [...last].map(([label, outcome]) => ({ label, key: undefined, outcome })) : nodes,
    executions,
    targets: database.all(
      `SELECT name, ${artifactColumns} FROM target JOIN artifact ON artifact.id = target.artifact WHERE run = ? ORDER BY name`,
      id
    )
  }
}

export interface ActionDetails {
  readonly key: Digest
  readonly stage: string
  /** Every name under which it was executed or planned. */
  readonly labels: ReadonlyArray<string>
  readonly engine: string
  /** What entered the key. */
  readonly parameters: Json
  /** As written, where that differs. */
  readonly arguments: Json | undefined
  readonly code: {
    readonly digest: Digest
    readonly modules: { readonly [path: string]: string }
    readonly packages: { readonly [name: string]: string }
  }
  readonly createdMs: number
  readonly inputs: ReadonlyArray<ArtifactLine>
  readonly outputs: ReadonlyArray<ArtifactLine>
  readonly metrics: ReadonlyArray<Metric>
  readonly executions: ReadonlyArray<ExecutionLine>
  /** Runs whose plan holds it, and the newest of them. */
  readonly usedBy: { readonly runs: number; readonly last: RunId | null }
  /** Outputs that were different when it was executed again. */
  readonly divergences: ReadonlyArray<{
    readonly port: string
    readonly before: Digest
    readonly after: Digest
    readonly run: RunId
  }>
  /** Who computes it now; look at `expiresMs`. */
  readonly lease: { readonly host: string; readonly pid: number; readonly expiresMs: number } | undefined
  /** The damaged object that it had read, or something above it: the next run makes its result again. */
  readonly suspect: Digest | undefined
}

export const actionDetails = (database: Database, id: ActionId): ActionDetails => {
  const { code, detail, ...row } = database.get<
    Pick<ActionDetails, "key" | "stage" | "engine" | "createdMs"> & {
      readonly parameters: string
      readonly arguments: string | null
      readonly code: Digest
      readonly detail: string
    }
  >(
    `SELECT ${hex("action.key")} AS key, stage.name AS stage, engine, parameters, arguments, ${hex("code.digest")} AS code, detail, action.created_ms AS createdMs
     FROM action JOIN stage ON stage.id = action.stage JOIN code ON code.id = action.code WHERE action.id = ?`,
    id
  )!
  const executions = executionsOfAction(database, id)
  const labels = database.column<string>(
    "SELECT label FROM execution WHERE action = ? UNION SELECT label FROM plan_node WHERE action = ?",
    id,
    id
  )
  return {
    ...row,
    labels,
    parameters: JSON.parse(row.parameters) as Json,
    arguments: row.arguments === null ? undefined : (JSON.parse(row.arguments) as Json),
    code: { digest: code, ...decodeDetail(detail) },
    inputs: database.all(
      `SELECT ${portName} AS name, ${artifactColumns} FROM input JOIN artifact ON artifact.id = input.artifact WHERE action = ? ORDER BY seq`,
      id
    ),
    outputs: database.all(
      `SELECT port AS name, ${artifactColumns} FROM output JOIN artifact ON artifact.id = output.artifact WHERE action = ? ORDER BY port`,
      id
    ),
    metrics: metricsOfAction(database, id, executions.at(-1)?.label ?? labels[0] ?? row.stage),
    executions,
    usedBy: database.get<{ runs: number; last: number | null }>(
      "SELECT count(*) AS runs, max(id) AS last FROM run WHERE plan IN (SELECT plan FROM plan_node WHERE action = ?)",
      id
    )!,
    divergences: database.all(
      `SELECT port, ${hex("old.digest")} AS before, ${hex("new.digest")} AS after, execution.run FROM divergence
       JOIN execution ON execution.id = divergence.execution JOIN artifact AS old ON old.id = divergence.before
       JOIN artifact AS new ON new.id = divergence.after WHERE execution.action = ? ORDER BY execution.id`,
      id
    ),
    lease: database.get("SELECT host, pid, expires_ms AS expiresMs FROM lease WHERE key = ?", toBytes(row.key)),
    suspect: Suspects.ofAction(database, id)
  }
}

/** An action in a list of producers or consumers. */
export interface ActionLine {
  readonly key: Digest
  readonly label: string
  readonly port: string
}

export interface ArtifactDetails extends Omit<ArtifactLine, "name"> {
  readonly metadata: Json
  readonly createdMs: number
  /** Files, or the pages of a chunk set. */
  readonly files: ReadonlyArray<{ readonly path: string; readonly sha256: Digest; readonly size: number }>
  readonly pages: number
  readonly producers: ReadonlyArray<ActionLine>
  readonly consumers: ReadonlyArray<ActionLine>
  readonly targets: ReadonlyArray<{ readonly run: RunId; readonly name: string }>
  /** The note of its pin. */
  readonly pin: string | undefined
  /** The damaged object from which it was computed, directly or by way of others. */
  readonly suspect: Digest | undefined
}

/** The actions that have an artifact in `input` or in `output`. */
const actionsOf = (database: Database, table: "input" | "output", port: string, id: ArtifactId) =>
  database.all<ActionLine>(
    `SELECT ${hex("action.key")} AS key, ${port} AS port,
       coalesce((SELECT label FROM execution WHERE execution.action = action.id ORDER BY id DESC LIMIT 1),
         (SELECT stage.name FROM stage WHERE stage.id = action.stage)) AS label
     FROM ${table} JOIN action ON action.id = ${table}.action WHERE artifact = ? ORDER BY action.id`,
    id
  )

export const artifactDetails = (database: Database, id: ArtifactId): ArtifactDetails => {
  const row = database.get<Omit<ArtifactLine, "name"> & { readonly metadata: string; readonly createdMs: number }>(
    `SELECT ${artifactColumns}, metadata, created_ms AS createdMs FROM artifact WHERE id = ?`,
    id
  )!
  const objects = database.all<ArtifactDetails["files"][number]>(
    `SELECT path, ${hex("digest")} AS sha256, size FROM artifact_object JOIN object ON object.id = artifact_object.object WHERE artifact = ? ORDER BY path`,
    id
  )
  // The pages of a chunk set stand under names that no file can have.
  const isPage = ({ path }: { readonly path: string }) => row.items !== null && /^#\d+$/.test(path)
  return {
    ...row,
    metadata: JSON.parse(row.metadata) as Json,
    suspect: Suspects.ofArtifact(database, id),
    files: objects.filter(object => !isPage(object)),
    pages: objects.filter(isPage).length,
    producers: actionsOf(database, "output", "port", id),
    consumers: actionsOf(database, "input", portName, id),
    targets: database.all("SELECT run, name FROM target WHERE artifact = ? ORDER BY run DESC", id),
    pin: database.value("SELECT note FROM pin WHERE artifact = ?", id)
  }
}

export interface ObjectDetails {
  readonly digest: Digest
  readonly size: number
  /** Artifacts that it is part of, with its name in each. */
  readonly partOf: ReadonlyArray<ArtifactLine>
}

export const objectDetails = (database: Database, digest: Digest): ObjectDetails => {
  const { id, size } = database.get<{ id: number; size: number }>(
    "SELECT id, size FROM object WHERE digest = ?",
    toBytes(digest)
  )!
  return {
    digest,
    size,
    partOf: database.all(
      `SELECT path AS name, ${artifactColumns} FROM artifact_object JOIN artifact ON artifact.id = artifact_object.artifact
       WHERE object = ? ORDER BY artifact.id`,
      id
    )
  }
}

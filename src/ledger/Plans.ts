/** What pipelines came to: the action of every node, kept so that the next run finds all its hits with one read. */
import { type Digest, fromBytes, sha256, toBytes } from "../pipeline/Digest.ts"
import { type ActionId, generation } from "./Actions.ts"
import type { Database } from "./Database.ts"
import { append } from "../pipeline/lists.ts"

/** A node of a finished or stopped run. Without a key it was never reached. */
export interface ResolvedNode {
  readonly label: string
  readonly key: Digest | undefined
  /** Digests of the outputs in the stage's order; empty unless all are present. */
  readonly outputs: ReadonlyArray<Digest>
}

const digestBytes = 32

/**
 * Keys and output digests of a plan in node order, as one block of bytes: reading it costs one row, where
 * the same content read from tables would cost one row per node.
 */
export class Snapshot {
  readonly planId: number
  readonly digest: Digest
  readonly #bytes: Buffer

  constructor(planId: number, digest: Digest, bytes: Buffer) {
    this.planId = planId
    this.digest = digest
    this.#bytes = bytes
  }

  /** The digest at place `i`, counting keys and outputs alike; undefined beyond the end. */
  at(i: number): Digest | undefined {
    const start = i * digestBytes
    return start + digestBytes <= this.#bytes.length
      ? (this.#bytes.toString("hex", start, start + digestBytes) as Digest)
      : undefined
  }
}

/** The newest snapshot of a pipeline under a profile, if nothing that it says may have changed since. */
export const latestSnapshot = (database: Database, pipeline: string, profile: string): Snapshot | undefined => {
  const row = database.get<{ id: number; digest: Buffer; generation: number; snapshot: Buffer }>(
    `SELECT plan.id, digest, generation, snapshot FROM run JOIN plan ON plan.id = run.plan
     WHERE run.pipeline = ? AND run.profile = ? ORDER BY run.id DESC LIMIT 1`,
    pipeline,
    profile
  )
  return row === undefined || row.generation !== generation(database)
    ? undefined
    : new Snapshot(row.id, fromBytes(row.digest), row.snapshot)
}

/** Identifies what a pipeline came to. */
export const planDigest = (pipeline: string, profile: string, nodes: ReadonlyArray<ResolvedNode>): Digest => {
  const lines: Array<string> = [`${pipeline} ${profile}`]
  for (const node of nodes) lines.push(`${node.label} ${node.key ?? ""} ${node.outputs.join(" ")}`)
  return sha256(lines.join("\n"))
}

/**
 * Finds or adds the row of a plan. Runs inside a transaction. `seen` is the generation of the ledger when the nodes were looked up:
 * if bytes were lost since, the snapshot is already out of date, and must say so.
 */
export const ensurePlan = (
  database: Database,
  pipeline: string,
  profile: string,
  nodes: ReadonlyArray<ResolvedNode>,
  seen: number
): number => {
  const digest = toBytes(planDigest(pipeline, profile, nodes))
  const known = database.get<{ id: number; generation: number }>(
    "SELECT id, generation FROM plan WHERE digest = ?",
    digest
  )
  const snapshot = () => encodeSnapshot(nodes)
  if (known !== undefined) {
    if (known.generation < seen) database.update("plan", known.id, { generation: seen, snapshot: snapshot() })
    return known.id
  }
  const about = { digest, pipeline, profile, nodes: nodes.length, cost_ms: 0, generation: seen }
  const id = database.insert("plan", { ...about, snapshot: snapshot() })
  nodes.forEach(({ key, label }, seq) => {
    const action = key && database.value<ActionId>("SELECT id FROM action WHERE key = ?", toBytes(key))
    database.insert("plan_node", { plan: id, seq, label, action })
  })
  database.run(
    `UPDATE plan SET cost_ms = (SELECT coalesce(sum(cost), 0) FROM (
       SELECT max(execution.ended_ms - execution.started_ms) AS cost FROM plan_node JOIN execution ON execution.action = plan_node.action
       WHERE plan_node.plan = ? AND execution.status = 'done' GROUP BY plan_node.action)) WHERE id = ?`,
    id,
    id
  )
  return id
}

const encodeSnapshot = (nodes: ReadonlyArray<ResolvedNode>): Buffer => {
  const nothing = "00".repeat(digestBytes)
  const parts: Array<string> = []
  // A node without known results takes one place, its key left blank: no key is all zeros.
  for (const node of nodes) {
    if (node.key === undefined || node.outputs.length === 0) parts.push(nothing)
    else append(parts, [node.key, ...node.outputs])
  }
  return Buffer.from(parts.join(""), "hex")
}

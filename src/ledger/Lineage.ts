/** Lineage: which artifacts an artifact was computed from, and which were computed from it; quick at a million edges. */
import type { ArtifactId } from "./Actions.ts"
import { artifactColumns, type ArtifactLine } from "./columns.ts"
import type { Database } from "./Database.ts"

/** `up`: to what it was computed from. `down`: to what was computed from it. */
export type Direction = "up" | "down"

/** Two ids are read as one number, `from * packing + to`: a row with one column costs half of one with two. */
const packing = 2 ** 26

/** A recursive query is cheaper than reading all edges while it visits fewer than this share of them. */
const visitedShare = 0.01
const visitedAtLeast = 2_000

const tables: { readonly [direction in Direction]: { readonly from: string; readonly to: string } } = {
  up: { from: "child", to: "parent" },
  down: { from: "parent", to: "child" }
}

/**
 * Everything that is reached from the given artifacts, these left out; ids in ascending order. `depth` bounds the steps.
 *
 * Ids mostly grow with time, but not always: an old artifact can be the result of a new action, and two actions can even make two
 * artifacts from each other. So nothing here relies on an order, and cycles end.
 */
export const reach = (
  database: Database,
  starts: ReadonlyArray<ArtifactId>,
  direction: Direction,
  depth = Number.POSITIVE_INFINITY
): Uint32Array => {
  if (starts.length === 0 || depth < 1) return new Uint32Array()
  if (Number.isFinite(depth)) return reachInSteps(database, starts, direction, depth)
  const edges = database.value<number>("SELECT count(*) FROM edge")!
  const limit = Math.max(visitedAtLeast, Math.ceil(edges * visitedShare))
  const few = reachByQuery(database, starts, direction, limit)
  if (few !== undefined) return few
  const largest = database.value<number>("SELECT max((SELECT max(child) FROM edge), (SELECT max(parent) FROM edge))")!
  return largest < packing
    ? reachByScan(database, starts, direction, largest)
    : reachByQuery(database, starts, direction, Number.MAX_SAFE_INTEGER)!
}

/** Follows the edges with a recursive query; undefined when it reaches more than `limit` artifacts. */
const reachByQuery = (
  database: Database,
  starts: ReadonlyArray<ArtifactId>,
  direction: Direction,
  limit: number
): Uint32Array | undefined => {
  const { from, to } = tables[direction]
  const rows = database.column<number>(
    `WITH RECURSIVE reached (id) AS (SELECT value FROM json_each(?) UNION SELECT ${to} FROM edge JOIN reached ON ${from} = reached.id)
     SELECT id FROM reached LIMIT ?`,
    JSON.stringify(starts),
    limit + 1
  )
  return rows.length > limit ? undefined : sorted(rows, starts)
}

/** Reads all edges in one go and follows them in memory: the time does not depend on how many are reached. `largest`: id of an edge. */
export const reachByScan = (
  database: Database,
  starts: ReadonlyArray<ArtifactId>,
  direction: Direction,
  largest: number
): Uint32Array => {
  const { from, to } = tables[direction]
  // Both directions have an index in this order. Floating-point numbers reach JavaScript faster than integers do.
  const rows = database.column<number>(`SELECT ${from} * ${packing}.0 + ${to} FROM edge ORDER BY ${from}, ${to}`)
  // Targets of the edges that leave `id` lie between first[id] and first[id + 1].
  const first = new Uint32Array(largest + 2)
  const targets = new Uint32Array(rows.length)
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!
    const source = Math.floor(row / packing)
    first[source + 1]!++
    targets[i] = row - source * packing
  }
  for (let id = 0; id <= largest; id++) first[id + 1]! += first[id]!
  const seen = new Uint8Array(largest + 1)
  const pending = new Uint32Array(largest + 1)
  let waiting = 0
  let found = 0
  for (const start of starts) {
    if (start > largest || seen[start] === 1) continue
    seen[start] = 1
    pending[waiting++] = start
  }
  while (waiting > 0) {
    const id = pending[--waiting]!
    for (let i = first[id]!; i < first[id + 1]!; i++) {
      const target = targets[i]!
      if (seen[target] === 1) continue
      seen[target] = 1
      found++
      pending[waiting++] = target
    }
  }
  for (const start of starts) if (start <= largest) seen[start] = 0
  const ids = new Uint32Array(found)
  let place = 0
  for (let id = 0; id <= largest; id++) if (seen[id] === 1) ids[place++] = id
  return ids
}

const reachInSteps = (
  database: Database,
  starts: ReadonlyArray<ArtifactId>,
  direction: Direction,
  depth: number
): Uint32Array => {
  const seen = new Set<ArtifactId>(starts)
  let frontier: ReadonlyArray<ArtifactId> = starts
  for (let step = 0; step < depth && frontier.length > 0; step++) {
    const next: Array<ArtifactId> = []
    for (const id of neighbours(database, frontier, direction)) {
      if (seen.has(id)) continue
      seen.add(id)
      next.push(id)
    }
    frontier = next
  }
  return sorted([...seen], starts)
}

const sorted = (ids: ReadonlyArray<ArtifactId>, without: ReadonlyArray<ArtifactId>): Uint32Array => {
  const left = new Set(without)
  return Uint32Array.from(ids.filter(id => !left.has(id))).sort()
}

/** The direct parents (or children) of some artifacts, each once. */
export const neighbours = (
  database: Database,
  ids: ReadonlyArray<ArtifactId>,
  direction: Direction
): ReadonlyArray<ArtifactId> => {
  const { from, to } = tables[direction]
  return ids.length === 1
    ? database.column<number>(`SELECT ${to} FROM edge WHERE ${from} = ? ORDER BY ${to}`, ids[0]!)
    : database.column<number>(
        `SELECT DISTINCT ${to} FROM edge WHERE ${from} IN (SELECT value FROM json_each(?)) ORDER BY ${to}`,
        JSON.stringify(ids)
      )
}

/** An artifact, as a picture of its lineage shows it. */
export interface LineageNode extends Omit<ArtifactLine, "name"> {
  readonly id: ArtifactId
  /** Where it was computed last; null for one that no execution here returned. */
  readonly label: string | null
}

/** What is shown of some artifacts, by id. */
export const describeNodes = (database: Database, ids: Iterable<ArtifactId>): ReadonlyMap<ArtifactId, LineageNode> => {
  const rows = database.all<LineageNode>(
    `SELECT id, ${artifactColumns},
       (SELECT execution.label FROM output JOIN execution ON execution.action = output.action
        WHERE output.artifact = artifact.id ORDER BY execution.id DESC LIMIT 1) AS label
     FROM artifact WHERE id IN (SELECT value FROM json_each(?))`,
    JSON.stringify([...ids])
  )
  return new Map(rows.map(row => [row.id, row]))
}

/** The part of the graph that is reached, starts included. */
export interface Subgraph {
  readonly starts: ReadonlyArray<ArtifactId>
  readonly nodes: ReadonlyMap<ArtifactId, LineageNode>
  /** Child first, whatever the direction. */
  readonly edges: ReadonlyArray<readonly [child: ArtifactId, parent: ArtifactId]>
}

/** Artifacts and edges within `depth` steps. With both directions: ancestors and descendants, not their other relatives. */
export const subgraph = (
  database: Database,
  starts: ReadonlyArray<ArtifactId>,
  directions: ReadonlyArray<Direction>,
  depth?: number
): Subgraph => {
  const edges = new Map<string, readonly [ArtifactId, ArtifactId]>()
  const all = new Set(starts)
  for (const direction of directions) {
    const { from } = tables[direction]
    const reached = reach(database, starts, direction, depth)
    for (const id of reached) all.add(id)
    const members = new Set([...starts, ...reached])
    const rows = database.all<{ child: number; parent: number }>(
      `SELECT child, parent FROM edge WHERE ${from} IN (SELECT value FROM json_each(?)) ORDER BY child, parent`,
      JSON.stringify([...members])
    )
    for (const { child, parent } of rows)
      if (members.has(child) && members.has(parent)) edges.set(`${child} ${parent}`, [child, parent])
  }
  return { starts, nodes: describeNodes(database, all), edges: [...edges.values()] }
}

/** What differs between runs: parameters, code, inputs, metrics, artifacts. Only that; equal things are not mentioned. */
import { type Digest, short } from "../pipeline/Digest.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"
import { decodeDetail, parameterName } from "./Difference.ts"
import type { RunId } from "./Runs.ts"
import { runRow, type RunRow } from "./RunRows.ts"

export const sections = ["stages", "parameters", "code", "inputs", "metrics", "artifacts"] as const

export type Section = (typeof sections)[number]

/** One thing that differs: its value in each run, `undefined` where the run has no such thing. */
export interface DiffRow {
  readonly section: Section
  /** The stage's label; several where all of them differ in the same way. */
  readonly labels: ReadonlyArray<string>
  /** `parameters.lr`, a module, a package, a port, a metric. Empty in section `stages`. */
  readonly name: string
  readonly values: ReadonlyArray<string | number | undefined>
}

export interface RunDiff {
  readonly runs: ReadonlyArray<RunRow>
  readonly rows: ReadonlyArray<DiffRow>
  /** Milliseconds from start to end; undefined for a run that has not ended. */
  readonly durations: ReadonlyArray<number | undefined>
}

type Facts = ReadonlyMap<string, string | number>

/** What is compared of one node. */
interface NodeFacts {
  readonly parameters: Facts
  readonly code: Facts
  readonly inputs: Facts
  readonly metrics: Facts
  readonly artifacts: Facts
}

/** Compares runs that exist. A run without a plan (it is under way, or crashed) is compared by what it executed. */
export const diffRuns = (database: Database, runs: ReadonlyArray<RunId>): RunDiff => {
  const rows = runs.map(id => runRow(database, id)!)
  const facts = rows.map(row => nodesOf(database, row))
  const labels = [...new Set(facts.flatMap(nodes => [...nodes.keys()]))]
  const found: Array<DiffRow> = []
  for (const label of labels) {
    const nodes = facts.map(each => each.get(label))
    if (nodes.some(node => node === undefined)) {
      found.push({
        section: "stages",
        labels: [label],
        name: "",
        values: nodes.map(node => (node === undefined ? undefined : "present"))
      })
    }
    // What only some of the runs have is not compared further.
    const present = nodes.filter(node => node !== undefined)
    if (present.length < 2 || present.every(node => node === present[0])) continue
    for (const section of sections) {
      if (section === "stages") continue
      for (const name of new Set(present.flatMap(node => [...node[section].keys()]))) {
        const values = nodes.map(node => node?.[section].get(name))
        const compared = nodes.flatMap((node, i) => (node === undefined ? [] : [values[i]]))
        if (compared.some(value => value !== compared[0])) found.push({ section, labels: [label], name, values })
      }
    }
  }
  return {
    runs: rows,
    durations: rows.map(row => (row.endedMs === null ? undefined : row.endedMs - row.startedMs)),
    rows: joined(found).sort((a, b) => sections.indexOf(a.section) - sections.indexOf(b.section))
  }
}

/** Nodes of one stage that differ in the same way share a row. Metrics and artifacts are each node's own. */
const joined = (rows: ReadonlyArray<DiffRow>): Array<DiffRow> => {
  const groups = new Map<string, DiffRow>()
  for (const row of rows) {
    const stage = row.labels[0]!.split("/")[0]!
    const own = row.section === "metrics" || row.section === "artifacts"
    const key = JSON.stringify([
      row.section,
      own ? row.labels[0] : stage,
      row.name,
      row.values.map(value => value ?? null)
    ])
    const group = groups.get(key)
    groups.set(key, group === undefined ? row : { ...group, labels: [...group.labels, ...row.labels] })
  }
  return [...groups.values()]
}

/** By label. Nodes with the same action are the same object, so that comparing them costs nothing. */
const nodesOf = (database: Database, run: RunRow): ReadonlyMap<string, NodeFacts> => {
  const rows = database.all<{ label: string; action: number }>(
    run.plan === null
      ? "SELECT label, action FROM execution WHERE run = ? GROUP BY label ORDER BY max(id)"
      : "SELECT label, action FROM plan_node WHERE plan = ? AND action IS NOT NULL ORDER BY seq",
    run.plan ?? run.id
  )
  return new Map(rows.map(({ action, label }) => [label, factsOf(database, action)]))
}

const remembered = new WeakMap<Database, Map<number, NodeFacts>>()

const factsOf = (database: Database, action: number): NodeFacts => {
  let known = remembered.get(database)
  if (known === undefined) remembered.set(database, (known = new Map()))
  let facts = known.get(action)
  if (facts === undefined) known.set(action, (facts = readFacts(database, action)))
  return facts
}

const readFacts = (database: Database, action: number): NodeFacts => {
  const row = database.get<{ parameters: string; detail: string; code: Digest; engine: string }>(
    `SELECT coalesce(arguments, parameters) AS parameters, detail, ${hex("code.digest")} AS code, engine
     FROM action JOIN code ON code.id = action.code WHERE action.id = ?`,
    action
  )!
  const facts = (sql: string): Facts =>
    new Map(database.all<{ name: string; value: string | number }>(sql, action).map(({ name, value }) => [name, value]))
  const shortHex = `substr(${hex("artifact.digest")}, 1, 12)`
  const { modules, packages } = decodeDetail(row.detail)
  const code = [
    ...Object.entries(packages).map(([name, version]) => [`package ${name}`, version] as const),
    ...Object.entries(modules).map(([path, digest]) => [path, digest.slice(0, 8)] as const)
  ]
  return {
    parameters: new Map([
      ...leaves(JSON.parse(row.parameters), []),
      ...(row.engine === "none" ? [] : [["engine", row.engine] as const])
    ]),
    // A fingerprint without details is compared as a whole.
    code: new Map(code.length > 0 ? code : [["code", short(row.code)]]),
    inputs: facts(
      `SELECT CASE WHEN name IS NULL THEN port || CASE WHEN count(*) OVER (PARTITION BY port) > 1
         THEN '[' || (row_number() OVER (PARTITION BY port ORDER BY seq) - 1) || ']' ELSE '' END
       ELSE port || '.' || name END AS name, ${shortHex} AS value
       FROM input JOIN artifact ON artifact.id = input.artifact WHERE action = ? ORDER BY seq`
    ),
    metrics: facts(
      `SELECT name, coalesce(value, (SELECT point.value FROM point WHERE metric = metric.id ORDER BY step DESC LIMIT 1), 'not a number') AS value
       FROM metric WHERE action = ? ORDER BY name`
    ),
    artifacts: facts(
      `SELECT port AS name, ${shortHex} AS value FROM output JOIN artifact ON artifact.id = output.artifact WHERE action = ? ORDER BY port`
    )
  }
}

/** Scalars of a JSON value by their path; an empty mapping or list counts as one. */
const leaves = (value: unknown, path: ReadonlyArray<string | number>): ReadonlyArray<readonly [string, string]> => {
  if (typeof value === "object" && value !== null) {
    const entries: ReadonlyArray<readonly [string | number, unknown]> = Array.isArray(value)
      ? value.map((item: unknown, i) => [i, item] as const)
      : Object.entries(value)
    if (entries.length > 0) return entries.flatMap(([key, below]) => leaves(below, [...path, key]))
    if (path.length === 0) return []
  }
  return [[parameterName(path).replace(/^parameters\.?/, ""), JSON.stringify(value)]]
}

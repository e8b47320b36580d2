/**
 * How long it takes to find all ancestors and descendants in a ledger with a million edges, for graphs of three shapes; beside it,
 * in the same process, the recursive query that one would write first. Run: `node bench/lineage.ts [EDGES]`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Database } from "../src/ledger/Database.ts"
import { type Direction, reach } from "../src/ledger/Lineage.ts"
import { table } from "../src/cli/terminal/style.ts"

const edges = Number(process.argv[2] ?? 1_000_000)
const repeats = 5

type Edge = readonly [child: number, parent: number]

/** mulberry32: the same graph at every run. */
const random = (() => {
  let state = 7
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
})()

interface Shape {
  readonly name: string
  readonly edges: () => Generator<Edge>
  /** An artifact with most of the others above it, and one with most of them below. */
  readonly bottom: number
  readonly top: number
  /** One with few relatives, as most questions are about. */
  readonly small: number
}

const shapes: ReadonlyArray<Shape> = [
  {
    name: "chain",
    *edges() {
      for (let i = 1; i <= edges; i++) yield [i + 1, i]
    },
    bottom: edges + 1,
    top: 1,
    small: 100
  },
  {
    name: "wide",
    // One source, many results, one report over all of them.
    *edges() {
      const middle = Math.floor(edges / 2)
      for (let i = 2; i <= middle + 1; i++) yield [i, 1]
      for (let i = 2; i <= middle + 1; i++) yield [middle + 2, i]
    },
    bottom: Math.floor(edges / 2) + 2,
    top: 1,
    small: 100
  },
  {
    name: "random",
    // Four parents each, mostly recent ones; one edge in a thousand is reversed.
    *edges() {
      const nodes = Math.floor(edges / 4)
      for (let child = 2; child <= nodes; child++) {
        const parents = new Set<number>()
        while (parents.size < Math.min(4, child - 1)) parents.add(child - 1 - Math.floor(random() ** 3 * (child - 1)))
        for (const parent of parents) yield random() < 0.001 ? [parent, child] : [child, parent]
      }
    },
    bottom: Math.floor(edges / 4),
    top: 1,
    small: 5
  }
]

const median = (values: ReadonlyArray<number>) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const measure = (run: () => number) => {
  const times: Array<number> = []
  let found = 0
  for (let i = 0; i < repeats; i++) {
    const started = performance.now()
    found = run()
    times.push(performance.now() - started)
  }
  return { found, medianMs: median(times), worstMs: Math.max(...times) }
}

const yardstick = (database: Database, start: number, direction: Direction): number => {
  const [from, to] = direction === "up" ? ["child", "parent"] : ["parent", "child"]
  return (
    database.column<number>(
      `WITH RECURSIVE reached (id) AS (VALUES (?) UNION SELECT ${to} FROM edge JOIN reached ON ${from} = reached.id) SELECT id FROM reached`,
      start
    ).length - 1
  )
}

const folder = mkdtempSync(join(tmpdir(), "pipeline-lineage-"))
const results: Array<Record<string, string | number>> = []
try {
  for (const shape of shapes) {
    const file = join(folder, `${shape.name}.db`)
    const writing = Database.open(file)
    let written = 0
    writing.immediate(() => {
      for (const [child, parent] of shape.edges()) {
        written += writing.run("INSERT OR IGNORE INTO edge (child, parent) VALUES (?, ?)", child, parent).changes
      }
    })
    writing.close()
    const database = Database.openReadonly(file)!
    const questions: ReadonlyArray<readonly [string, number, Direction]> = [
      ["all ancestors", shape.bottom, "up"],
      ["all descendants", shape.top, "down"],
      ["few", shape.small, "up"]
    ]
    for (const [question, start, direction] of questions) {
      const ours = measure(() => reach(database, [start], direction).length)
      const query = measure(() => yardstick(database, start, direction))
      if (ours.found !== query.found)
        throw new Error(`${shape.name}, ${question}: ${ours.found} found, the query finds ${query.found}`)
      results.push({
        shape: shape.name,
        edges: written,
        question,
        found: ours.found,
        medianMs: Math.round(ours.medianMs * 10) / 10,
        worstMs: Math.round(ours.worstMs * 10) / 10,
        queryMedianMs: Math.round(query.medianMs * 10) / 10,
        queryWorstMs: Math.round(query.worstMs * 10) / 10
      })
    }
    database.close()
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

const columns = Object.keys(results[0]!)
console.log(
  table([columns, ...results.map(row => columns.map(column => String(row[column])))], new Set([1, 3, 4, 5, 6, 7]))
)
const output = fileURLToPath(new URL("results/", import.meta.url))
mkdirSync(output, { recursive: true })
writeFileSync(
  join(output, "lineage.json"),
  `${JSON.stringify({ measured: new Date().toISOString().slice(0, 10), node: process.version, cpu: cpus()[0]?.model ?? "unknown", repeats, results }, null, 2)}\n`
)

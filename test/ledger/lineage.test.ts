import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { Database } from "../../src/ledger/Database.ts"
import { type Direction, neighbours, reach, reachByScan, subgraph } from "../../src/ledger/Lineage.ts"
import { LedgerScript } from "../support/ledgerScript.ts"
import { below, seeded } from "../support/random.ts"

type Edge = readonly [child: number, parent: number]

const ledgerWith = (edges: ReadonlyArray<Edge>): Database => {
  const database = Database.open(":memory:")
  database.immediate(() => {
    for (const [child, parent] of edges)
      database.run("INSERT OR IGNORE INTO edge (child, parent) VALUES (?, ?)", child, parent)
  })
  return database
}

/** The obvious way: a list of edges, walked step by step. */
const bruteForce = (
  edges: ReadonlyArray<Edge>,
  starts: ReadonlyArray<number>,
  direction: Direction,
  depth = Number.POSITIVE_INFINITY
): ReadonlyArray<number> => {
  const seen = new Set(starts)
  let frontier = new Set(starts)
  for (let step = 0; step < depth && frontier.size > 0; step++) {
    const next = new Set<number>()
    for (const [child, parent] of edges) {
      const [from, to] = direction === "up" ? [child, parent] : [parent, child]
      if (frontier.has(from) && !seen.has(to)) next.add(to)
    }
    for (const id of next) seen.add(id)
    frontier = next
  }
  return [...seen].filter(id => !starts.includes(id)).sort((a, b) => a - b)
}

/** Any directed graph: edges against the order of ids, and cycles, which two actions that undo each other make. */
const graphs = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 24 })), { maxLength: 60 })
  .map(edges => edges.filter(([child, parent]) => child !== parent))
const starts = fc.uniqueArray(fc.integer({ min: 1, max: 26 }), { minLength: 1, maxLength: 3 })
const directions = fc.constantFrom<Direction>("up", "down")

describe("lineage", () => {
  it("finds what brute force finds, in both ways, with reversed edges and cycles", () => {
    fc.assert(
      fc.property(graphs, starts, directions, (edges, from, direction) => {
        const database = ledgerWith(edges)
        const expected = bruteForce(edges, from, direction)
        assert.deepStrictEqual([...reach(database, from, direction)], expected)
        assert.deepStrictEqual([...reachByScan(database, from, direction, 24)], expected)
        database.close()
      }),
      { numRuns: 200 }
    )
  })

  it("finds what brute force finds within a number of steps", () => {
    fc.assert(
      fc.property(graphs, starts, directions, fc.integer({ min: 1, max: 5 }), (edges, from, direction, depth) => {
        const database = ledgerWith(edges)
        assert.deepStrictEqual([...reach(database, from, direction, depth)], bruteForce(edges, from, direction, depth))
        database.close()
      }),
      { numRuns: 100 }
    )
  })

  it("answers the same however much is reached: a chain longer than what one query follows", () => {
    const length = 30_000
    const database = ledgerWith(Array.from({ length }, (_, i) => [i + 2, i + 1] as const))
    assert.isTrue(reach(database, [length + 1], "up").every((id, i) => id === i + 1))
    assert.strictEqual(reach(database, [length + 1], "up").length, length)
    assert.isTrue(reach(database, [1], "down").every((id, i) => id === i + 2))
    assert.strictEqual(reach(database, [1], "down").length, length)
    assert.strictEqual(reach(database, [50], "up").length, 49)
    assert.strictEqual(reach(database, [length + 1], "up", 7).length, 7)
  })

  it("agrees with the recursive query on a large random graph with reversed edges", () => {
    const random = seeded(11)
    const edges: Array<Edge> = []
    for (let child = 2; child <= 8000; child++) {
      for (let i = 0; i < 3; i++) {
        const parent = 1 + below(random, child - 1)
        edges.push(random() < 0.05 ? [parent, child] : [child, parent])
      }
    }
    const database = ledgerWith(edges)
    let largest = 0
    for (const [start, direction] of [
      [8000, "up"],
      [1, "down"],
      [4000, "up"],
      [4000, "down"]
    ] as const) {
      const [from, to] = direction === "up" ? ["child", "parent"] : ["parent", "child"]
      const expected = database.column<number>(
        `WITH RECURSIVE r (id) AS (VALUES (?) UNION SELECT ${to} FROM edge JOIN r ON ${from} = r.id) SELECT id FROM r WHERE id <> ? ORDER BY id`,
        start,
        start
      )
      largest = Math.max(largest, expected.length)
      assert.strictEqual(reach(database, [start], direction).join(), expected.join())
    }
    // More than what is asked of a query: all edges were read.
    assert.isAbove(largest, 2000)
  })

  it("an artifact that nothing is known of has no relatives", () => {
    const database = ledgerWith([[2, 1]])
    assert.deepStrictEqual([...reach(database, [99], "up")], [])
    assert.deepStrictEqual([...reachByScan(database, [99], "down", 2)], [])
    assert.deepStrictEqual([...reach(database, [], "up")], [])
  })

  it("neighbours are one step away, each once", () => {
    const database = ledgerWith([
      [3, 1],
      [4, 1],
      [4, 2]
    ])
    assert.deepStrictEqual([...neighbours(database, [3, 4], "up")], [1, 2])
    assert.deepStrictEqual([...neighbours(database, [1], "down")], [3, 4])
  })

  it("a subgraph of both directions holds ancestors and descendants, but not other relatives", () => {
    const script = new LedgerScript()
    const { done } = script.run({
      executes: [
        { label: "source/a", parameters: { n: 1 } },
        { label: "source/b", parameters: { n: 2 } }
      ]
    })
    const [a, b] = done.map(each => each.outputs["out"]!) as [never, never]
    const { done: middle } = script.run({
      executes: [
        { label: "join", inputs: { left: a, right: b } },
        { label: "alone", inputs: { left: b } }
      ]
    })
    const { done: end } = script.run({ executes: [{ label: "report", inputs: { of: middle[0]!.outputs["out"]! } }] })
    const join = script.database.get<{ id: number }>(
      "SELECT artifact AS id FROM output WHERE action = ?",
      middle[0]!.action
    )!.id
    const graph = subgraph(script.database, [join], ["up", "down"])
    const labels = [...graph.nodes.values()].map(node => node.label).sort()
    assert.deepStrictEqual(labels, ["join", "report", "source/a", "source/b"])
    assert.strictEqual(graph.edges.length, 3)
    assert.isTrue([...graph.nodes.values()].some(node => node.digest === end[0]!.outputs["out"]))
  })
})

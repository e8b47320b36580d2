import { assert, describe, it } from "vitest"
import { toDot, toJson, toMermaid } from "../../src/cli/text/lineageFormats.ts"
import { renderTree } from "../../src/cli/text/lineageTree.ts"
import { styleOf } from "../../src/cli/terminal/style.ts"
import { markArtifacts } from "../../src/ledger/Actions.ts"
import { subgraph } from "../../src/ledger/Lineage.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

process.env["NO_COLOR"] = "1"
const style = styleOf(process.stdout)

/** base -> left, right -> report: the base is reached twice. */
const diamond = () => {
  const script = new LedgerScript()
  const base = script.run({ executes: [{ label: "base" }] }).done[0]!.outputs["out"]!
  const [left, right] = script
    .run({
      executes: [
        { label: "side/left", parameters: { n: 1 }, inputs: { base } },
        { label: "side/right", parameters: { n: 2 }, inputs: { base } }
      ]
    })
    .done.map(({ outputs }) => outputs["out"]!)
  const { done } = script.run({ executes: [{ label: "report", inputs: { left: left!, right: right! } }] })
  const id = (action: number) =>
    script.database.get<{ id: number }>("SELECT artifact AS id FROM output WHERE action = ?", action)!.id
  return { script, base, report: id(done[0]!.action), source: 1 }
}

const shape = (lines: ReadonlyArray<string>) =>
  lines.map(line => line.replace(/ {2}text.*?(?=( {2}\(shown above\)| {2}…)?$)/, "").trimEnd())

describe("lineage as a tree", () => {
  it("prints what branches share once", () => {
    const { report, script } = diamond()
    script.run({ executes: [{ label: "root" }] })
    assert.deepStrictEqual(shape(renderTree(script.database, [report], ["up"], undefined, style)), [
      "report",
      "├─ side/left",
      "│  └─ base",
      "└─ side/right",
      "   └─ base",
      "3 ancestors"
    ])
  })

  it("says of a subtree that was printed already where it is", () => {
    const { report, script } = diamond()
    // Now the base has a source of its own, so that repeating it would repeat a branch.
    const { done } = script.run({ executes: [{ label: "documents" }] })
    script.database.run(
      "INSERT INTO edge (child, parent) SELECT 1, artifact FROM output WHERE action = ?",
      done[0]!.action
    )
    const lines = shape(renderTree(script.database, [report], ["up"], undefined, style))
    assert.deepStrictEqual(lines, [
      "report",
      "├─ side/left",
      "│  └─ base",
      "│     └─ documents",
      "└─ side/right",
      "   └─ base  (shown above)",
      "4 ancestors"
    ])
  })

  it("stops at a depth and says that there is more; goes down as well as up", () => {
    const { script, source } = diamond()
    assert.deepStrictEqual(shape(renderTree(script.database, [source], ["down"], 1, style)), [
      "base",
      "├─ side/left  …",
      "└─ side/right  …",
      "2 descendants"
    ])
  })

  it("ends where two artifacts were made from each other", () => {
    const { script } = diamond()
    script.database.run("INSERT INTO edge (child, parent) VALUES (1, 2)")
    const lines = renderTree(script.database, [1], ["up"], undefined, style)
    assert.isBelow(lines.length, 10)
    assert.isTrue(lines.some(line => line.includes("shown above")))
  })

  it("prints some hundred lines of a chain of thousands, and counts all of it", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ label: "start" }] })
    script.database.immediate(() => {
      for (let id = 2; id <= 5000; id++) {
        script.database.run(
          "INSERT INTO artifact (id, digest, kind, bytes, metadata, created_ms) VALUES (?, ?, 'text', 1, '{}', 0)",
          id,
          Buffer.from(String(id).padStart(64, "0"), "hex")
        )
        script.database.run("INSERT INTO edge (child, parent) VALUES (?, ?)", id, id - 1)
      }
    })
    const lines = renderTree(script.database, [5000], ["up"], undefined, style)
    assert.isBelow(lines.length, 500)
    assert.strictEqual(lines.at(-1), "4,999 ancestors")
  })

  it("marks artifacts whose bytes are gone", () => {
    const { base, report, script } = diamond()
    markArtifacts(script.database, [base], "collected")
    const lines = renderTree(script.database, [report], ["up"], undefined, style)
    assert.isTrue(lines.filter(line => line.includes("base")).every(line => line.includes("collected")))
  })
})

describe("lineage for other programs", () => {
  const { report, script } = diamond()
  const graph = subgraph(script.database, [report], ["up"])

  it("JSON names artifacts by digest, and every edge leads between two of them", () => {
    const { artifacts, edges, of } = toJson(graph)
    const digests = new Set(artifacts.map(({ digest }) => digest))
    assert.strictEqual(artifacts.length, 4)
    assert.strictEqual(edges.length, 4)
    for (const { child, parent } of edges) assert.isTrue(digests.has(child) && digests.has(parent))
    assert.deepStrictEqual(
      of.map(digest => artifacts.find(artifact => artifact.digest === digest)!.label),
      ["report"]
    )
  })

  it("DOT and Mermaid have a node for each artifact and an arrow for each edge", () => {
    const dot = toDot(graph).split("\n")
    assert.strictEqual(dot.filter(line => line.includes("[label=")).length, 4)
    assert.strictEqual(dot.filter(line => line.includes(" -> ")).length, 4)
    const mermaid = toMermaid(graph).split("\n")
    assert.strictEqual(mermaid.filter(line => /^ {2}n\d+\[/.test(line)).length, 4)
    assert.strictEqual(mermaid.filter(line => line.includes(" --> ")).length, 4)
  })

  it("no label can break out of its quotes", () => {
    const odd = {
      ...graph,
      nodes: new Map([[1, { ...graph.nodes.get(1)!, label: `a"] --> b\\ <script>` }]]),
      edges: [],
      starts: []
    }
    assert.include(toDot(odd), `label="a\\"] --> b\\\\ <script>`)
    assert.include(toMermaid(odd), `["a#quot;] --#gt; b\\ #lt;script#gt;<br>`)
  })
})

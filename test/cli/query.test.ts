import { assert, describe, it } from "vitest"
import { formatRows } from "../../src/cli/text/rows.ts"
import { needsRun, queries } from "../../src/ledger/queries.ts"
import { sha256, toBytes } from "../../src/pipeline/Digest.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

const script = new LedgerScript()
const { done } = script.run({
  executes: [
    { label: "source/a", parameters: { n: 1 }, ms: 5000 },
    { label: "source/b", parameters: { n: 2 } }
  ]
})
script.run({
  executes: [
    {
      label: "train",
      inputs: { left: done[0]!.outputs["out"]!, right: done[1]!.outputs["out"]! },
      metrics: [
        { name: "loss", step: 1, value: 3 },
        { name: "loss", step: 2, value: 2 },
        { name: "accuracy", value: 0.5 }
      ]
    },
    { label: "broken", fails: "no memory" }
  ],
  status: "failed"
})
const again = script.run({ status: "running" })
script.execute(again.run, { label: "source/a", parameters: { n: 1 }, outputs: { out: "other bytes" } })

const answer = (name: string, run = 2) => {
  const { columns, rows } = script.database.table(queries[name]!.sql.replaceAll(":run", String(run)))
  return rows.map(row => Object.fromEntries(columns.map((column, i) => [column, row[i]])))
}

describe("named queries", () => {
  it.each(Object.keys(queries))("%s runs on any ledger, and says what it is about", name => {
    const { about } = queries[name]!
    assert.match(about, /^[A-Z].*[a-z)]$/)
    assert.doesNotThrow(() => answer(name))
    assert.doesNotThrow(() => new LedgerScript().database.table(queries[name]!.sql.replaceAll(":run", "1")))
    assert.notMatch(queries[name]!.sql.replaceAll(":run", ""), /[?:@$][a-z]/, "its only parameter is :run")
  })

  it("hit-rate tells of a run that has not ended what it executed, and nothing of what it reused", () => {
    const [running, failed] = answer("hit-rate")
    assert.deepInclude(running, { run: 3, executed: 1, reused: null, reused_percent: null, saved_s: null })
    assert.deepInclude(failed, { run: 2, executed: 2, reused: 0, reused_percent: 0 })
  })

  it("slowest-stages puts the stage with most time first", () => {
    assert.deepInclude(answer("slowest-stages")[0], { stage: "source", executions: 3 })
  })

  it("metrics gives final values, and the last point of a series without one", () => {
    assert.deepStrictEqual(answer("metrics"), [
      { label: "train", name: "accuracy", value: 0.5, points: 0 },
      { label: "train", name: "loss", value: 2, points: 2 }
    ])
  })

  it("failures holds the message and the log", () => {
    assert.deepInclude(answer("failures")[0], { label: "broken", message: "no memory", log: "logs/2/broken.1.log" })
    assert.strictEqual(answer("failures").length, 1)
  })

  it("from a result to its sources, and from a source to everything that saw it", () => {
    assert.deepStrictEqual(
      answer("from-sources").map(row => row["target"]),
      ["train.out", "train.out"]
    )
    const seen = answer("saw-sources")
    assert.strictEqual(seen.length, 2)
    assert.isTrue(seen.every(row => row["label"] === "train"))
  })

  it("not-reproducible names actions that returned other bytes", () => {
    assert.deepInclude(answer("not-reproducible")[0], { label: "source/a", port: "out", run: again.run })
  })

  it("only those that contain :run are about a run", () => {
    assert.isTrue(needsRun(queries["metrics"]!))
    assert.isFalse(needsRun(queries["failures"]!))
  })
})

describe("printed rows", () => {
  const digest = sha256("x")
  const columns = ["digest", "text", "n"]
  const rows = [
    [toBytes(digest), 'a "quoted", text\nwith a line', 1.5],
    [null, "plain", null]
  ]

  it("table: short digests, one line a row, numbers to the right", () => {
    const [text] = formatRows(columns, rows, "table")
    assert.strictEqual(text!.split("\n").length, 3)
    assert.include(text!, digest.slice(0, 12))
    assert.notInclude(text!, digest)
    assert.include(formatRows(columns, [], "table").join("\n"), "no rows")
  })

  it("csv: whole digests, quoted as RFC 4180 says", () => {
    assert.deepStrictEqual(formatRows(columns, rows, "csv"), [
      "digest,text,n",
      `${digest},"a ""quoted"", text\nwith a line",1.5`,
      ",plain,"
    ])
  })

  it("json: whole digests, null where there is nothing", () => {
    assert.deepStrictEqual(JSON.parse(formatRows(columns, rows, "json")[0]!), [
      { digest, text: 'a "quoted", text\nwith a line', n: 1.5 },
      { digest: null, text: "plain", n: null }
    ])
  })
})

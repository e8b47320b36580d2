import { assert, describe, it } from "vitest"
import { showAction, showArtifact, showObject, showRun } from "../../src/cli/text/showText.ts"
import { styleOf } from "../../src/cli/terminal/style.ts"
import { markArtifacts } from "../../src/ledger/Actions.ts"
import { actionDetails, artifactDetails, objectDetails, runDetails } from "../../src/ledger/Details.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { LedgerScript, manifestOf } from "../support/ledgerScript.ts"

process.env["NO_COLOR"] = "1"
const style = styleOf(process.stdout)

const script = new LedgerScript()
const { database } = script
const first = script.run({
  executes: [
    { label: "source", parameters: { text: "hello" }, outputs: { out: "hello" }, packages: { effect: "4.1.0" } }
  ]
})
const input = first.done[0]!.outputs["out"]!
const second = script.run({
  executes: [
    {
      label: "train",
      parameters: { deep: { lr: 0.5 } },
      inputs: { "texts.a": input },
      outputs: { weights: "w", log: "l" },
      metrics: [{ name: "loss", value: 2 }]
    },
    { label: "broken", fails: "out of memory" }
  ],
  reuses: [first.done[0]!],
  status: "failed"
})
const train = second.done[0]!

describe("show", () => {
  it("of a run: what was executed, reused and failed, and its targets", () => {
    const details = runDetails(database, second.run)
    assert.deepStrictEqual(
      details.nodes.map(({ label, outcome }) => `${label} ${outcome}`),
      ["source reused", "train done", "broken failed"]
    )
    assert.deepStrictEqual(
      details.targets.map(({ name }) => name),
      ["train.log", "train.weights"]
    )
    const text = showRun(details, script.now, style).join("\n")
    for (const part of [
      "run 2  demo, profile small  failed",
      "2 executed, 1 reused, 1 failed",
      "broken: permanent: out of memory",
      "logs/2/train.1.log"
    ])
      assert.include(text, part)
  })

  it("of a run under way: what it executes", () => {
    const own = new LedgerScript()
    const { run } = own.run({ executes: [{ label: "a" }], status: "running" })
    assert.deepStrictEqual(
      runDetails(own.database, run).nodes.map(({ label, outcome }) => `${label} ${outcome}`),
      ["a done"]
    )
  })

  it("of an action: parameters, inputs, outputs, metrics, executions", () => {
    const text = showAction(actionDetails(database, train.action), script.now, style).join("\n")
    for (const part of [
      train.key,
      "deep.lr  0.5",
      `texts.a  text  ${input.slice(0, 12)}`,
      "weights",
      "loss",
      "used by 1 run, last by run 2"
    ])
      assert.include(text, part)
    assert.match(text, /took +cpu +peak +log/)
    assert.match(text, /2\.10 MB|2\.1 MB/)
  })

  it("of an action without result says so", () => {
    const text = showAction(actionDetails(database, second.done[1]!.action), script.now, style).join("\n")
    assert.include(text, "it has no result")
  })

  it("of an action shows both what was written and what it stood for", () => {
    const own = new LedgerScript()
    const { done } = own.run({ executes: [{ label: "download", parameters: { sha256: "abc" } }] })
    own.database.run('UPDATE action SET arguments = \'{"file":"x.txt"}\'')
    const text = showAction(actionDetails(own.database, done[0]!.action), own.now, style).join("\n")
    assert.match(text, /parameters\n +file +"x\.txt"/)
    assert.match(text, /what they stand for in the key\n +sha256 +"abc"/)
  })

  it("of an artifact: files, metadata, who made it, who used it, whose target it is", () => {
    const id = database.get<{ id: number }>(
      "SELECT artifact AS id FROM output WHERE action = ?",
      first.done[0]!.action
    )!.id
    database.run("INSERT INTO pin (artifact, note, created_ms) VALUES (?, 'keep me', 0)", id)
    const text = showArtifact(artifactDetails(database, id), [], script.now, style).join("\n")
    for (const part of [input, "text.txt", sha256("hello"), "letters  5", "pinned: keep me", "run 1, as source.out"])
      assert.include(text, part)
    assert.match(text, /made by\n +source +out/)
    assert.match(text, /used by\n +train +texts\.a/)
  })

  it("of a chunk set: the number of its items, and the first of them", () => {
    const own = new LedgerScript()
    own.run({ executes: [{ label: "bag" }] })
    own.database.run("UPDATE artifact SET items = 7")
    own.database.run("UPDATE artifact_object SET path = '#000000'")
    const details = artifactDetails(own.database, 1)
    assert.strictEqual(details.pages, 1)
    assert.deepStrictEqual(details.files, [])
    const item = { key: sha256("k"), note: { n: 1 }, size: 3, object: undefined }
    const text = showArtifact(details, [item], own.now, style).join("\n")
    assert.match(text, /7 items in 1 page,/)
    assert.include(text, `${item.key.slice(0, 12)}  3 B  {"n":1}`)
    assert.include(text, "… and 6 more")
    assert.include(showArtifact(details, [], own.now, style).join("\n"), "cannot be read")
  })

  it("says what happened to bytes that are gone", () => {
    const own = new LedgerScript()
    const { done } = own.run({ executes: [{ label: "a" }, { label: "b" }] })
    markArtifacts(own.database, [done[0]!.outputs["out"]!], "collected")
    markArtifacts(own.database, [done[1]!.outputs["out"]!], "lost")
    assert.include(showArtifact(artifactDetails(own.database, 1), [], own.now, style).join("\n"), "were dropped")
    assert.include(showArtifact(artifactDetails(own.database, 2), [], own.now, style).join("\n"), "missing or damaged")
  })

  it("of an object: where it is, and of which artifacts it is a part", () => {
    const { sha256: digest } = manifestOf("hello").files[0]!
    const text = showObject(objectDetails(database, digest), "/somewhere", style).join("\n")
    assert.include(text, "/somewhere")
    assert.include(text, input.slice(0, 12))
    assert.include(showObject(objectDetails(database, digest), undefined, style).join("\n"), "not in the store")
  })
})

import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import type { Database } from "../../src/ledger/Database.ts"
import { objectDetails } from "../../src/ledger/Details.ts"
import { fromEarlier } from "../../src/ledger/Names.ts"
import { artifactsOf as artifactsOfReference, isTag, onlyOne, resolve } from "../../src/ledger/References.ts"
import { ConfigError } from "../../src/pipeline/ConfigError.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { LedgerScript, manifestOf } from "../support/ledgerScript.ts"

const errorOf = (run: () => unknown): ConfigError => {
  try {
    run()
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error("it did not fail")
}

const artifactsOf = (database: Database, text: string) =>
  artifactsOfReference(database, resolve(database, text, { returned: true }), text)
const artifactOf = (database: Database, text: string) => onlyOne(artifactsOf(database, text), text)

const script = new LedgerScript()
const first = script.run({ executes: [{ label: "source" }, { label: "train/a", outputs: { weights: "w", log: "l" } }] })
const second = script.run({ executes: [{ label: "train/a", parameters: { lr: 2 } }], reuses: [first.done[0]!] })
const other = script.run({ pipeline: "demo-two", executes: [{ label: "source", parameters: { n: 1 } }] })
const { database } = script

describe("references", () => {
  it("a number is a run, with and without run:", () => {
    for (const text of ["1", "run:1"])
      assert.deepInclude(resolve(database, text), { _tag: "run", id: 1, pipeline: "demo" })
    assert.deepInclude(resolve(database, "last"), { _tag: "run", id: other.run })
  })

  it("a pipeline's name is its last run, the longest name that fits first", () => {
    assert.deepInclude(resolve(database, "demo"), { id: second.run })
    assert.deepInclude(resolve(database, "demo-two"), { id: other.run })
  })

  it("PIPELINE/LABEL is the action of the last run, executed or reused", () => {
    assert.deepInclude(resolve(database, "demo/train/a"), {
      _tag: "action",
      key: second.done[0]!.key,
      label: "train/a"
    })
    assert.deepInclude(resolve(database, "demo/source"), { _tag: "action", key: first.done[0]!.key })
    assert.deepInclude(resolve(database, "demo-two/source"), { key: other.done[0]!.key })
  })

  it("PIPELINE/LABEL is found in a run that is still under way", () => {
    const own = new LedgerScript()
    own.run({ executes: [{ label: "source" }] })
    const running = own.run({ executes: [{ label: "source", parameters: { n: 2 } }], status: "running" })
    assert.deepInclude(resolve(own.database, "demo/source"), { key: running.done[0]!.key })
  })

  it("a label that was dropped later is found in the run that had it", () => {
    const own = new LedgerScript()
    const { done } = own.run({ executes: [{ label: "old" }] })
    own.run({ executes: [{ label: "new" }] })
    assert.deepInclude(resolve(own.database, "demo/old"), { key: done[0]!.key })
  })

  it("every prefix of a key or digest that is long enough and belongs to nothing else finds it", () => {
    const { key } = second.done[0]!
    const digest = second.done[0]!.outputs["out"]!
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 64 }), fc.boolean(), (length, upper) => {
        const spelt = (text: string) => (upper ? text.slice(0, length).toUpperCase() : text.slice(0, length))
        // A prefix of digits only could be the number of a run; there are three.
        assert.deepInclude(resolve(database, `action:${spelt(key)}`), { _tag: "action", key })
        assert.deepInclude(resolve(database, `artifact:${spelt(digest)}`), { _tag: "artifact", digest })
        assert.deepInclude(resolve(database, spelt(digest)), { _tag: "artifact", digest })
      })
    )
  })

  it("odd numbers of digits count every digit", () => {
    const { key } = second.done[0]!
    const wrong = key[8] === "0" ? "1" : "0"
    assert.strictEqual(
      errorOf(() => resolve(database, `action:${key.slice(0, 8)}${wrong}`)).message,
      "nothing in the ledger begins with these digits"
    )
  })

  it("an ambiguous prefix lists the candidates, each by a text that means it alone", () => {
    const crowded = new LedgerScript()
    // Enough artifacts that some share four digits.
    crowded.run({
      executes: [
        { label: "many", outputs: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`o${i}`, `content ${i}`])) }
      ]
    })
    const digests = crowded.database
      .column<Buffer>("SELECT digest FROM artifact")
      .map(digest => Buffer.from(digest).toString("hex"))
    const counts = new Map<string, number>()
    for (const digest of digests) counts.set(digest.slice(0, 4), (counts.get(digest.slice(0, 4)) ?? 0) + 1)
    const shared = [...counts].find(([prefix, n]) => n > 1 && !/^\d+$/.test(prefix))![0]
    const error = errorOf(() => resolve(crowded.database, shared))
    assert.strictEqual(error.at, shared)
    assert.match(error.message, /could mean any of 2/)
    const listed = error.advice!.split("\n").map(line => line.trim().split(/\s/)[0]!)
    assert.strictEqual(listed.length, 2)
    for (const text of listed) assert.match(resolve(crowded.database, text)._tag, /artifact|action/)
  })

  it("what is both an action and an artifact is ambiguous unless only one is accepted", () => {
    const { key } = first.done[0]!
    const twin = new LedgerScript()
    const { done } = twin.run({ executes: [{ label: "source" }] })
    // An artifact whose digest begins as the key does cannot be made by hashing; the ledger does not care.
    twin.database.run(
      "INSERT INTO artifact (digest, kind, bytes, metadata, created_ms) VALUES (?, 'text', 1, '{}', 0)",
      Buffer.from(`${key.slice(0, 20)}${"a".repeat(44)}`, "hex")
    )
    const prefix = key.slice(0, 10)
    assert.match(errorOf(() => resolve(twin.database, prefix)).message, /could mean/)
    assert.deepInclude(resolve(twin.database, prefix, { accepted: ["action"] }), {
      _tag: "action",
      id: done[0]!.action
    })
    assert.deepInclude(resolve(twin.database, `artifact:${prefix}`), { _tag: "artifact" })
  })

  it("an object is found when nothing else is, and only by those who accept one", () => {
    const object = manifestOf("w").files[0]!.sha256
    assert.deepInclude(resolve(database, object, { accepted: ["artifact", "object"] }), {
      _tag: "object",
      digest: object
    })
    const error = errorOf(() => resolve(database, object))
    assert.match(error.message, /is an object/)
    const parts = objectDetails(database, object).partOf
    assert.deepStrictEqual(
      parts.map(part => part.digest),
      [first.done[1]!.outputs["weights"]!]
    )
  })

  it.each([
    ["99", /no such run/, /newest is 3/],
    ["run:99", /no such run/, /newest is 3/],
    ["abc", /too short/, /at least 4/],
    [sha256("nothing"), /begins with these digits/, /give a run/],
    ["demo/trian/a", /pipeline demo has no stage trian\/a/, /did you mean demo\/train\/a/],
    ["demo/zzz", /has no stage zzz/, /its stages: /],
    ["dema", /not known/, /did you mean demo/],
    ["", /not known/, /give a run/],
    ["run:x", /not known/, /give a run/],
    ["'; DROP TABLE run; --", /not known/, /give a run/]
  ])("says what is wrong with %j, and what would be right", (text, message, advice) => {
    const error = errorOf(() => resolve(database, text))
    assert.strictEqual(error.at, text)
    assert.match(error.message, message)
    assert.match(error.advice ?? "", advice)
  })

  it("says so when a reference is of a kind that was not asked for", () => {
    const error = errorOf(() => resolve(database, "demo/source", { accepted: ["run"] }))
    assert.match(error.message, /is an action/)
    assert.match(error.advice ?? "", /give a run/)
  })

  it("a node without a key is known, but not reached", () => {
    const own = new LedgerScript()
    own.run({ executes: [{ label: "source", fails: "no" }] })
    own.database.run("INSERT INTO plan_node (plan, seq, label, action) VALUES (1, 7, 'below', NULL)")
    assert.match(errorOf(() => resolve(own.database, "demo/below")).message, /was not reached/)
  })

  it("an action stands for its outputs, a run for its targets; where one is meant, several are an error", () => {
    assert.deepStrictEqual(
      artifactsOf(database, "1").map(({ name }) => name),
      ["source.out", "train/a.log", "train/a.weights"]
    )
    assert.strictEqual(artifactOf(database, "demo/source").digest, first.done[0]!.outputs["out"])
    const error = errorOf(() => artifactOf(database, first.done[1]!.key))
    assert.match(error.message, /stands for 2 artifacts/)
    assert.include(error.advice ?? "", "weights")
    const own = new LedgerScript()
    own.run({ executes: [{ label: "source", fails: "no" }] })
    assert.match(errorOf(() => artifactOf(own.database, "demo/source")).message, /has returned nothing/)
  })

  it("a label alone is found in whichever pipeline has it; where several have, they are listed", () => {
    assert.deepInclude(resolve(database, "train/a"), { key: second.done[0]!.key, label: "train/a" })
    const error = errorOf(() => resolve(database, "source"))
    assert.match(error.message, /could mean any of 2/)
    assert.deepStrictEqual(
      error.advice!.split("\n").map(line => line.trim()),
      ["demo/source", "demo-two/source"]
    )
  })

  it("a stage has the name of all its uses: the only one is meant, several are listed, also those of earlier runs", () => {
    assert.deepInclude(resolve(database, "demo/train"), { key: second.done[0]!.key, label: "train/a" })
    const own = new LedgerScript()
    own.run({ executes: [{ label: "train/a" }, { label: "train/b" }, { label: "trainer" }] })
    own.run({ executes: [{ label: "train/c" }] })
    for (const text of ["demo/train", "train"]) {
      const listed = errorOf(() => resolve(own.database, text))
        .advice!.split("\n")
        .map(line => line.trim())
      assert.sameMembers(listed, ["demo/train/a", "demo/train/b", "demo/train/c"])
      for (const name of listed) assert.strictEqual(resolve(own.database, name)._tag, "action")
    }
  })

  it("a stage's own name comes before those of its uses", () => {
    const own = new LedgerScript()
    const { done } = own.run({ executes: [{ label: "train" }, { label: "train/a", parameters: 1 }] })
    assert.deepInclude(resolve(own.database, "train"), { key: done[0]!.key })
  })

  it("after a run that came to nothing, results are those of the run that has them, and that is said", () => {
    const own = new LedgerScript()
    const before = own.run({ executes: [{ label: "source" }, { label: "train/a" }] })
    own.run({ executes: [{ label: "train/a", parameters: { lr: 2 }, fails: "Ctrl-C" }] })
    // What is looked at is the newest; what is handed out is the newest that there is.
    assert.notDeepInclude(resolve(own.database, "demo/train/a"), { key: before.done[1]!.key })
    assert.strictEqual(artifactOf(own.database, "demo/train/a").digest, before.done[1]!.outputs["out"])
    const said = (text: string) => {
      const reference = resolve(own.database, text, { returned: true })
      return reference._tag === "action" && reference.use !== undefined
        ? fromEarlier(own.database, reference.use)
        : undefined
    }
    for (const text of ["demo/train/a", "train/a", "demo/source"])
      assert.match(said(text) ?? "", /is that of run 1: run 2/)
    own.run({ executes: [{ label: "train/a", parameters: { lr: 3 } }] })
    assert.isUndefined(said("demo/train/a"))
  })

  it("a tag is the newest run of that name; a pipeline's name comes first, and `tag:` says which is meant", () => {
    const own = new LedgerScript()
    own.run({ tag: "best", executes: [{ label: "source" }] })
    const newer = own.run({ tag: "best" })
    own.run({ tag: "demo", pipeline: "other" })
    const last = own.run({})
    for (const text of ["best", "tag:best"])
      assert.deepInclude(resolve(own.database, text), { _tag: "run", id: newer.run })
    assert.deepInclude(resolve(own.database, "demo"), { id: last.run })
    assert.deepInclude(resolve(own.database, "tag:demo"), { id: 3, pipeline: "other" })
    assert.match(errorOf(() => resolve(own.database, "tag:worst")).message, /not known/)
  })

  it("a tag can be nothing else that names a run", () => {
    for (const text of ["best", "lr-2e-4", "a.b_c"]) assert.isTrue(isTag(text), text)
    for (const text of ["", "41", "4a", "last", "run:4", "a b", "a/b", "-x", "./a"]) assert.isFalse(isTag(text), text)
  })
})

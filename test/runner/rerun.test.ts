/** What makes a stage run again, and what does not. */
import { utimesSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import * as Database from "../../src/ledger/Database.ts"
import { componentsOf, nearest } from "../../src/ledger/Nearest.ts"
import * as Why from "../../src/ledger/Why.ts"
import { type Fixture, installLoudWords, makeFixture } from "./smallFixture.ts"

const all = ["choose/first", "choose/long", "gather", "read", "shout", "split", "tidy"]

const succeed = async (fixture: Fixture, args: ReadonlyArray<string> = []): Promise<ReadonlyArray<string>> => {
  const { code, stderr } = await fixture.run(args)
  assert.strictEqual(code, 0, stderr)
  return fixture.executed()
}

const started = async (lines?: ReadonlyArray<string>): Promise<Fixture> => {
  const fixture = makeFixture(lines)
  assert.deepStrictEqual(await succeed(fixture), all)
  fixture.notes()
  return fixture
}

/** Why the newest execution of a label took place, in the words of `pipeline why`. */
const why = (fixture: Fixture, label: string): ReadonlyArray<string> => {
  const database = Database.Database.openReadonly(join(fixture.cache, "ledger.db"))!
  try {
    const { action, id } = database.get<{ id: number; action: number }>(
      "SELECT id, action FROM execution WHERE label = ? ORDER BY id DESC LIMIT 1",
      label
    )!
    const { codeDetail, components } = componentsOf(database, action)!
    const earlier = nearest(database, label, components, id)!
    return Why.smallestDifference(earlier, components, codeDetail).differences.map(difference => difference.component)
  } finally {
    database.close()
  }
}

describe("nothing runs again after", () => {
  it("a comment, another layout, a touched file, code that no stage reaches", async () => {
    const fixture = await started()
    fixture.edit("words.ts", "export const clean", "// A comment.\nexport const clean")
    assert.deepStrictEqual(await succeed(fixture), [])
    fixture.edit("words.ts", "line.trim()", "line\n    .trim()\n    ")
    assert.deepStrictEqual(await succeed(fixture), [])
    fixture.edit("words.ts", "toUpperCase", "toLowerCase")
    assert.deepStrictEqual(await succeed(fixture), [])
    for (const file of ["in.txt", "words.ts", "pipeline.ts", "methods/long.ts"])
      utimesSync(join(fixture.folder, file), new Date(), new Date())
    assert.deepStrictEqual(await succeed(fixture), [])
    assert.deepStrictEqual(fixture.notes(), [])
  })
})

describe("exactly what depends on it runs again after a change of", () => {
  it("a parameter", async () => {
    const fixture = await started()
    assert.deepStrictEqual(await succeed(fixture, ["--set", "shout.marks=4"]), ["gather", "shout"])
    assert.deepStrictEqual(why(fixture, "shout"), ["parameters.marks"])
    assert.deepStrictEqual(why(fixture, "gather"), ["input parts.shouted"])
    assert.deepStrictEqual(await succeed(fixture), [], "what was computed before is found again")
  })

  it("a line of code, when it changes the result", async () => {
    const fixture = await started()
    fixture.edit("words.ts", "line.trim()", "line.trim().slice(1)")
    assert.deepStrictEqual(await succeed(fixture), ["choose/first", "choose/long", "gather", "shout", "split", "tidy"])
    assert.deepStrictEqual(why(fixture, "tidy"), ["code words.ts"])
  })

  it("a line of code that does not change the result: what lies below is cut off", async () => {
    const fixture = await started()
    fixture.edit("words.ts", "line.trim()", 'line.trim().replace("  ", " ")')
    assert.deepStrictEqual(await succeed(fixture), ["tidy"])
  })

  it("a byte of an input file", async () => {
    const fixture = await started()
    fixture.edit("in.txt", "another", "Another")
    assert.deepStrictEqual(await succeed(fixture), all)
    assert.deepStrictEqual(why(fixture, "read"), ["parameters.sha256"])
    fixture.edit("in.txt", "Another line", "Another line ")
    assert.deepStrictEqual(await succeed(fixture), ["read", "tidy"], "a space at the end of a line makes no difference")
  })

  it("the version of a package", async () => {
    const fixture = await started()
    installLoudWords(fixture.folder, "1.0.1", 'text.toUpperCase() + "?"')
    assert.deepStrictEqual(await succeed(fixture), ["gather", "shout"])
    assert.deepStrictEqual(why(fixture, "shout"), ["package loud-words"])
  })

  it("the module of one method", async () => {
    const fixture = await started()
    fixture.edit("methods/long.ts", '?? ""', '?? "nothing"')
    assert.deepStrictEqual(await succeed(fixture), ["choose/long"])
    fixture.edit("methods/first.ts", "lines.toSorted()[0]", "lines.toSorted().reverse()[0]")
    assert.deepStrictEqual(await succeed(fixture), ["choose/first", "gather"])
    assert.deepStrictEqual(why(fixture, "choose/first"), ["code methods/first.ts"])
  })

  it("one document among 50: one item is computed", async () => {
    const lines = Array.from({ length: 50 }, (_, i) => `document ${i}`)
    const fixture = await started(lines)
    fixture.write("in.txt", [...lines.slice(0, 20), "a new document", ...lines.slice(20), ""].join("\n"))
    assert.include(await succeed(fixture), "split")
    assert.deepStrictEqual(
      fixture.notes().filter(note => note.startsWith("item")),
      ["item a new document"]
    )
  })
})

describe("what a run is told to compute anew", () => {
  it("runs once more although it is known, with all its items; what needs it is found as before", async () => {
    const fixture = await started(["one line", "slow one"])
    const before = fixture.results()
    assert.deepStrictEqual(await succeed(fixture, ["--force", "split", "--force", "choose"]), [
      "choose/first",
      "choose/long",
      "split"
    ])
    assert.includeMembers([...fixture.notes()], ["split", "item one line", "item slow one", "choose long"])
    assert.deepStrictEqual(fixture.results(), before)
    assert.deepStrictEqual(await succeed(fixture), [], "only that run was told to")
  })

  it("is an error where the pipeline has no such stage", async () => {
    const { code, stderr } = await makeFixture().run(["--force", "spilt"])
    assert.strictEqual(code, 2)
    assert.match(stderr, /--force spilt: pipeline .* has no stage spilt[^]*split/)
  })
})

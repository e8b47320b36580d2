/** Damaged objects: found when they are needed, moved aside, made again; a run that does not need them stays a no-op. */
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { decodePage } from "../../src/store/Pages.ts"
import { Effect } from "effect"
import { objectAt } from "../support/storeSetup.ts"
import type { Digest } from "../../src/pipeline/Digest.ts"
import { type Fixture, makeFixture } from "./smallFixture.ts"

const flip = (fixture: Fixture, digest: string): void => {
  const path = objectAt(fixture.cache, digest as Digest)
  const bytes = readFileSync(path)
  bytes[bytes.length >> 1]! ^= 1
  chmodSync(path, 0o644)
  writeFileSync(path, bytes)
}

const artifactOf = (fixture: Fixture, label: string): string => {
  const digest = fixture.results()[label]
  assert.isDefined(digest)
  return digest!.toLowerCase()
}

const objectOf = (fixture: Fixture, label: string): string =>
  fixture.query<{ digest: string }>(
    `SELECT lower(hex(object.digest)) AS digest FROM artifact JOIN artifact_object ON artifact_object.artifact = artifact.id
     JOIN object ON object.id = artifact_object.object WHERE lower(hex(artifact.digest)) = ?`,
    artifactOf(fixture, label)
  )[0]!.digest

/** The payload of the item that is too large for a page. */
const payloadOf = async (fixture: Fixture): Promise<string> => {
  const page = readFileSync(objectAt(fixture.cache, objectOf(fixture, "split") as Digest))
  const items = await Effect.runPromise(decodePage(page))
  return items.find(item => item.sha256 !== undefined)!.sha256!
}

const kinds: ReadonlyArray<
  readonly [kind: string, of: (fixture: Fixture) => string | Promise<string>, remade: string]
> = [
  ["file", fixture => objectOf(fixture, "tidy"), "tidy"],
  ["manifest", fixture => artifactOf(fixture, "tidy"), "tidy"],
  ["page of a chunk set", fixture => objectOf(fixture, "split"), "split"],
  ["payload of an item", payloadOf, "split"]
]

describe("a flipped byte", () => {
  for (const [kind, of, remade] of kinds) {
    it(`in a ${kind} is found by who needs it; what was damaged is made again, and nothing else`, async () => {
      const fixture = makeFixture()
      assert.strictEqual((await fixture.run()).code, 0)
      const before = fixture.results()
      const victim = await of(fixture)
      flip(fixture, victim)

      const idle = await fixture.run()
      assert.strictEqual(idle.code, 0, idle.stderr)
      assert.deepStrictEqual(fixture.executed(), [], "nobody needs it: nothing happens")

      const other = await fixture.run(["--set", "shout.marks=5"])
      assert.strictEqual(other.code, 0, other.stderr)
      assert.deepStrictEqual(fixture.executed(), ["gather", "shout", remade].sort())
      assert.deepStrictEqual(await fixture.faults(), [])
      assert.isTrue(
        readdirSync(join(fixture.cache, "quarantine")).some(name => name.includes(victim)),
        "moved aside"
      )

      const again = await fixture.run()
      assert.strictEqual(again.code, 0, again.stderr)
      assert.deepStrictEqual(fixture.executed(), [])
      assert.deepStrictEqual(fixture.results(), before)
    })
  }
})

describe("a result that people want on disk", () => {
  it("is made again when its object was deleted, although every key is known", async () => {
    const fixture = makeFixture()
    assert.strictEqual((await fixture.run()).code, 0)
    const before = fixture.results()
    rmSync(objectAt(fixture.cache, objectOf(fixture, "gather") as Digest))
    const again = await fixture.run()
    assert.strictEqual(again.code, 0, again.stderr)
    assert.deepStrictEqual(fixture.executed(), ["gather"])
    assert.deepStrictEqual(fixture.results(), before)
    assert.deepStrictEqual(await fixture.faults(), [])
  })
})

/** What was found damaged before the ledger knew suspects, and how it is brought up to date. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import Sqlite from "better-sqlite3"
import { assert, describe, it } from "vitest"
import * as Actions from "../../src/ledger/Actions.ts"
import { Database } from "../../src/ledger/Database.ts"
import * as Held from "../../src/ledger/Held.ts"
import { migrations } from "../../src/ledger/schema.ts"
import * as Suspects from "../../src/ledger/Suspects.ts"
import { sha256, toBytes } from "../../src/pipeline/Digest.ts"

const key = (name: string) => sha256(`action ${name}`)

/** Two artifacts, of which one was lost; each was read by an action of its own. */
const old = (lostSize: number) => `
  INSERT INTO stage VALUES (1, 'train'), (2, 'evaluate');
  INSERT INTO code VALUES (1, x'00', '{}');
  INSERT INTO artifact (id, digest, kind, bytes, metadata, state, created_ms) VALUES
    (1, x'${sha256("lost")}', 'weights', 1, '{}', 2, 0), (2, x'${sha256("sound")}', 'weights', 1, '{}', 0, 0), (3, x'${sha256("bound")}', 'bound', 1, '{}', 0, 0);
  INSERT INTO object VALUES (1, x'${sha256("lost object")}', ${lostSize}), (2, x'${sha256("sound object")}', 5000000);
  INSERT INTO artifact_object VALUES (1, 'w', 1), (2, 'w', 2);
  INSERT INTO action VALUES (1, x'${key("of the lost")}', 2, 1, 'none', '{}', NULL, 0), (2, x'${key("of the sound")}', 2, 1, 'none', '{}', NULL, 0);
  INSERT INTO input VALUES (1, 0, 'model', NULL, 1), (2, 0, 'model', NULL, 2);
  INSERT INTO output VALUES (1, 'bound', 3, NULL), (2, 'bound', 3, NULL);
  PRAGMA user_version = 1;`

const migrated = <A>(lostSize: number, use: (database: Database) => A): A => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-ledger-"))
  try {
    const file = join(folder, "ledger.db")
    const before = new Sqlite(file)
    before.exec(migrations[0]!)
    before.exec(old(lostSize))
    before.close()
    const database = Database.open(file)
    try {
      return use(database)
    } finally {
      database.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("a ledger from before there were suspects", () => {
  it("doubts what was computed from large objects that were found damaged, and nothing else", () => {
    migrated(5_000_000, database => {
      assert.deepStrictEqual(Suspects.keys(database), [key("of the lost")])
      const known = Actions.lookup(database, [key("of the lost"), key("of the sound")])
      assert.deepStrictEqual([...known.keys()], [key("of the sound")])
      assert.strictEqual(Suspects.ofArtifact(database, 3), sha256("lost object"))
      assert.strictEqual(Actions.generation(database), 1, "snapshots of plans are out of date")
    })
  })

  it("believes what was computed from small ones: they were hashed whenever they were read", () => {
    migrated(5000, database => {
      assert.deepStrictEqual(Suspects.keys(database), [])
      assert.strictEqual(Actions.generation(database), 0)
    })
  })
})

describe("what runs hold", () => {
  it("is known by run, however much it is, and forgotten with it", () => {
    const database = Database.open(":memory:")
    database.run(
      "INSERT INTO run (id, pipeline, profile, status, started_ms, command, program, host, boot, pid) VALUES (1, 'p', 'q', 'running', 0, '', '', '', '', 1)"
    )
    const digests = Array.from({ length: 1000 }, (_, i) => sha256(String(i)))
    Held.hold(database, 1, digests.slice(0, 700))
    Held.hold(database, 1, [])
    Held.hold(database, 1, digests.slice(700))
    assert.deepStrictEqual(Held.heldBy(database, [1, 2]), new Set(digests))
    assert.strictEqual(toBytes(digests[0]!).length, 32)
    Held.release(database, 1)
    assert.strictEqual(Held.heldBy(database, [1]).size, 0)
    database.close()
  })
})

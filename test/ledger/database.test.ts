/** The database handle: what callers may rely on, whatever they call before. */
import { chmodSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { Database } from "../../src/ledger/Database.ts"
import { LedgerError } from "../../src/ledger/LedgerError.ts"
import { migrations } from "../../src/ledger/schema.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const errorOf = (run: () => unknown): LedgerError => {
  try {
    run()
  } catch (error) {
    if (error instanceof LedgerError) return error
    throw error
  }
  throw new Error("it did not fail")
}

describe("the database", () => {
  it("gives whole rows to get and all, also after column with the same text", () => {
    const database = Database.open(":memory:")
    const sql = "SELECT name, value FROM counter ORDER BY name"
    assert.deepStrictEqual(database.column(sql), ["generation", "token"])
    assert.deepStrictEqual(database.get(sql), { name: "generation", value: 0 })
    assert.strictEqual(database.all(sql).length, 2)
  })

  it("refuses queries that would change it", () => {
    const database = Database.open(":memory:")
    for (const sql of [
      "DELETE FROM counter",
      "UPDATE counter SET value = 1 RETURNING value",
      "PRAGMA user_version = 7"
    ]) {
      assert.strictEqual(errorOf(() => database.table(sql)).code, "SQLITE_READONLY")
    }
    assert.strictEqual(database.get<{ value: number }>("SELECT value FROM counter WHERE name = 'token'")!.value, 0)
  })

  it("nested transactions join the outer one: all or nothing", () => {
    const database = Database.open(":memory:")
    assert.throws(() =>
      database.immediate(() => {
        database.immediate(() => database.run("UPDATE counter SET value = 5 WHERE name = 'token'"))
        throw new Error("no")
      })
    )
    assert.strictEqual(database.get<{ value: number }>("SELECT value FROM counter WHERE name = 'token'")!.value, 0)
  })

  it.each([
    ["/proc/nowhere/cache", "ENOENT"],
    ["/sys/nowhere", "EPERM"],
    [join(import.meta.filename, "cache"), "ENOTDIR"]
  ])("says which cache cannot be made, why, and what to do: %s", (folder, code) => {
    const error = errorOf(() => Database.open(join(folder, "ledger.db")))
    assert.include([code, "EACCES", "EROFS"], error.code)
    assert.include(error.message, `the cache ${folder} cannot be made: `)
    assert.include(error.advice, "--cache DIR")
  })

  it("migrates an empty file to the newest schema, and refuses one of a newer program by name", () => {
    const directory = temporaryDirectory()
    try {
      const file = join(directory.path, "deep", "ledger.db")
      const database = Database.open(file)
      assert.strictEqual(database.table("PRAGMA user_version").rows[0]![0], migrations.length)
      database.run(`PRAGMA user_version = ${migrations.length + 1}`)
      database.close()
      const error = errorOf(() => Database.open(file))
      assert.strictEqual(error.code, "VERSION")
      assert.include(error.message, file)
      assert.strictEqual(errorOf(() => Database.openReadonly(file)).code, "VERSION")
    } finally {
      directory.remove()
    }
  })

  it("says what to do when the file is no ledger", async () => {
    const directory = temporaryDirectory()
    try {
      const { writeFileSync } = await import("node:fs")
      const file = join(directory.path, "ledger.db")
      writeFileSync(file, "this is a text, and a rather long one, so that it is not taken for an empty file".repeat(20))
      const error = errorOf(() => Database.open(file))
      assert.strictEqual(error.code, "SQLITE_NOTADB")
      assert.include(error.advice ?? "", "move it away")
    } finally {
      directory.remove()
    }
  })

  it("opened for reading, creates nothing where nothing is, and reads from a read-only directory", () => {
    const directory = temporaryDirectory()
    try {
      assert.isUndefined(Database.openReadonly(join(directory.path, "ledger.db")))
      assert.deepStrictEqual(readdirSync(directory.path), [])
      const file = join(directory.path, "ledger.db")
      const writer = Database.open(file)
      writer.run("UPDATE counter SET value = 3 WHERE name = 'token'")
      writer.close()
      chmodSync(directory.path, 0o555)
      const reader = Database.openReadonly(file)!
      assert.strictEqual(reader.get<{ value: number }>("SELECT value FROM counter WHERE name = 'token'")!.value, 3)
      reader.close()
    } finally {
      chmodSync(directory.path, 0o755)
      directory.remove()
    }
  })
})

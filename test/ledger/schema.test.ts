import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import Sqlite from "better-sqlite3"
import { assert, describe, it } from "vitest"
import { Database } from "../../src/ledger/Database.ts"
import { migrations } from "../../src/ledger/schema.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

/** Tables and columns by name. */
const columnsIn = (database: Database): Map<string, ReadonlyArray<string>> =>
  new Map(
    database
      .column<string>("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
      .map(table => [table, database.column<string>(`SELECT name FROM pragma_table_info('${table}') ORDER BY cid`)])
  )

describe("docs/ledger.md", () => {
  const text = readFileSync(new URL("../../docs/ledger.md", import.meta.url), "utf8")
  const sections = new Map(
    text
      .split(/^### /m)
      .slice(1)
      .map(section => [
        /^`(\w+)`/.exec(section)![1]!,
        [...section.matchAll(/^\| `(\w+)` \|/gm)].map(match => match[1]!)
      ])
  )

  it("describes every table and every column of the schema, in order, and no other", () => {
    const columns = columnsIn(Database.open(":memory:"))
    assert.deepStrictEqual([...sections.keys()].sort(), [...columns.keys()].sort())
    for (const [table, names] of columns) assert.deepStrictEqual(sections.get(table), names, table)
  })

  it("is of the newest version", () => {
    assert.include(text, `version ${migrations.length} of the schema`)
  })
})

describe("a ledger opened for reading", () => {
  const inDirectory = (test: (directory: string) => void) => {
    const directory = temporaryDirectory()
    try {
      test(directory.path)
    } finally {
      directory.remove()
    }
  }

  it("leaves no file beside one that nobody has open", () =>
    inDirectory(directory => {
      const file = join(directory, "ledger.db")
      Database.open(file).close()
      assert.deepStrictEqual(readdirSync(directory), ["ledger.db"])
      const reader = Database.openReadonly(file)!
      assert.strictEqual(reader.column("SELECT 1 FROM run").length, 0)
      assert.deepStrictEqual(readdirSync(directory), ["ledger.db"])
      reader.close()
      assert.deepStrictEqual(readdirSync(directory), ["ledger.db"])
    }))

  it("sees what a writer has committed, and goes on seeing it", () =>
    inDirectory(directory => {
      const file = join(directory, "ledger.db")
      const writer = Database.open(file)
      writer.run("UPDATE counter SET value = 7 WHERE name = 'token'")
      const reader = Database.openReadonly(file)!
      const token = () => reader.get<{ value: number }>("SELECT value FROM counter WHERE name = 'token'")!.value
      assert.strictEqual(token(), 7)
      writer.run("UPDATE counter SET value = 8 WHERE name = 'token'")
      assert.strictEqual(token(), 8)
      reader.close()
      writer.close()
    }))

  it("cannot be written to", () =>
    inDirectory(directory => {
      const file = join(directory, "ledger.db")
      Database.open(file).close()
      const reader = Database.openReadonly(file)!
      assert.throws(() => reader.run("UPDATE counter SET value = 9"), /readonly/)
    }))

  it("that was made but never written counts as none", () =>
    inDirectory(directory => {
      const file = join(directory, "ledger.db")
      writeFileSync(file, "")
      assert.isUndefined(Database.openReadonly(file))
      assert.strictEqual(readFileSync(file).length, 0)
      assert.isFalse(existsSync(`${file}-wal`))
    }))

  it("has the tables of the newest version after every way of getting there", () =>
    inDirectory(directory => {
      // Step by step, as years of updates would have done it.
      const file = join(directory, "ledger.db")
      const raw = new Sqlite(file)
      migrations.forEach((sql, i) => {
        raw.exec(sql)
        raw.pragma(`user_version = ${i + 1}`)
      })
      raw.close()
      const [stepwise, atOnce] = [Database.openReadonly(file)!, Database.open(":memory:")]
      assert.deepStrictEqual([...columnsIn(stepwise)], [...columnsIn(atOnce)])
    }))
})

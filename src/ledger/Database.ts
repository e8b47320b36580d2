/** The SQLite file of the ledger: opening, migrating, transactions. Calls are synchronous and throw LedgerError. */
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs"
import { dirname } from "node:path"
import Sqlite from "better-sqlite3"
import { fromCause, LedgerError } from "./LedgerError.ts"
import { migrations } from "./schema.ts"

export type Value = null | number | string | Uint8Array

export type Row = Readonly<Record<string, Value>>

type Fields = Readonly<Record<string, Value | undefined>>

const valuesOf = (row: Fields): ReadonlyArray<Value> => Object.values(row).map(value => value ?? null)

/** With the folders above it. Not by `recursive`, which never ends where the system says of a folder that is there that it is not, as in /proc. */
const makeFolder = (path: string): void => {
  const missing: Array<string> = []
  for (let at = path; !existsSync(at); at = dirname(at)) missing.unshift(at)
  for (const folder of missing)
    try {
      mkdirSync(folder)
    } catch (cause) {
      // Another process was faster.
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause
    }
}

export class Database {
  readonly file: string
  readonly #sqlite: Sqlite.Database
  readonly #statements = new Map<string, Sqlite.Statement>()
  /** Device and inode of the file that was opened for writing. */
  #place: string | undefined

  private constructor(file: string, sqlite: Sqlite.Database) {
    this.file = file
    this.#sqlite = sqlite
    if (!sqlite.memory) note(sqlite)
  }

  /** Opens for writing, creating and migrating as needed. `:memory:` makes a private database for tests. */
  static open(file: string): Database {
    try {
      if (file !== ":memory:") makeFolder(dirname(file))
      const sqlite = new Sqlite(file, { timeout: 30_000 })
      const database = new Database(file, sqlite)
      sqlite.pragma("journal_mode = WAL")
      sqlite.pragma("synchronous = NORMAL")
      database.#migrate()
      database.#place = placeOf(file)
      return database
    } catch (cause) {
      throw cause instanceof LedgerError ? cause : fromCause(cause, file, "open the ledger")
    }
  }

  /**
   * Opens for reading; creates nothing and takes no lock. Undefined where there is no ledger yet.
   * What an older program wrote is brought up to date in memory.
   */
  static openReadonly(file: string): Database | undefined {
    if (!existsSync(file)) return undefined
    try {
      const database = new Database(file, looking(file))
      database.#refuseNewer()
      if (database.#version === migrations.length) return database
      // A file that was made, but never written to.
      if (database.#version === 0) {
        database.close()
        return undefined
      }
      const copy = new Database(file, new Sqlite(withoutWal(database.#sqlite.serialize())))
      database.close()
      copy.#migrate()
      return copy
    } catch (cause) {
      throw cause instanceof LedgerError ? cause : fromCause(cause, file, "open the ledger")
    }
  }

  get #version(): number {
    return Number(this.#sqlite.pragma("user_version", { simple: true }))
  }

  #refuseNewer(): void {
    if (this.#version > migrations.length) {
      throw new LedgerError({
        code: "VERSION",
        file: this.file,
        message: `${this.file} was written by a newer program (schema ${this.#version}, this one knows ${migrations.length})`,
        advice: "update dllm-pipeline, or use another cache with --cache"
      })
    }
  }

  #migrate(): void {
    this.#refuseNewer()
    if (this.#version === migrations.length) return
    this.immediate(() => {
      for (let version = this.#version; version < migrations.length; version++) this.#sqlite.exec(migrations[version]!)
      this.#sqlite.pragma(`user_version = ${migrations.length}`)
    })
  }

  #statement(sql: string): Sqlite.Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) this.#statements.set(sql, (statement = this.#sqlite.prepare(sql)))
    return statement
  }

  #attempt<A>(operation: string, run: () => A): A {
    try {
      return run()
    } catch (cause) {
      throw cause instanceof LedgerError ? cause : fromCause(cause, this.file, operation)
    }
  }

  all<R = Row>(sql: string, ...values: ReadonlyArray<Value>): ReadonlyArray<R> {
    return this.#attempt("read", () => this.#statement(sql).all(...values) as ReadonlyArray<R>)
  }

  get<R = Row>(sql: string, ...values: ReadonlyArray<Value>): R | undefined {
    return this.#attempt("read", () => this.#statement(sql).get(...values) as R | undefined)
  }

  /** The first column of every row; the cheapest way to read many. */
  column<V = Value>(sql: string, ...values: ReadonlyArray<Value>): ReadonlyArray<V> {
    return this.#attempt("read", () => {
      const statement = this.#statement(sql)
      // The statement is shared with `get` and `all` of the same text, which want whole rows.
      statement.pluck(true)
      try {
        return statement.all(...values) as ReadonlyArray<V>
      } finally {
        statement.pluck(false)
      }
    })
  }

  /** The first column of the first row. */
  value<V = Value>(sql: string, ...values: ReadonlyArray<Value>): V | undefined {
    return this.column<V>(sql, ...values)[0]
  }

  /** Rows as arrays, with the columns' names; for tables whose columns are not known beforehand. */
  table(
    sql: string,
    values: ReadonlyArray<Value> = []
  ): { readonly columns: ReadonlyArray<string>; readonly rows: ReadonlyArray<ReadonlyArray<Value>> } {
    return this.#attempt("run the query", () => {
      const statement = this.#sqlite.prepare(sql)
      if (!statement.reader || !statement.readonly) {
        throw new LedgerError({
          code: "SQLITE_READONLY",
          file: this.file,
          message: "the query would change the ledger",
          advice: "queries are read-only; use SELECT"
        })
      }
      statement.raw(true)
      return {
        columns: statement.columns().map(column => column.name),
        rows: statement.all(...values) as ReadonlyArray<ReadonlyArray<Value>>
      }
    })
  }

  /** Runs a statement; returns the id of the last inserted row and the number of changed rows. */
  run(sql: string, ...values: ReadonlyArray<Value>): { readonly id: number; readonly changes: number } {
    return this.#attempt("write", () => {
      const { lastInsertRowid, changes } = this.#statement(sql).run(...values)
      return { id: Number(lastInsertRowid), changes }
    })
  }

  /** Adds a row, in the place of one with the same key if so asked; what is undefined is NULL. Returns its id. */
  insert(table: string, row: Fields, or: "" | "OR REPLACE" = ""): number {
    const columns = Object.keys(row)
    const places = columns.map(() => "?").join(", ")
    return this.run(`INSERT ${or} INTO ${table} (${columns.join(", ")}) VALUES (${places})`, ...valuesOf(row)).id
  }

  /** Changes some columns of the row with an id. */
  update(table: string, id: number, row: Fields): void {
    const places = Object.keys(row).map(column => `${column} = ?`)
    this.run(`UPDATE ${table} SET ${places.join(", ")} WHERE id = ?`, ...valuesOf(row), id)
  }

  /**
   * A transaction that takes the write lock at its beginning: one that read first and wrote later could fail half-way
   * with SQLITE_BUSY, without waiting. Nested calls join the outer transaction.
   */
  immediate<A>(body: () => A): A {
    if (this.#sqlite.inTransaction) return body()
    return this.#attempt("write", () => this.#sqlite.transaction(body).immediate())
  }

  /** Throws where the file is not the one that was opened: SQLite goes on with one that has no name any more, and what it keeps there is lost. */
  mustBeThere(): void {
    if (this.#place === undefined || placeOf(this.file) === this.#place) return
    throw new LedgerError({
      code: "GONE",
      file: this.file,
      message: `${this.file} was removed or replaced while it was in use: what was done since is not kept`,
      advice: "leave the cache alone while something runs; what it still has is found again by the next run"
    })
  }

  close(): void {
    open.delete(this.#sqlite)
    this.#sqlite.close()
  }
}

/** The program may end without the clean-up of native code, which would leave the write-ahead log beside the ledger. */
const open = new Set<Sqlite.Database>()
const closeAll = (): void => {
  for (const sqlite of open) sqlite.close()
  open.clear()
}

const note = (sqlite: Sqlite.Database): void => {
  if (open.size === 0 && !process.listeners("exit").includes(closeAll)) process.on("exit", closeAll)
  open.add(sqlite)
}

/** Which file a path leads to; undefined for what is no file. */
const placeOf = (file: string): string | undefined => {
  const stat = file === ":memory:" ? undefined : statSync(file, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? undefined : `${stat.dev}.${stat.ino}`
}

/** Larger ledgers are not copied, at the price of two small files that SQLite leaves beside them. */
const copiedUpTo = 128 * 2 ** 20

/**
 * A connection that only reads. To read a ledger in place SQLite makes two files beside it, unless a writer has them open already.
 * While there is no write-ahead log the file is complete, and a copy in memory serves; so it does where nothing can be made.
 */
const looking = (file: string): Sqlite.Database => {
  const copied = copyOf(file)
  if (copied !== undefined) return new Sqlite(copied, { readonly: true })
  try {
    const sqlite = new Sqlite(file, { readonly: true, timeout: 10_000 })
    sqlite.prepare("SELECT 1 FROM sqlite_schema").get()
    return sqlite
  } catch (cause) {
    // On a read-only file system, or a full one, SQLite cannot make its shared-memory file.
    const code = cause instanceof Sqlite.SqliteError ? cause.code : ""
    const pending = statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0
    if (!/^SQLITE_(READONLY|CANTOPEN)/.test(code) && !(/^SQLITE_(FULL|IOERR)/.test(code) && pending === 0)) throw cause
    return new Sqlite(withoutWal(readFileSync(file)), { readonly: true })
  }
}

/** The ledger's bytes, if it is small and nobody writes to it meanwhile. */
const copyOf = (file: string): Buffer | undefined => {
  const state = () => {
    const stat = statSync(file)
    return existsSync(`${file}-wal`) || stat.size > copiedUpTo ? undefined : `${stat.ino} ${stat.size} ${stat.mtimeMs}`
  }
  const before = state()
  if (before === undefined) return undefined
  const bytes = readFileSync(file)
  return bytes.length > 0 && state() === before ? withoutWal(bytes) : undefined
}

/** Bytes 18 and 19 of the header say that a write-ahead log is in use, which an in-memory copy cannot have. */
const withoutWal = (bytes: Buffer): Buffer => {
  bytes[18] = 1
  bytes[19] = 1
  return bytes
}

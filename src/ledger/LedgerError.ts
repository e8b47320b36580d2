/** What can go wrong with the ledger's database, in the user's terms. */
import { Schema } from "effect"

export class LedgerError extends Schema.TaggedError<LedgerError>()("LedgerError", {
  /** SQLite's code, for example `SQLITE_BUSY`, or `VERSION` for a database of a newer program. */
  code: Schema.String,
  file: Schema.String,
  message: Schema.String,
  advice: Schema.optionalKey(Schema.String)
}) {}

const advice: Readonly<Record<string, string>> = {
  SQLITE_BUSY:
    "another process held the ledger for longer than 30 s; look for a stopped `pipeline` process, then run again",
  SQLITE_FULL:
    "the disk is full: run `pipeline gc`, or point --cache / PIPELINE_CACHE to another disk; nothing was lost",
  SQLITE_READONLY:
    "the ledger cannot be written: check the permissions of the cache directory, or use another one with --cache",
  SQLITE_CANTOPEN: "check that the cache directory exists and may be read and written, or use another one with --cache",
  SQLITE_NOTADB:
    "the file is not a ledger: move it away; objects in the store stay valid and are found again by digest",
  SQLITE_CORRUPT: "the ledger is damaged: move it away; objects in the store stay valid and are found again by digest",
  SQLITE_IOERR: "reading or writing the disk failed: check the disk's health and space"
}

export const fromCause = (cause: unknown, file: string, operation: string): LedgerError => {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "UNKNOWN"
  const hint = advice[code] ?? advice[code.split("_").slice(0, 2).join("_")]
  return new LedgerError({
    code,
    file,
    message: `${file}: could not ${operation}: ${cause instanceof Error ? cause.message : String(cause)}`,
    ...(hint === undefined ? {} : { advice: hint })
  })
}

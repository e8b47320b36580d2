/** What can go wrong with the ledger's database, in the user's terms. */
import { statfsSync } from "node:fs"
import { dirname } from "node:path"
import { Schema } from "effect"
import { makeRoom } from "../pipeline/fullDisk.ts"
import { bytes } from "../pipeline/units.ts"

export class LedgerError extends Schema.TaggedError<LedgerError>()("LedgerError", {
  /** SQLite's code, for example `SQLITE_BUSY`, or `VERSION` for a database of a newer program. */
  code: Schema.String,
  file: Schema.String,
  message: Schema.String,
  advice: Schema.optionalKey(Schema.String)
}) {}

/** Why the system makes no folder, in words. */
const refusals: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOENT: "no folder can be made there",
  ENOTDIR: "a part of the path is a file"
}

const advice: Readonly<Record<string, string>> = {
  SQLITE_BUSY:
    "another process held the ledger for longer than 30 s; look for a stopped `pipeline` process, then run again",
  SQLITE_FULL: `${makeRoom}; nothing was lost`,
  SQLITE_READONLY:
    "the ledger cannot be written: check the permissions of the cache directory, or use another one with --cache",
  SQLITE_CANTOPEN: "check that the cache directory exists and may be read and written, or use another one with --cache",
  SQLITE_NOTADB:
    "the file is not a ledger: move it away; objects in the store stay valid and are found again by digest",
  SQLITE_CORRUPT: "the ledger is damaged: move it away; objects in the store stay valid and are found again by digest",
  SQLITE_IOERR: "reading or writing the disk failed: check the disk's health and space"
}

export const fromCause = (cause: unknown, file: string, operation: string): LedgerError => {
  const said = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "UNKNOWN"
  const free = freeAt(file)
  // Where it cannot make the files beside the ledger, SQLite speaks of an error of the disk.
  const code = said.startsWith("SQLITE_IOERR") && free !== undefined && free < leastRoom ? "SQLITE_FULL" : said
  const refused = refusals[code]
  if (refused !== undefined)
    return new LedgerError({
      code,
      file,
      message: `the cache ${dirname(file)} cannot be made: ${refused} (${code})`,
      advice: "name a directory that may be written: --cache DIR, or PIPELINE_CACHE; nothing was changed"
    })
  const hint = advice[code] ?? advice[code.split("_").slice(0, 2).join("_")]
  return new LedgerError({
    code,
    file,
    message:
      code === "SQLITE_FULL"
        ? `the disk that holds ${file} is full: ${free === undefined ? "" : `${bytes(free)} free, `}${bytes(leastRoom)} needed to ${operation}`
        : `${file}: could not ${operation}: ${cause instanceof Error ? cause.message : String(cause)}`,
    ...(hint === undefined ? {} : { advice: hint })
  })
}

/** What SQLite needs at least, in bytes: its shared memory, and the first pages of its log. */
const leastRoom = 64 * 1024

/** Bytes that are free on the file's disk; undefined where nobody can tell. */
const freeAt = (file: string): number | undefined => {
  try {
    const { bavail, bsize } = statfsSync(dirname(file))
    return bavail * bsize
  } catch {
    return undefined
  }
}

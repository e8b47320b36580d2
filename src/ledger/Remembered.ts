/** Things found out once: what a moving name stood for, and digests of files outside the store by their stat. */
import { type Digest, fromBytes, toBytes } from "../pipeline/Digest.ts"
import type { Database } from "./Database.ts"

export const name = (database: Database, key: string): string | undefined =>
  database.get<{ value: string }>("SELECT value FROM remembered WHERE name = ?", key)?.value

export const rememberName = (database: Database, key: string, value: string, now: number): void =>
  void database.run("INSERT OR REPLACE INTO remembered (name, value, at_ms) VALUES (?, ?, ?)", key, value, now)

export const forgetName = (database: Database, key: string): void =>
  void database.run("DELETE FROM remembered WHERE name = ?", key)

/** `stat` holds device, inode, size, modification and change time: a file whose stat is unchanged is not read again. */
export const fileDigest = (
  database: Database,
  path: string,
  stat: string
): { readonly digest: Digest; readonly size: number } | undefined => {
  const row = database.get<{ digest: Buffer; size: number }>(
    "SELECT digest, size FROM file_digest WHERE path = ? AND stat = ?",
    path,
    stat
  )
  return row === undefined ? undefined : { digest: fromBytes(row.digest), size: row.size }
}

export const rememberFile = (database: Database, path: string, stat: string, digest: Digest, size: number): void =>
  void database.run(
    "INSERT OR REPLACE INTO file_digest (path, stat, digest, size) VALUES (?, ?, ?, ?)",
    path,
    stat,
    toBytes(digest),
    size
  )

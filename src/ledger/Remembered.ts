/** Things found out once: what a moving name stood for, and digests of files outside the store by their stat. */
import { type Digest, toBytes } from "../pipeline/Digest.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"

export const name = (database: Database, key: string): string | undefined =>
  database.value("SELECT value FROM remembered WHERE name = ?", key)

export const rememberName = (database: Database, key: string, value: string, now: number): void =>
  void database.insert("remembered", { name: key, value, at_ms: now }, "OR REPLACE")

export const forgetName = (database: Database, key: string): void =>
  void database.run("DELETE FROM remembered WHERE name = ?", key)

/** `stat` holds device, inode, size, modification and change time: a file whose stat is unchanged is not read again. */
export const fileDigest = (
  database: Database,
  path: string,
  stat: string
): { readonly digest: Digest; readonly size: number } | undefined =>
  database.get(`SELECT ${hex("digest")} AS digest, size FROM file_digest WHERE path = ? AND stat = ?`, path, stat)

export const rememberFile = (database: Database, path: string, stat: string, digest: Digest, size: number): void =>
  void database.insert("file_digest", { path, stat, digest: toBytes(digest), size }, "OR REPLACE")

/** Leases: one action key is computed once, however many processes ask. They expire by heartbeat; nobody removes one by hand. */
import { type Digest, toBytes } from "../pipeline/Digest.ts"
import type { Database } from "./Database.ts"

/** Who asks: enough to tell whether a holder on this machine still lives. */
export interface Owner {
  /** Unique to one run of the program. */
  readonly id: string
  readonly host: string
  /** Changes with every start of the machine. */
  readonly boot: string
  readonly pid: number
}

export interface Lease {
  readonly key: Digest
  readonly owner: string
  /** Grows with every acquisition of any lease; who publishes must still hold the token that it was given. */
  readonly token: number
}

export interface Holder {
  readonly host: string
  readonly pid: number
  readonly acquiredMs: number
  readonly expiresMs: number
}

export interface LeaseOptions {
  readonly now: number
  /** Milliseconds without heartbeat after which a lease is free. */
  readonly duration: number
  /** Whether a process of this machine lives. Injected, so that simulated processes can die. */
  readonly alive: (pid: number) => boolean
}

interface LeaseRow extends Omit<Owner, "id">, Holder {
  readonly owner: string
}

/**
 * Takes the lease of a key if nobody holds it: no row, expired, or held by a process of this host that is gone
 * (which saves waiting for the expiry after a kill). Otherwise says who holds it.
 */
export const acquire = (database: Database, key: Digest, owner: Owner, options: LeaseOptions): Lease | Holder =>
  database.immediate(() => {
    const row = database.get<LeaseRow>(
      "SELECT owner, host, boot, pid, acquired_ms AS acquiredMs, expires_ms AS expiresMs FROM lease WHERE key = ?",
      toBytes(key)
    )
    if (row !== undefined && row.owner !== owner.id && !abandoned(row, owner, options)) {
      return { host: row.host, pid: row.pid, acquiredMs: row.acquiredMs, expiresMs: row.expiresMs }
    }
    const { boot, host, id, pid } = owner
    const times = { acquired_ms: options.now, expires_ms: options.now + options.duration }
    const token = database.value<number>("UPDATE counter SET value = value + 1 WHERE name = 'token' RETURNING value")!
    database.insert("lease", { key: toBytes(key), owner: id, host, boot, pid, token, ...times }, "OR REPLACE")
    return { key, owner: owner.id, token }
  })

export const isLease = (result: Lease | Holder): result is Lease => "token" in result

const abandoned = (row: LeaseRow, asking: Owner, { now, alive }: LeaseOptions) =>
  row.expiresMs <= now || (row.host === asking.host && (row.boot !== asking.boot || !alive(row.pid)))

/** Extends all leases of an owner. */
export const heartbeat = (database: Database, owner: string, expiresMs: number): void =>
  void database.run("UPDATE lease SET expires_ms = ? WHERE owner = ?", expiresMs, owner)

export const held = (database: Database, { key, owner, token }: Lease): boolean =>
  database.get("SELECT 1 FROM lease WHERE key = ? AND owner = ? AND token = ?", toBytes(key), owner, token) !==
  undefined

/** Gives a lease back; does nothing when someone else holds the key by now. */
export const release = (database: Database, { key, owner, token }: Lease): void =>
  void database.run("DELETE FROM lease WHERE key = ? AND owner = ? AND token = ?", toBytes(key), owner, token)

export const releaseAll = (database: Database, owner: string): void =>
  void database.run("DELETE FROM lease WHERE owner = ?", owner)

/** What dead processes and finished runs left beside the store: private directories, checkpoints, temporary files, logs, quarantine. */
import { join } from "node:path"
import { Effect } from "effect"
import type { Database } from "../ledger/Database.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Leases from "../ledger/Leases.ts"
import { type Here, liveLeases, liveRuns } from "../ledger/Liveness.ts"
import { lastRuns } from "../ledger/Protection.ts"
import { type Digest, isDigest, short, toBytes } from "../pipeline/Digest.ts"
import type { Disk } from "../store/Disk.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { Store } from "../store/Store.ts"
import { type CachePaths, leaseMs, ledgerOf } from "./Ports.ts"
import { removeTree } from "./removeTree.ts"

export type LeftoverKind = "attempt" | "checkpoint" | "temporary" | "log" | "quarantine"

export interface Leftover {
  readonly kind: LeftoverKind
  readonly path: string
  readonly bytes: number
  readonly reason: string
  /** Of a checkpoint: its action's key, which must not be computed while it is removed. */
  readonly key?: Digest
  /** Shown, but kept unless it is asked for. */
  readonly kept: boolean
}

export interface LeftoverOptions {
  /** Remove the logs of runs that are not among the last ones. */
  readonly logs: boolean
  /** Remove damaged objects that were moved aside. */
  readonly quarantine: boolean
  /** Remove what unfinished actions go on from, downloads that are not complete among it, as far as no running run may need it. */
  readonly checkpoints: boolean
  readonly keepRuns: number
}

export interface Maintenance {
  readonly database: Database
  readonly store: Store
  readonly disk: Disk
  readonly paths: CachePaths
  readonly owner: Leases.Owner
  readonly alive: (pid: number) => boolean
}

export const hereOf = ({ alive, owner }: Maintenance, now: number): Here => ({
  host: owner.host,
  boot: owner.boot,
  alive,
  now
})

/** A checkpoint that nobody went on from for so long is given up, in milliseconds. */
const checkpointMs = 30 * 86_400_000
/** Temporary files of other hosts are left alone for this long: a single file takes less to write. */
const temporaryMs = 3_600_000

const orNone = <A, E>(effect: Effect.Effect<ReadonlyArray<A>, E | StorageError>) =>
  Effect.catchIf(
    effect,
    (error): error is E & StorageError => (error as { code?: unknown }).code === "ENOENT",
    () => Effect.succeed<ReadonlyArray<A>>([])
  )

/** Bytes below a path, and the last change of anything in it. What vanishes meanwhile counts as nothing. */
const measure = (
  disk: Disk,
  path: string
): Effect.Effect<{ readonly bytes: number; readonly modifiedMs: number }, StorageError> =>
  Effect.gen(function* () {
    let bytes = 0
    let modifiedMs = 0
    const pending = [path]
    while (pending.length > 0) {
      const next = pending.pop()!
      const stat = yield* Effect.orElseSucceed(disk.stat(next), () => undefined)
      if (stat === undefined) continue
      modifiedMs = Math.max(modifiedMs, Number(stat.mtimeNs / 1_000_000n))
      if (stat.kind === "directory") {
        for (const entry of yield* orNone(disk.readdir(next))) pending.push(join(next, entry.name))
      } else bytes += stat.size
    }
    return { bytes, modifiedMs }
  })

/** Looks for leftovers; changes nothing. */
export const findLeftovers = Effect.fn("findLeftovers")(function* (
  maintenance: Maintenance,
  options: LeftoverOptions,
  now: number
): Effect.fn.Return<ReadonlyArray<Leftover>, StorageError | LedgerError> {
  return [
    ...(yield* attempts(maintenance, now)),
    ...(yield* checkpoints(maintenance, options, now)),
    ...(yield* temporary(maintenance)),
    ...(yield* logs(maintenance, options, now)),
    ...(yield* quarantined(maintenance, options))
  ]
})

const liveAmong = (maintenance: Maintenance, now: number) =>
  ledgerOf(maintenance.database)(database => liveLeases(database, hereOf(maintenance, now)))

/** Directories are listed before the leases are read: a lease is always there before its directory. */
const attempts = Effect.fnUntraced(function* (maintenance: Maintenance, now: number) {
  const entries = yield* orNone(maintenance.disk.readdir(maintenance.paths.actions))
  const live = new Set((yield* liveAmong(maintenance, now)).map(({ key, token }) => `${key.slice(0, 16)}.${token}`))
  // A runner that was suspended may have lost a lease, and still be writing.
  const running = yield* ledgerOf(maintenance.database)(
    database => liveRuns(database, hereOf(maintenance, now)).length > 0
  )
  const found: Array<Leftover> = []
  for (const { name } of entries) {
    if (live.has(name) || !/^[0-9a-f]{16}\.\d+$/.test(name)) continue
    const path = join(maintenance.paths.actions, name)
    const { bytes, modifiedMs } = yield* measure(maintenance.disk, path)
    if (running && modifiedMs + temporaryMs > now) continue
    found.push({ kind: "attempt", path, bytes, reason: "its process is gone", kept: false })
  }
  return found
})

const checkpoints = Effect.fnUntraced(function* (maintenance: Maintenance, options: LeftoverOptions, now: number) {
  const entries = yield* orNone(maintenance.disk.readdir(maintenance.paths.checkpoints))
  const { live, running } = yield* ledgerOf(maintenance.database)(database => ({
    live: new Set(liveLeases(database, hereOf(maintenance, now)).map(({ key }) => key)),
    running: new Set(liveRuns(database, hereOf(maintenance, now)).map(({ id }) => id))
  }))
  const found: Array<Leftover> = []
  for (const { name } of entries) {
    if (!isDigest(name) || live.has(name)) continue
    const path = join(maintenance.paths.checkpoints, name)
    const { last, published } = yield* ledgerOf(maintenance.database)(database => ({
      published:
        database.get(
          "SELECT 1 FROM action JOIN output ON output.action = action.id WHERE action.key = ?",
          toBytes(name)
        ) !== undefined,
      last: database.get<{ label: string; run: number }>(
        `SELECT label, run FROM execution JOIN action ON action.id = execution.action WHERE action.key = ?
         ORDER BY execution.id DESC LIMIT 1`,
        toBytes(name)
      )
    }))
    // Between two attempts nobody holds the lease.
    if (last !== undefined && running.has(last.run)) continue
    const { bytes, modifiedMs } = yield* measure(maintenance.disk, path)
    const idle = modifiedMs + checkpointMs < now
    const of = last === undefined ? "an unfinished action" : last.label
    const reason = published
      ? "its action has been published"
      : idle
        ? `of ${of}, from which nobody went on for 30 days`
        : `of ${of}, which would begin anew`
    found.push({
      kind: "checkpoint",
      path,
      bytes,
      reason,
      key: name,
      kept: !published && !idle && !options.checkpoints
    })
  }
  return found
})

const temporary = Effect.fnUntraced(function* (maintenance: Maintenance) {
  const { bytes, count } = yield* maintenance.store.sweep({ olderThanMs: temporaryMs, dryRun: true })
  const path = join(maintenance.paths.root, "tmp")
  return count === 0
    ? []
    : [{ kind: "temporary", path, bytes, reason: `${count} files of dead processes`, kept: false } satisfies Leftover]
})

const logs = Effect.fnUntraced(function* (maintenance: Maintenance, options: LeftoverOptions, now: number) {
  const keep = yield* ledgerOf(maintenance.database)(
    database =>
      new Set([
        ...lastRuns(database, options.keepRuns).map(({ id }) => id),
        ...liveRuns(database, hereOf(maintenance, now)).map(({ id }) => id)
      ])
  )
  const found: Array<Leftover> = []
  for (const { name } of yield* orNone(maintenance.disk.readdir(maintenance.paths.logs))) {
    if (!/^\d+$/.test(name) || keep.has(Number(name))) continue
    const path = join(maintenance.paths.logs, name)
    const { bytes } = yield* measure(maintenance.disk, path)
    found.push({ kind: "log", path, bytes, reason: "of a run that is not among the last ones", kept: !options.logs })
  }
  return found
})

const quarantined = Effect.fnUntraced(function* (maintenance: Maintenance, options: LeftoverOptions) {
  const directory = join(maintenance.paths.root, "quarantine")
  const found: Array<Leftover> = []
  for (const entry of yield* orNone(maintenance.disk.readdir(directory))) {
    const digest = entry.name.split(".")[0]!
    if (!isDigest(digest)) continue
    const path = join(directory, entry.name)
    const { bytes } = yield* measure(maintenance.disk, path)
    const what = entry.name.endsWith(".json") ? "note on" : "damaged bytes of"
    found.push({
      kind: "quarantine",
      path,
      bytes,
      reason: `${what} object ${short(digest)}`,
      kept: !options.quarantine
    })
  }
  return found
})

/** Removes them, except those that are kept; for good. Returns those that went. */
export const removeLeftovers = Effect.fn("removeLeftovers")(function* (
  maintenance: Maintenance,
  leftovers: ReadonlyArray<Leftover>,
  now: number
): Effect.fn.Return<ReadonlyArray<Leftover>, StorageError | LedgerError> {
  const gone: Array<Leftover> = []
  for (const leftover of leftovers) {
    if (leftover.kept) continue
    switch (leftover.kind) {
      case "temporary":
        yield* maintenance.store.sweep({ olderThanMs: temporaryMs })
        break
      case "checkpoint":
        if (!(yield* removeCheckpoint(maintenance, leftover.path, leftover.key!, now))) continue
        break
      case "quarantine":
        // Whatever had the name of an object may be there, a directory too.
        if ((yield* maintenance.disk.stat(leftover.path)).kind === "directory")
          yield* removeTree(maintenance.disk, leftover.path)
        else yield* maintenance.disk.unlink(leftover.path)
        break
      case "attempt":
      case "log":
        yield* removeTree(maintenance.disk, leftover.path)
    }
    gone.push(leftover)
  }
  return gone
})

/**
 * With the lease of its key, so that no action begins to write into it meanwhile. Where the disk has no room even for that, it goes without:
 * nobody can begin anything there.
 */
const removeCheckpoint = (maintenance: Maintenance, path: string, key: Digest, now: number) =>
  Effect.acquireUseRelease(
    ledgerOf(maintenance.database)(database =>
      Leases.acquire(database, key, maintenance.owner, { now, duration: leaseMs, alive: maintenance.alive })
    ).pipe(
      Effect.catchIf(
        error => noRoom.test(error.code),
        () => Effect.succeed("no room" as const)
      )
    ),
    lease =>
      lease === "no room" || Leases.isLease(lease)
        ? Effect.as(removeTree(maintenance.disk, path), true)
        : Effect.succeed(false),
    lease =>
      lease !== "no room" && Leases.isLease(lease)
        ? Effect.ignore(ledgerOf(maintenance.database)(database => Leases.release(database, lease)))
        : Effect.void
  )

/** What SQLite says when it cannot write, or could only be opened for reading. */
const noRoom = /^SQLITE_(FULL|IOERR|READONLY)/

/** Objects on their way out: moved into `trash/<time>/`, restorable until the trash is emptied. */
import { basename, join } from "node:path"
import { Clock, Effect } from "effect"
import { type Digest, isDigest } from "../pipeline/Digest.ts"
import {
  ensureDirectories,
  type StoreContext,
  isDirectory,
  objectPath,
  orMissing,
  parallel,
  shardOf
} from "./StoreContext.ts"
import { move } from "./Moving.ts"
import { ObjectDamaged, ObjectMissing } from "./ObjectError.ts"

/** What was moved or removed. */
export interface Discarded {
  readonly objects: number
  readonly bytes: number
}

/** `2026-11-23T08-30-00.000Z`: sorts by time, and has no colon, which some file systems refuse. */
const stampOf = (millis: number): string => new Date(millis).toISOString().replaceAll(":", "-")

const timeOf = (stamp: string): number | undefined => {
  const match = /^(\d{4}-\d{2}-\d{2}T\d{2})-(\d{2})-(\d{2}\.\d{3}Z)$/.exec(stamp)
  const time = match === null ? Number.NaN : Date.parse(`${match[1]}:${match[2]}:${match[3]}`)
  return Number.isNaN(time) ? undefined : time
}

/** Moves objects out of the store, into a folder of the trash that is named after the time. Objects that are not there are skipped. */
export const trash = Effect.fnUntraced(function* (context: StoreContext, digests: Iterable<Digest>) {
  const { disk, faults } = context
  const folder = join(context.trash, stampOf(yield* Clock.currentTimeMillis))
  yield* ensureDirectories(context, [folder])
  const shards = new Set<string>()
  const discard = Effect.fnUntraced(function* (digest: Digest) {
    const from = objectPath(context, digest)
    const stat = yield* orMissing(disk.stat(from))
    if (stat === undefined) return 0
    yield* faults("trash.before-rename")
    const moved = yield* orMissing(Effect.as(move(context.disk, from, join(folder, digest)), true))
    if (moved === undefined) return 0
    yield* faults("trash.after-rename")
    context.checks.forget(digest)
    shards.add(shardOf(context, digest))
    return { bytes: stat.size }
  })
  const moved = yield* Effect.forEach(new Set(digests), discard, { concurrency: parallel })
  // The new names first, for file systems that may keep one half of a rename: better in both places than in none.
  yield* disk.syncDirectory(folder)
  yield* Effect.forEach(shards, shard => disk.syncDirectory(shard), { concurrency: parallel, discard: true })
  yield* faults("trash.after-directory-sync")
  let objects = 0
  let bytes = 0
  for (const one of moved) {
    if (one === 0) continue
    objects++
    bytes += one.bytes
  }
  return { folder, objects, bytes }
})

/** The folders of the trash, oldest first. Others' folders are not ours to touch. */
export const folders = Effect.fnUntraced(function* (context: StoreContext) {
  const entries = (yield* orMissing(context.disk.readdir(context.trash))) ?? []
  const found: Array<{ readonly path: string; readonly time: number }> = []
  for (const entry of entries) {
    const time = timeOf(entry.name)
    if (time !== undefined && (yield* isDirectory(context, context.trash, entry)))
      found.push({ path: join(context.trash, entry.name), time })
  }
  return found.sort((a, b) => a.time - b.time)
})

/** Brings an object back from the newest folder that has it, after hashing it. Does nothing if the store has it. */
export const restoreFromTrash = Effect.fnUntraced(function* (context: StoreContext, digest: Digest) {
  const { disk, faults } = context
  const to = objectPath(context, digest)
  if ((yield* orMissing(disk.stat(to))) !== undefined) return
  for (const { path } of (yield* folders(context)).reverse()) {
    const from = join(path, digest)
    if ((yield* orMissing(disk.stat(from)))?.kind !== "file") continue
    const actual = yield* orMissing(disk.hash(from))
    if (actual === undefined) continue
    if (actual.sha256 !== digest) {
      return yield* new ObjectDamaged({
        digest,
        path: from,
        reason: "bytes",
        actualSize: actual.size,
        actualDigest: actual.sha256
      })
    }
    yield* ensureDirectories(context, [shardOf(context, digest)])
    yield* faults("restore.before-rename")
    yield* move(context.disk, from, to)
    yield* faults("restore.after-rename")
    yield* disk.syncDirectory(shardOf(context, digest))
    yield* disk.syncDirectory(path)
    return
  }
  return yield* new ObjectMissing({ digest, root: context.root })
})

/** One folder of the trash. */
export interface TrashFolder extends Discarded {
  readonly path: string
  /** When its objects were moved there, in milliseconds since 1970. */
  readonly time: number
}

/** What the trash holds, oldest first. */
export const trashed = Effect.fnUntraced(function* (context: StoreContext) {
  const found: Array<TrashFolder> = []
  for (const folder of yield* folders(context)) {
    let objects = 0
    let bytes = 0
    for (const entry of (yield* orMissing(context.disk.readdir(folder.path))) ?? []) {
      const stat = isDigest(entry.name) ? yield* orMissing(context.disk.stat(join(folder.path, entry.name))) : undefined
      if (stat === undefined) continue
      objects++
      bytes += stat.size
    }
    found.push({ ...folder, objects, bytes })
  }
  return found as ReadonlyArray<TrashFolder>
})

export interface EmptyTrashOptions {
  readonly olderThanMs: number
  /** Only count what would be deleted. */
  readonly dryRun?: boolean
}

/** Deletes what was moved to the trash more than `olderThanMs` milliseconds ago. */
export const emptyTrash = Effect.fnUntraced(function* (context: StoreContext, options: EmptyTrashOptions) {
  const { disk } = context
  const before = (yield* Clock.currentTimeMillis) - options.olderThanMs
  let objects = 0
  let bytes = 0
  for (const { path, time } of yield* folders(context)) {
    if (time > before) continue
    let foreign = false
    for (const entry of yield* disk.readdir(path)) {
      if (entry.kind === "directory" || !isDigest(basename(entry.name))) {
        foreign = true
        continue
      }
      const file = join(path, entry.name)
      const stat = yield* orMissing(disk.stat(file))
      if (options.dryRun !== true) yield* orMissing(disk.unlink(file))
      if (stat === undefined) continue
      objects++
      bytes += stat.size
    }
    if (!foreign && options.dryRun !== true) yield* orMissing(disk.rmdir(path))
  }
  return { objects, bytes } satisfies Discarded
})

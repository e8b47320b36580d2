/** How bytes become objects: written and synced under a private name, renamed into place, and only then reported. */
import { createHash } from "node:crypto"
import { join } from "node:path"
import { Effect } from "effect"
import { type Digest, sha256, updateAll } from "../pipeline/Digest.ts"
import type { Content } from "../pipeline/StageContext.ts"
import type { Appender } from "./Disk.ts"
import {
  ensureDirectories,
  explainFull,
  type StoreContext,
  isMissing,
  objectMode,
  objectPath,
  orMissing,
  parallel,
  shardOf,
  uniqueName
} from "./StoreContext.ts"
import { copyOver, move } from "./Moving.ts"
import { ContentFailed, StagedChanged } from "./ObjectError.ts"
import { quarantine, told } from "./Quarantine.ts"
import type { StorageError } from "./StorageError.ts"

/** An object: its name and its size in bytes. */
export interface Stored {
  readonly sha256: Digest
  readonly size: number
}

/** A file that an action wrote, hashed on the way, outside the store but on the same disk if possible. */
export interface Staged extends Stored {
  readonly path: string
}

/** Larger contents are written in pieces of this size, so that no single call blocks the disk for long. */
const pieceSize = 1024 * 1024

/**
 * Whether the writable store has the object already, with its bytes. One with others is damaged: it is moved aside, because the right
 * ones are at hand now, and who makes a lost result again must not end up with what was lost. To hash it costs what it cost to
 * hash those at hand. Layers are not asked: an object that an action made stays complete when the program, and its shipped files with
 * it, changes.
 */
const exists = Effect.fnUntraced(function* (context: StoreContext, digest: string, size: number) {
  const path = objectPath(context, digest)
  const stat = yield* orMissing(context.disk.stat(path))
  if (stat === undefined) return false
  const moveAside = Effect.fnUntraced(function* (reason: string) {
    if (yield* told(context, digest, Math.max(stat.size, size))) yield* quarantine(context, digest, reason, stat)
  })
  if (stat.kind !== "file" || stat.size !== size) {
    yield* moveAside(`found ${stat.size} bytes where ${size} were to be stored`)
    return false
  }
  const found = yield* Effect.catchIf(
    context.disk.hash(path),
    // On a bad sector there is nothing to keep aside; the file that takes its place mends it.
    error => error.code === "EIO" || isMissing(error),
    () => Effect.void
  )
  if (found?.sha256 === digest) return true
  if (found !== undefined) yield* moveAside("found other bytes where these were to be stored")
  return false
})

/**
 * Makes a staged file ours alone. One that has another name as well is replaced by a copy, which is hashed: whoever has that name may
 * have written to the file since it was, and could write to the object later.
 */
const makeOwn = (context: StoreContext, { path, sha256: digest, size }: Staged) =>
  copyOver(context.disk, path, path, copy =>
    Effect.flatMap(context.disk.hash(copy), actual =>
      actual.sha256 === digest
        ? Effect.void
        : Effect.fail(new StagedChanged({ path, digest, expectedSize: size, actualSize: actual.size }))
    )
  )

/** Writes to a new file in `tmp/`, syncs it, renames it; whatever goes wrong, nothing stays behind. */
const writeObject = <E>(
  context: StoreContext,
  size: number | undefined,
  fill: (file: Appender) => Effect.Effect<Stored, E>
): Effect.Effect<Stored, E | StorageError> => {
  const { disk, faults } = context
  const staging = join(context.tmp, uniqueName())
  return Effect.gen(function* () {
    yield* ensureDirectories(context, [context.tmp])
    yield* faults("put.before-write")
    const stored = yield* Effect.acquireUseRelease(
      disk.append(staging, { exclusive: true }),
      file =>
        Effect.gen(function* () {
          const stored = yield* fill(file)
          yield* faults("put.after-write")
          yield* disk.chmod(staging, objectMode)
          yield* file.sync
          return stored
        }),
      file => file.close
    )
    yield* faults("put.after-sync")
    yield* ensureDirectories(context, [shardOf(context, stored.sha256)])
    // A content of unknown digest can be told to exist only now.
    if (size === undefined && (yield* exists(context, stored.sha256, stored.size))) yield* disk.unlink(staging)
    else yield* move(context.disk, staging, objectPath(context, stored.sha256))
    yield* faults("put.after-rename")
    yield* disk.syncDirectory(shardOf(context, stored.sha256))
    yield* faults("put.after-directory-sync")
    return stored
  }).pipe(
    Effect.onError(() => Effect.ignore(disk.unlink(staging))),
    explainFull(context, size)
  )
}

const putBytes = Effect.fnUntraced(function* (context: StoreContext, bytes: Uint8Array) {
  const stored: Stored = { sha256: sha256(bytes), size: bytes.length }
  if (yield* exists(context, stored.sha256, stored.size)) {
    // Whoever put it there made the shard durable before, but perhaps not yet the name in it.
    yield* context.disk.syncDirectory(shardOf(context, stored.sha256))
    return stored
  }
  return yield* writeObject(context, bytes.length, file =>
    Effect.gen(function* () {
      for (let from = 0; from < bytes.length; from += pieceSize) {
        if (from > 0) yield* context.faults("put.mid-write")
        yield* file.write(bytes.subarray(from, from + pieceSize))
      }
      return stored
    })
  )
})

/** Tells the source that no more is wanted, and does not wait: after an interruption it may never answer. */
const stop = async (iterator: AsyncIterator<Uint8Array>) => {
  try {
    await iterator.return?.()
  } catch {
    // What was wanted of it is complete, or has failed for a better reason.
  }
}

const putStream = (context: StoreContext, content: AsyncIterable<Uint8Array>) =>
  writeObject(context, undefined, file =>
    Effect.acquireUseRelease(
      Effect.sync(() => content[Symbol.asyncIterator]()),
      iterator =>
        Effect.gen(function* () {
          const hasher = createHash("sha256")
          let size = 0
          for (;;) {
            const next = yield* Effect.tryPromise({
              try: () => iterator.next(),
              catch: cause => new ContentFailed({ cause })
            })
            if (next.done === true) return { sha256: hasher.digest("hex") as Digest, size }
            if (size > 0) yield* context.faults("put.mid-write")
            updateAll(hasher, next.value)
            yield* file.write(next.value)
            size += next.value.length
          }
        }),
      iterator => Effect.sync(() => void stop(iterator))
    )
  )

/** Stores bytes under their SHA-256. Bytes that are there already are not written a second time. */
export const put = (context: StoreContext, content: Content): Effect.Effect<Stored, StorageError | ContentFailed> =>
  typeof content === "string"
    ? putBytes(context, Buffer.from(content))
    : content instanceof Uint8Array
      ? putBytes(context, content)
      : putStream(context, content)

/** What `publish` did with its files. */
export interface Published {
  /** Files that became objects. */
  readonly added: number
  /** Bytes of those. */
  readonly addedBytes: number
  /** Files whose objects were there already, or that were listed twice; they are gone. */
  readonly kept: number
}

/** Where a staged file goes: it becomes an object, it is not needed, or an earlier attempt has moved it already. */
type Fate = "new" | "known" | "moved"

const inspect = Effect.fnUntraced(function* (context: StoreContext, staged: Staged) {
  const stat = yield* orMissing(context.disk.stat(staged.path))
  const known = yield* exists(context, staged.sha256, staged.size)
  if (stat === undefined && known) return "moved" satisfies Fate
  if (stat === undefined || stat.kind !== "file" || stat.size !== staged.size) {
    return yield* new StagedChanged({
      path: staged.path,
      digest: staged.sha256,
      expectedSize: staged.size,
      ...(stat?.kind === "file" ? { actualSize: stat.size } : {})
    })
  }
  if (known) return "known" satisfies Fate
  if (stat.nlink > 1) yield* makeOwn(context, staged)
  return "new" satisfies Fate
})

/**
 * Moves the files of a finished action into the store; all of them are durable when it returns. The digests are those that
 * were computed while the files were written, and are not computed again; the sizes are checked. Objects that are there already are
 * hashed. May be repeated after a failure or a kill at any point: files that were moved before are found in the store.
 */
export const publish = Effect.fnUntraced(function* (context: StoreContext, staged: ReadonlyArray<Staged>) {
  const { disk, faults } = context
  const files = [...new Map(staged.map(file => [file.path, file])).values()]
  yield* faults("publish.before-check")
  const fates = yield* Effect.forEach(files, file => inspect(context, file), { concurrency: parallel })
  yield* faults("publish.after-check")

  const fresh = new Map<Digest, Staged>()
  const unneeded: Array<Staged> = []
  files.forEach((file, i) => {
    if (fates[i] === "new" && !fresh.has(file.sha256)) fresh.set(file.sha256, file)
    else if (fates[i] !== "moved") unneeded.push(file)
  })
  const added = [...fresh.values()]
  const addedBytes = added.reduce((sum, file) => sum + file.size, 0)

  yield* Effect.gen(function* () {
    // Also those of objects that were there already: who put them there may not have come to syncing their names yet.
    const shards = [...new Set(files.map(file => shardOf(context, file.sha256)))]
    yield* Effect.forEach(
      added,
      file =>
        disk
          .chmod(file.path, objectMode)
          .pipe(Effect.andThen(disk.syncFile(file.path)), Effect.andThen(faults("publish.file-synced"))),
      { concurrency: parallel, discard: true }
    )
    yield* ensureDirectories(
      context,
      added.map(file => shardOf(context, file.sha256))
    )
    yield* Effect.forEach(
      added,
      file =>
        faults("publish.before-rename").pipe(
          Effect.andThen(move(context.disk, file.path, objectPath(context, file.sha256))),
          Effect.andThen(faults("publish.after-rename"))
        ),
      { concurrency: parallel, discard: true }
    )
    yield* Effect.forEach(
      shards,
      shard => disk.syncDirectory(shard).pipe(Effect.andThen(faults("publish.directory-synced"))),
      { concurrency: parallel, discard: true }
    )
  }).pipe(explainFull(context, addedBytes))

  yield* faults("publish.published")
  // The private directory goes anyway; a file that cannot be removed now does no harm.
  yield* Effect.forEach(unneeded, file => Effect.ignore(disk.unlink(file.path)), {
    concurrency: parallel,
    discard: true
  })
  yield* faults("publish.done")
  return { added: added.length, addedBytes, kept: files.length - added.length } satisfies Published
})

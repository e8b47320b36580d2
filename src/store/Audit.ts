/** Looking over the whole store: what there is, whether it is sound, and what dead processes left behind. */
import { join } from "node:path"
import { Clock, Effect, Stream } from "effect"
import { type Digest, isDigest } from "../pipeline/Digest.ts"
import {
  type StoreContext,
  isAlive,
  isDirectory,
  makerOf,
  type Maker,
  orMissing,
  parallel,
  self,
  setAside
} from "./StoreContext.ts"
import type { LayerInvalid, ObjectDamaged } from "./ObjectError.ts"
import { has, verify } from "./Reading.ts"
import type { StorageError } from "./StorageError.ts"
import { folders } from "./Trash.ts"
import type { Stored } from "./Writing.ts"

const sizesIn = Effect.fnUntraced(function* (context: StoreContext, directory: string, names: ReadonlyArray<string>) {
  const stats = yield* Effect.forEach(names, name => orMissing(context.disk.stat(join(directory, name))), {
    concurrency: parallel
  })
  return stats
})

const listShard = Effect.fnUntraced(function* (context: StoreContext, shard: string) {
  const directory = join(context.objects, shard)
  const names = ((yield* orMissing(context.disk.readdir(directory))) ?? [])
    .map(entry => entry.name)
    .filter(name => isDigest(shard + name))
    .sort()
  const stats = yield* sizesIn(context, directory, names)
  const found: Array<Stored> = []
  names.forEach((name, i) => {
    const stat = stats[i]
    if (stat !== undefined) found.push({ sha256: (shard + name) as Digest, size: stat.size })
  })
  return found
})

/** The folders of the objects, and what has the name of one without being one. */
const shards = Effect.fnUntraced(function* (context: StoreContext) {
  const good: Array<string> = []
  const odd: Array<string> = []
  for (const entry of (yield* orMissing(context.disk.readdir(context.objects))) ?? []) {
    if (!/^[0-9a-f]{2}$/.test(entry.name)) continue
    ;((yield* isDirectory(context, context.objects, entry)) ? good : odd).push(entry.name)
  }
  return { good: good.sort(), odd }
})

/**
 * The objects of the writable store in the order of their digests, whatever kind of file has their name. Files with other names are not
 * ours, and are passed over.
 */
export const list = (context: StoreContext): Stream.Stream<Stored, StorageError> =>
  Stream.fromIterableEffect(Effect.map(shards(context), ({ good }) => good)).pipe(
    Stream.mapEffect(shard => listShard(context, shard)),
    Stream.flattenIterable
  )

/** Counts and bytes, by what the files are there for. */
export interface Usage {
  readonly objects: Tally
  readonly trash: Tally
  readonly quarantine: Tally
  readonly staging: Tally
  /** Bytes left on the disk. */
  readonly free: number
}

export interface Tally {
  readonly count: number
  readonly bytes: number
}

const tallyOf = Effect.fnUntraced(function* (context: StoreContext, directory: string) {
  const names = ((yield* orMissing(context.disk.readdir(directory))) ?? [])
    .filter(entry => entry.kind === "file")
    .map(entry => entry.name)
  let count = 0
  let bytes = 0
  for (const stat of yield* sizesIn(context, directory, names)) {
    if (stat === undefined) continue
    count++
    bytes += stat.size
  }
  return { count, bytes } satisfies Tally
})

const none: Tally = { count: 0, bytes: 0 }
const plus = (a: Tally, b: Tally): Tally => ({ count: a.count + b.count, bytes: a.bytes + b.bytes })

export const usage = Effect.fnUntraced(function* (context: StoreContext) {
  const objects = yield* Stream.runFold(
    list(context),
    () => none,
    (sum, object) => plus(sum, { count: 1, bytes: object.size })
  )
  let trash = none
  for (const { path } of yield* folders(context)) trash = plus(trash, yield* tallyOf(context, path))
  const free = (yield* orMissing(context.disk.free(context.root))) ?? 0
  const quarantine = yield* tallyOf(context, context.quarantine)
  const staging = yield* tallyOf(context, context.tmp)
  return { objects, trash, quarantine, staging, free } satisfies Usage
})

export interface VerifyAllOptions {
  /** Objects read at a time; 2 by default. Each may keep a core busy. */
  readonly concurrency?: number
  /** Called after each object with what was done so far. */
  readonly onProgress?: (done: Tally) => Effect.Effect<void>
  /** What ought to be there, with sizes: finds objects that are missing, and large ones that were cut short. */
  readonly expected?: Iterable<Stored>
  /** Which of the objects to hash; all by default. */
  readonly chosen?: (digest: Digest) => boolean
}

export interface Verification {
  readonly checked: number
  readonly bytes: number
  readonly damaged: ReadonlyArray<ObjectDamaged>
  readonly missing: ReadonlyArray<Digest>
  /** Files that had the names of folders, and where they are now. */
  readonly odd: ReadonlyArray<string>
}

/** Hashes every object of the store and of its layers. Damaged ones are moved aside and listed; the rest of the store goes on working. */
export const verifyAll = Effect.fnUntraced(function* (context: StoreContext, options: VerifyAllOptions = {}) {
  const expected = new Map<string, Stored>()
  for (const object of options.expected ?? []) expected.set(object.sha256, object)
  const missing = new Set(expected.keys() as Iterable<Digest>)
  const damaged: Array<ObjectDamaged> = []
  let done = none

  const checkOne = (object: Stored) =>
    verify(context, object.sha256, { size: expected.get(object.sha256)?.size ?? object.size }).pipe(
      Effect.catchTags({
        ObjectDamaged: error => {
          damaged.push(error)
          return Effect.succeed(object)
        },
        // Collected by another process since it was listed.
        ObjectMissing: () => Effect.void
      }),
      Effect.flatMap(checked => {
        if (checked === undefined) return Effect.void
        missing.delete(object.sha256)
        done = plus(done, { count: 1, bytes: checked.size })
        return options.onProgress?.(done) ?? Effect.void
      })
    )

  const odd: Array<string> = []
  for (const name of (yield* shards(context)).odd) {
    const to = yield* setAside(context, join(context.objects, name))
    if (to !== undefined) odd.push(to)
  }
  const seen = new Set<string>()
  const below: Array<Stored> = []
  const own = Stream.map(list(context), object => {
    if (context.layers.length > 0) seen.add(object.sha256)
    return object
  })
  const { chosen = () => true } = options
  const run = <E>(objects: Stream.Stream<Stored, E>) =>
    Stream.runDrain(
      Stream.mapEffect(
        Stream.filter(objects, object => chosen(object.sha256)),
        checkOne,
        { concurrency: options.concurrency ?? 2, unordered: true }
      )
    )
  yield* run(own)
  for (const layer of context.layers) {
    for (const [digest, object] of (yield* layer.content).objects) {
      if (!seen.has(digest)) below.push({ sha256: digest as Digest, size: object.size })
      seen.add(digest)
    }
  }
  yield* run(Stream.fromIterable(below))
  // What appeared while we were reading is not missing.
  for (const digest of yield* has(context, missing)) missing.delete(digest)
  return { checked: done.count, bytes: done.bytes, damaged, missing: [...missing], odd } satisfies Verification
}) as (context: StoreContext, options?: VerifyAllOptions) => Effect.Effect<Verification, StorageError | LayerInvalid>

/** Whether the maker of a temporary file can still be at work. Of other hosts nothing is known but the file's age. */
const atWork = (maker: Maker): boolean =>
  maker.host === self.host && (maker.pid === self.pid ? maker.incarnation === self.incarnation : isAlive(maker.pid))

export interface SweepOptions {
  readonly olderThanMs: number
  /** Only count what would be removed. */
  readonly dryRun?: boolean
}

/**
 * Removes what dead processes left: temporary files untouched for `olderThanMs` milliseconds whose maker is not alive on this host. They lie in
 * `tmp/`; a copy from one file system to another is made in the folder that it is for. On a disk that several hosts share, the age must be longer
 * than any single file takes to write.
 */
export const sweep = Effect.fnUntraced(function* (context: StoreContext, options: SweepOptions) {
  const { disk } = context
  const before = (yield* Clock.currentTimeMillis) - options.olderThanMs
  const places = [
    context.tmp,
    context.quarantine,
    ...(yield* folders(context)).map(({ path }) => path),
    ...(yield* shards(context)).good.map(name => join(context.objects, name))
  ]
  let removed = none
  for (const place of places) {
    for (const entry of (yield* orMissing(disk.readdir(place))) ?? []) {
      const maker = makerOf(entry.name)
      if (entry.kind === "directory" || maker === undefined || atWork(maker)) continue
      const path = join(place, entry.name)
      const stat = yield* orMissing(disk.stat(path))
      if (stat === undefined || Number(stat.mtimeNs / 1_000_000n) > before) continue
      if (options.dryRun !== true) yield* orMissing(disk.unlink(path))
      removed = plus(removed, { count: 1, bytes: stat.size })
    }
  }
  return removed
})

/** How objects are found and handed out: never without a check that their bytes are those of their name. */
import { Clock, Effect } from "effect"
import { type Digest, sha256 } from "../pipeline/Digest.ts"
import { hashUnchanged } from "./Checks.ts"
import { type FileStat, identity, notRegular } from "./Disk.ts"
import { type StoreContext, isMissing, objectPath, orMissing, parallel, shardOf } from "./StoreContext.ts"
import { ObjectDamaged, ObjectMissing, type ReadError } from "./ObjectError.ts"
import { quarantine, told } from "./Quarantine.ts"
import type { StorageError } from "./StorageError.ts"
import { put } from "./Writing.ts"

export interface ReadOptions {
  /** Bytes that the object must have, as its manifest says: one that was cut short is found without reading it. */
  readonly size?: number
}

/** Up to this size an object is hashed whenever it is read; beyond, whenever its file is not known to be sound. */
export const alwaysHashed = 1024 * 1024

interface FoundFile {
  readonly _tag: "own" | "layer"
  readonly path: string
  /** Of what the name leads to; undefined where that is no regular file. */
  readonly stat: FileStat | undefined
  /** Of the name itself, which may be a link. */
  readonly entry: FileStat
  /** As the layer's index says; of our own, as found. */
  readonly size: number
}

type Found = FoundFile | { readonly _tag: "memory"; readonly bytes: Uint8Array; readonly size: number }

/** What stands under a name: undefined if nothing does. */
const lookAt = Effect.fnUntraced(function* (context: StoreContext, path: string) {
  const entry = yield* orMissing(context.disk.stat(path))
  if (entry === undefined) return undefined
  const stat = entry.kind === "other" ? yield* orMissing(context.disk.stat(path, { follow: true })) : entry
  return { path, entry, stat: stat?.kind === "file" ? stat : undefined }
})

const find = Effect.fnUntraced(function* (context: StoreContext, digest: string) {
  const own = yield* lookAt(context, objectPath(context, digest))
  if (own !== undefined) return { _tag: "own", ...own, size: own.stat?.size ?? 0 } satisfies Found
  for (const layer of context.layers) {
    const object = (yield* layer.content).objects.get(digest)
    if (object === undefined) continue
    if (object._tag === "memory") return object
    const there = yield* lookAt(context, object.path)
    if (there !== undefined) return { _tag: "layer", ...there, size: object.size } satisfies Found
  }
  return yield* new ObjectMissing({ digest, root: context.root })
}) as (context: StoreContext, digest: string) => Effect.Effect<Found, ReadError>

/** The error for a damaged object, after it was moved aside; where that is not possible, it stays and the error says so. */
const damaged = Effect.fnUntraced(function* (
  context: StoreContext,
  digest: string,
  found: FoundFile,
  what: Pick<ObjectDamaged, "reason"> & { actualSize?: number; actualDigest?: string; expectedSize?: number }
) {
  context.checks.forget(digest)
  const fields = { digest, path: found.path, ...what }
  const size = Math.max(found.size, found.stat?.size ?? 0, what.actualSize ?? 0, what.expectedSize ?? 0)
  const to =
    (yield* told(context, digest, size)) && found._tag === "own"
      ? yield* Effect.orElseSucceed(
          quarantine(context, digest, new ObjectDamaged(fields).message, found.entry),
          () => undefined
        )
      : undefined
  return yield* new ObjectDamaged(to === undefined ? fields : { ...fields, quarantined: to })
})

/** What a failing read says about an object: gone meanwhile, on a bad sector, no file any more, or nothing in particular. */
const explained =
  (context: StoreContext, digest: string, found: FoundFile) =>
  <A>(effect: Effect.Effect<A, StorageError>): Effect.Effect<A, ReadError> =>
    effect.pipe(
      Effect.catch((error): Effect.Effect<never, ReadError> => {
        if (isMissing(error)) return Effect.fail(new ObjectMissing({ digest, root: context.root }))
        if (error.code === "EIO") return damaged(context, digest, found, { reason: "unreadable" })
        if (error.code === notRegular) return damaged(context, digest, found, { reason: "kind" })
        return Effect.fail(error)
      })
    )

/** The state of the object's file, after a look at its kind and its size. */
const checkShape = (
  context: StoreContext,
  digest: string,
  found: FoundFile,
  options: ReadOptions
): Effect.Effect<FileStat, ReadError> => {
  const { stat } = found
  if (stat === undefined) return damaged(context, digest, found, { reason: "kind" })
  const expectedSize = options.size ?? found.size
  return stat.size === expectedSize
    ? Effect.succeed(stat)
    : damaged(context, digest, found, { reason: "size", expectedSize, actualSize: stat.size })
}

const checkWhole = Effect.fnUntraced(function* (context: StoreContext, digest: string, found: FoundFile) {
  const atMs = yield* Clock.currentTimeMillis
  const actual = yield* hashUnchanged(context.disk, found.path, atMs).pipe(explained(context, digest, found))
  if (actual.sha256 !== digest) {
    return yield* damaged(context, digest, found, {
      reason: "bytes",
      actualSize: actual.size,
      actualDigest: actual.sha256
    })
  }
  if (actual.size > alwaysHashed) context.checks.add({ digest, file: actual.file, atMs })
})

/** The check before an object is used in place: in full, unless it is large and the same file was checked before. */
const check = Effect.fnUntraced(function* (
  context: StoreContext,
  digest: string,
  found: FoundFile,
  options: ReadOptions
) {
  const stat = yield* checkShape(context, digest, found, options)
  if (stat.size > alwaysHashed && context.checks.has(digest, stat)) return
  yield* checkWhole(context, digest, found)
})

/** A damaged object in the writable store may hide a sound one in a layer below: once it is out of the way, look again. */
const orBelow = <A>(effect: Effect.Effect<A, ReadError>, context: StoreContext): Effect.Effect<A, ReadError> =>
  context.layers.length === 0
    ? effect
    : Effect.catchTag(effect, "ObjectDamaged", error =>
        error.quarantined === undefined
          ? Effect.fail(error)
          : Effect.catchTag(effect, "ObjectMissing", () => Effect.fail(error))
      )

/** The very bytes that are handed out are hashed. */
export const read = Effect.fnUntraced(function* (context: StoreContext, digest: string, options: ReadOptions = {}) {
  const found = yield* find(context, digest)
  if (found._tag === "memory") return found.bytes
  yield* checkShape(context, digest, found, options)
  const atMs = yield* Clock.currentTimeMillis
  const bytes = yield* context.disk.read(found.path).pipe(explained(context, digest, found))
  const actual = sha256(bytes)
  if (actual !== digest) {
    return yield* damaged(context, digest, found, {
      reason: "bytes",
      actualSize: bytes.length,
      actualDigest: actual
    })
  }
  if (bytes.length > alwaysHashed) context.checks.add({ digest, file: "", atMs })
  return bytes
}, orBelow)

export const readRange = Effect.fnUntraced(function* (
  context: StoreContext,
  digest: string,
  offset: number,
  length: number,
  options: ReadOptions = {}
) {
  const found = yield* find(context, digest)
  if (found._tag === "memory" || found.size <= alwaysHashed) {
    return (yield* read(context, digest, options)).subarray(offset, offset + length)
  }
  yield* check(context, digest, found, options)
  return yield* context.disk.readRange(found.path, offset, length).pipe(explained(context, digest, found))
}, orBelow)

/** The path of an object. One that exists in memory only (the manifest of a layer's artifact) is stored first. */
const pathOf = Effect.fnUntraced(function* (context: StoreContext, digest: string, found: Found) {
  if (found._tag !== "memory") return found.path
  yield* put(context, found.bytes).pipe(Effect.catchTag("ContentFailed", Effect.die))
  return objectPath(context, digest)
})

export const locate = Effect.fnUntraced(function* (context: StoreContext, digest: string) {
  return yield* pathOf(context, digest, yield* find(context, digest))
})

export const openVerified = Effect.fnUntraced(function* (
  context: StoreContext,
  digest: string,
  options: ReadOptions = {}
) {
  const found = yield* find(context, digest)
  if (found._tag !== "memory") yield* check(context, digest, found, options)
  return yield* pathOf(context, digest, found)
}, orBelow)

/** An object whose bytes may be used already, but not believed before the check has ended well. */
export interface Opened {
  readonly path: string
  /** What was there when it was opened; undefined for an object that is in no file of its own. */
  readonly file: FileStat | undefined
  /** The full check, where it is not done yet. */
  readonly pending: Effect.Effect<void, ReadError> | undefined
  /** Fails if the file is not the one that was opened, or was touched since: asked when the bytes have been used. */
  readonly unchanged: Effect.Effect<void, ReadError>
}

/** Opens an object at once: small ones are checked before, large ones while they are used. */
export const openEarly = Effect.fnUntraced(function* (
  context: StoreContext,
  digest: string,
  options: ReadOptions = {}
): Effect.fn.Return<Opened, ReadError> {
  const found = yield* find(context, digest)
  if (found._tag === "memory") {
    const path = yield* pathOf(context, digest, found)
    return {
      path,
      file: undefined,
      pending: undefined,
      unchanged: Effect.asVoid(openVerified(context, digest))
    }
  }
  const stat = yield* checkShape(context, digest, found, options)
  /** Whoever gives the file another name, or takes one away, changes its ctime and nothing else: then its bytes tell. */
  const sameBytes = Effect.fnUntraced(function* (now: FileStat) {
    if (identity({ ...now, ctimeNs: stat.ctimeNs }) !== identity(stat)) return false
    const atMs = yield* Clock.currentTimeMillis
    return (
      (yield* hashUnchanged(context.disk, found.path, atMs).pipe(explained(context, digest, found))).sha256 === digest
    )
  })
  const small = stat.size <= alwaysHashed
  if (small) yield* checkWhole(context, digest, found)
  return {
    path: found.path,
    file: stat,
    pending: small || context.checks.has(digest, stat) ? undefined : checkWhole(context, digest, found),
    unchanged: Effect.gen(function* () {
      const now = yield* orMissing(context.disk.stat(found.path, { follow: true }))
      if (now !== undefined && (identity(now) === identity(stat) || (yield* sameBytes(now)))) return
      context.checks.forget(digest)
      return yield* new ObjectDamaged({ digest, path: found.path, reason: "changed" })
    })
  }
}, orBelow)

/** Reads the object in full, whatever is known of it, and compares. */
export const verify = Effect.fnUntraced(function* (context: StoreContext, digest: string, options: ReadOptions = {}) {
  const found = yield* find(context, digest)
  if (found._tag !== "memory") {
    yield* checkShape(context, digest, found, options)
    yield* checkWhole(context, digest, found)
  }
  return { sha256: digest as Digest, size: found.size }
})

/** From this many questions per shard on, listing the shard is cheaper than asking for each. */
const listFrom = 8

/** Which of the objects exist, in the writable store or below; their bytes are not looked at. */
export const has = Effect.fnUntraced(function* (context: StoreContext, digests: Iterable<Digest>) {
  const shards = Map.groupBy(digests, digest => shardOf(context, digest))
  const present = new Set<Digest>()
  const absent: Array<Digest> = []
  yield* Effect.forEach(
    shards,
    ([shard, asked]) =>
      Effect.gen(function* () {
        const names =
          asked.length < listFrom
            ? undefined
            : new Set(((yield* orMissing(context.disk.readdir(shard))) ?? []).map(entry => entry.name))
        for (const digest of asked) {
          const there =
            names === undefined
              ? (yield* orMissing(context.disk.stat(objectPath(context, digest)))) !== undefined
              : names.has(digest.slice(2))
          if (there) present.add(digest)
          else absent.push(digest)
        }
      }),
    { concurrency: parallel, discard: true }
  )
  if (absent.length > 0) {
    for (const layer of context.layers) {
      const { objects } = yield* layer.content
      for (const digest of absent) if (objects.has(digest)) present.add(digest)
    }
  }
  return present as ReadonlySet<Digest>
})

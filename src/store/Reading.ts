/** How objects are found and handed out: never without a check that their bytes are those of their name. */
import { Effect } from "effect"
import { type Digest, sha256 } from "../pipeline/Digest.ts"
import type { FileStat } from "./Disk.ts"
import { type Ground, isMissing, objectPath, orMissing, parallel, shardOf } from "./Ground.ts"
import { ObjectDamaged, ObjectMissing, type ReadError } from "./ObjectError.ts"
import { quarantine } from "./Quarantine.ts"
import type { StorageError } from "./StorageError.ts"
import { put } from "./Writing.ts"

export interface ReadOptions {
  /** Bytes that the object must have, as its manifest says. Without it, a large object that was cut short may go unnoticed. */
  readonly size?: number
  /** Decides, with the digest, which large objects are hashed; another one for every run spreads the checks over all of them. */
  readonly seed?: string
}

/** Up to this size an object is hashed whenever it is read; beyond, by sampling. */
export const alwaysHashed = 1024 * 1024

/** Remembering more sound objects than this is not worth the memory. */
const soundLimit = 65_536

type Found =
  | { readonly _tag: "own" | "layer"; readonly path: string; readonly stat: FileStat; readonly size: number }
  | { readonly _tag: "memory"; readonly bytes: Uint8Array; readonly size: number }

const find = Effect.fnUntraced(function* (ground: Ground, digest: string) {
  const path = objectPath(ground, digest)
  const stat = yield* orMissing(ground.disk.stat(path, { follow: true }))
  if (stat !== undefined) return { _tag: "own", path, stat, size: stat.size } satisfies Found
  for (const layer of ground.layers) {
    const object = (yield* layer.content).objects.get(digest)
    if (object === undefined) continue
    if (object._tag === "memory") return object
    const stat = yield* orMissing(ground.disk.stat(object.path, { follow: true }))
    if (stat !== undefined) return { _tag: "layer", path: object.path, stat, size: object.size } satisfies Found
  }
  return yield* new ObjectMissing({ digest, root: ground.root })
}) as (ground: Ground, digest: string) => Effect.Effect<Found, ReadError>

type FoundFile = Exclude<Found, { readonly _tag: "memory" }>

/** The error for a damaged object, after it was moved aside; where that is not possible, it stays and the error says so. */
const damaged = Effect.fnUntraced(function* (
  ground: Ground,
  digest: string,
  found: FoundFile,
  what: Pick<ObjectDamaged, "reason"> & { actualSize?: number; actualDigest?: string; expectedSize?: number }
) {
  const fields = { digest, path: found.path, ...what }
  const to =
    found._tag === "own"
      ? yield* Effect.orElseSucceed(
          quarantine(ground, digest, new ObjectDamaged(fields).message, found.stat),
          () => undefined
        )
      : undefined
  return yield* new ObjectDamaged(to === undefined ? fields : { ...fields, quarantined: to })
})

/** What a failing read says about an object: gone meanwhile, on a bad sector, or nothing in particular. */
const explained =
  (ground: Ground, digest: string, found: FoundFile) =>
  <A>(effect: Effect.Effect<A, StorageError>): Effect.Effect<A, ReadError> =>
    effect.pipe(
      Effect.catch((error): Effect.Effect<never, ReadError> => {
        if (isMissing(error)) return Effect.fail(new ObjectMissing({ digest, root: ground.root }))
        if (error.code === "EIO") return damaged(ground, digest, found, { reason: "unreadable" })
        return Effect.fail(error)
      })
    )

const checkSize = (ground: Ground, digest: string, found: FoundFile, options: ReadOptions) => {
  const expectedSize = options.size ?? found.size
  const actualSize = found.stat.size
  return actualSize === expectedSize
    ? Effect.void
    : damaged(ground, digest, found, { reason: "size", expectedSize, actualSize })
}

const chosen = (ground: Ground, digest: string, seed: string | undefined): boolean =>
  ground.sampling > 0 && Number.parseInt(sha256(`${digest} ${seed ?? ""}`).slice(0, 8), 16) < ground.sampling * 2 ** 32

/** A file that has the same of all these has the same bytes, unless the disk itself lost them. */
const identity = (stat: FileStat) => `${stat.dev}.${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}`

const checkWhole = Effect.fnUntraced(function* (ground: Ground, digest: string, found: FoundFile) {
  const actual = yield* ground.disk.hash(found.path).pipe(explained(ground, digest, found))
  if (actual.sha256 !== digest) {
    return yield* damaged(ground, digest, found, {
      reason: "bytes",
      actualSize: actual.size,
      actualDigest: actual.sha256
    })
  }
  if (found.size > alwaysHashed) {
    if (ground.sound.size >= soundLimit) ground.sound.clear()
    ground.sound.set(digest, identity(found.stat))
  }
})

/** The check before an object is used in place: small ones in full; large ones by size, and in full once per process if chosen. */
const check = Effect.fnUntraced(function* (ground: Ground, digest: string, found: FoundFile, options: ReadOptions) {
  yield* checkSize(ground, digest, found, options)
  if (found.size > alwaysHashed) {
    if (!chosen(ground, digest, options.seed) || ground.sound.get(digest) === identity(found.stat)) return
  }
  yield* checkWhole(ground, digest, found)
})

/** A damaged object in the writable store may hide a sound one in a layer below: once it is out of the way, look again. */
const orBelow = <A>(ground: Ground, effect: Effect.Effect<A, ReadError>): Effect.Effect<A, ReadError> =>
  ground.layers.length === 0
    ? effect
    : Effect.catchTag(effect, "ObjectDamaged", error =>
        error.quarantined === undefined
          ? Effect.fail(error)
          : Effect.catchTag(effect, "ObjectMissing", () => Effect.fail(error))
      )

const bytesOf = Effect.fnUntraced(function* (ground: Ground, digest: string, options: ReadOptions) {
  const found = yield* find(ground, digest)
  if (found._tag === "memory") return found.bytes
  yield* checkSize(ground, digest, found, options)
  const bytes = yield* ground.disk.read(found.path).pipe(explained(ground, digest, found))
  if (bytes.length <= alwaysHashed || chosen(ground, digest, options.seed)) {
    const actual = sha256(bytes)
    if (actual !== digest) {
      return yield* damaged(ground, digest, found, {
        reason: "bytes",
        actualSize: bytes.length,
        actualDigest: actual
      })
    }
  }
  return bytes
})

export const read = (ground: Ground, digest: string, options: ReadOptions = {}) =>
  orBelow(ground, bytesOf(ground, digest, options))

const rangeOf = Effect.fnUntraced(function* (
  ground: Ground,
  digest: string,
  offset: number,
  length: number,
  options: ReadOptions
) {
  const found = yield* find(ground, digest)
  if (found._tag === "memory" || found.stat.size <= alwaysHashed) {
    return (yield* bytesOf(ground, digest, options)).subarray(offset, offset + length)
  }
  yield* check(ground, digest, found, options)
  return yield* ground.disk.readRange(found.path, offset, length).pipe(explained(ground, digest, found))
})

export const readRange = (ground: Ground, digest: string, offset: number, length: number, options: ReadOptions = {}) =>
  orBelow(ground, rangeOf(ground, digest, offset, length, options))

/** The path of an object. One that exists in memory only (the manifest of a layer's artifact) is stored first. */
const pathOf = Effect.fnUntraced(function* (ground: Ground, digest: string, found: Found) {
  if (found._tag !== "memory") return found.path
  yield* put(ground, found.bytes).pipe(Effect.catchTag("ContentFailed", Effect.die))
  return objectPath(ground, digest)
})

export const locate = Effect.fnUntraced(function* (ground: Ground, digest: string) {
  return yield* pathOf(ground, digest, yield* find(ground, digest))
})

const openOnce = Effect.fnUntraced(function* (ground: Ground, digest: string, options: ReadOptions) {
  const found = yield* find(ground, digest)
  if (found._tag !== "memory") yield* check(ground, digest, found, options)
  return yield* pathOf(ground, digest, found)
})

export const openVerified = (ground: Ground, digest: string, options: ReadOptions = {}) =>
  orBelow(ground, openOnce(ground, digest, options))

/** Reads the object in full, whatever its size and the sampling, and compares. */
export const verify = Effect.fnUntraced(function* (ground: Ground, digest: string, options: ReadOptions = {}) {
  const found = yield* find(ground, digest)
  if (found._tag !== "memory") {
    yield* checkSize(ground, digest, found, options)
    yield* checkWhole(ground, digest, found)
  }
  return { sha256: digest as Digest, size: found.size }
})

/** From this many questions per shard on, listing the shard is cheaper than asking for each. */
const listFrom = 8

/** Which of the objects exist, in the writable store or below; their bytes are not looked at. */
export const has = Effect.fnUntraced(function* (ground: Ground, digests: Iterable<Digest>) {
  const shards = new Map<string, Array<Digest>>()
  for (const digest of digests) {
    const shard = shardOf(ground, digest)
    const asked = shards.get(shard)
    if (asked === undefined) shards.set(shard, [digest])
    else asked.push(digest)
  }
  const present = new Set<Digest>()
  const absent: Array<Digest> = []
  yield* Effect.forEach(
    shards,
    ([shard, asked]) =>
      Effect.gen(function* () {
        const names =
          asked.length < listFrom
            ? undefined
            : new Set(((yield* orMissing(ground.disk.readdir(shard))) ?? []).map(entry => entry.name))
        for (const digest of asked) {
          const there =
            names === undefined
              ? (yield* orMissing(ground.disk.stat(objectPath(ground, digest)))) !== undefined
              : names.has(digest.slice(2))
          if (there) present.add(digest)
          else absent.push(digest)
        }
      }),
    { concurrency: parallel, discard: true }
  )
  if (absent.length > 0) {
    for (const layer of ground.layers) {
      const { objects } = yield* layer.content
      for (const digest of absent) if (objects.has(digest)) present.add(digest)
    }
  }
  return present as ReadonlySet<Digest>
})

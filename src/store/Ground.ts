/** What all parts of the store stand on: the disk, the layout below the cache root, and how directories become durable. */
import { hostname } from "node:os"
import { randomBytes } from "node:crypto"
import { dirname, join } from "node:path"
import { Effect } from "effect"
import type { Disk } from "./Disk.ts"
import type { Faults } from "./Faults.ts"
import type { Layer } from "./Layer.ts"
import { isFull, StorageError } from "./StorageError.ts"

export interface Ground {
  readonly disk: Disk
  readonly faults: Faults
  readonly layers: ReadonlyArray<Layer>
  /** Share of large objects that are hashed when they are opened, from 0 to 1. */
  readonly sampling: number
  readonly root: string
  readonly objects: string
  readonly tmp: string
  readonly quarantine: string
  readonly trash: string
  /** Directories that this process has seen become durable. */
  readonly durable: Set<string>
  /** Large objects that this process has hashed already, by digest; the value tells whether the file is still the same. */
  readonly sound: Map<string, string>
}

export const ground = (options: {
  readonly root: string
  readonly disk: Disk
  readonly layers: ReadonlyArray<Layer>
  readonly faults: Faults
  readonly sampling: number
}): Ground => ({
  ...options,
  objects: join(options.root, "objects"),
  tmp: join(options.root, "tmp"),
  quarantine: join(options.root, "quarantine"),
  trash: join(options.root, "trash"),
  durable: new Set(),
  sound: new Map()
})

export const shardOf = (ground: Ground, digest: string): string => join(ground.objects, digest.slice(0, 2))

export const objectPath = (ground: Ground, digest: string): string =>
  join(ground.objects, digest.slice(0, 2), digest.slice(2))

/** Objects cannot be changed by mistake: nobody may write to them. */
export const objectMode = 0o444

/** Operations in flight per batch. Node has four threads for them; a few more keep those busy. */
export const parallel = 8

const host = hostname().replace(/[^A-Za-z0-9-]/g, "-")
const incarnation = randomBytes(6).toString("hex")
let counter = 0

/** Who made a temporary file: enough to tell, later and from another process, whether its maker still lives. */
export interface Maker {
  readonly host: string
  readonly pid: number
  /** Tells this process from an earlier one with the same id, as containers have them. */
  readonly incarnation: string
}

export const self: Maker = { host, pid: process.pid, incarnation }

/** A name that no other process and no other call uses. */
export const uniqueName = (): string => `${host}.${process.pid}.${incarnation}.${counter++}`

export const makerOf = (name: string): Maker | undefined => {
  const match = /^([A-Za-z0-9-]*)\.([0-9]+)\.([0-9a-f]{12})\.[0-9]+$/.exec(name)
  return match === null ? undefined : { host: match[1]!, pid: Number(match[2]), incarnation: match[3]! }
}

export const isMissing = (error: StorageError): boolean => error.code === "ENOENT" || error.code === "ENOTDIR"

/** Succeeds with undefined where there is nothing. */
export const orMissing = <A, E>(effect: Effect.Effect<A, E | StorageError>) =>
  Effect.catchIf(
    effect,
    (error): error is E & StorageError => error instanceof StorageError && isMissing(error),
    () => Effect.void
  )

/**
 * Makes sure that a directory below the root exists and would survive a power cut. Its parent is synced by the first call of
 * every process even if the directory is there already: the process that made it may not have come to that yet.
 */
export const ensureDirectories = Effect.fnUntraced(function* (ground: Ground, paths: Iterable<string>) {
  const { disk, durable, faults, root } = ground
  const missing = [...new Set(paths)].filter(path => !durable.has(path))
  if (missing.length === 0) return
  if (!durable.has(root)) {
    const topmost = yield* disk.mkdir(root)
    yield* faults("directory.created")
    for (let path = root; ; path = dirname(path)) {
      // Folders above the root may be such that one can pass through but not open them.
      yield* Effect.catchIf(
        disk.syncDirectory(dirname(path)),
        error => error.code === "EACCES" || error.code === "EPERM",
        () => Effect.void
      )
      if (topmost === undefined || path === topmost || path === dirname(path)) break
    }
    durable.add(root)
  }
  const parents = new Set(missing.map(path => dirname(path)))
  yield* ensureDirectories(
    ground,
    [...parents].filter(path => path !== root)
  )
  for (const path of missing) {
    yield* disk.mkdir(path)
    yield* faults("directory.created")
  }
  for (const path of parents) yield* disk.syncDirectory(path)
  for (const path of missing) durable.add(path)
}) as (ground: Ground, paths: Iterable<string>) => Effect.Effect<void, StorageError>

/** Adds to the error of a full disk how much is free and, if that is known, how much was needed. */
export const explainFull =
  (ground: Ground, needed: number | undefined) =>
  <A, E>(effect: Effect.Effect<A, E | StorageError>): Effect.Effect<A, E | StorageError> =>
    Effect.catchIf(
      effect,
      (error): error is E & StorageError => error instanceof StorageError && isFull(error),
      (error: StorageError) =>
        Effect.flatMap(
          Effect.orElseSucceed(ground.disk.free(ground.root), () => undefined),
          free =>
            Effect.fail(
              new StorageError({
                code: error.code,
                path: error.path,
                operation: error.operation,
                detail: error.detail,
                ...(needed === undefined ? {} : { needed }),
                ...(free === undefined ? {} : { free })
              })
            )
        )
    )

/** What all parts of the store stand on: the disk, the layout below the cache root, and how directories become durable. */
import { hostname } from "node:os"
import { randomBytes } from "node:crypto"
import { dirname, join } from "node:path"
import { Effect } from "effect"
import type { Digest } from "../pipeline/Digest.ts"
import type { Checks } from "./Checks.ts"
import type { DirectoryEntry, Disk } from "./Disk.ts"
import type { Faults } from "./Faults.ts"
import type { Layer } from "./Layer.ts"
import { isFull, StorageError } from "./StorageError.ts"

export interface StoreContext {
  readonly disk: Disk
  readonly faults: Faults
  readonly layers: ReadonlyArray<Layer>
  readonly root: string
  readonly objects: string
  readonly tmp: string
  readonly quarantine: string
  readonly trash: string
  /** Directories that this process has seen become durable. */
  readonly durable: Set<string>
  readonly checks: Checks
  readonly aside: Aside
}

/** A damaged object. */
export interface Damage {
  readonly digest: Digest
  /** Bytes, as far as known: the most that it has or should have. */
  readonly size: number
  /** Whether a layer below offers the object, too. */
  readonly covered: boolean
}

/**
 * What happens before a damaged object is moved aside: whoever keeps books must know first, as nobody would learn it afterwards. If that fails, or
 * with `false`, it stays where it is, to be found again.
 */
export type Aside = false | ((damage: Damage) => Effect.Effect<void, unknown>)

export const context = (options: {
  readonly root: string
  readonly disk: Disk
  readonly layers: ReadonlyArray<Layer>
  readonly faults: Faults
  readonly checks: Checks
  readonly aside: Aside
}): StoreContext => ({
  ...options,
  objects: join(options.root, "objects"),
  tmp: join(options.root, "tmp"),
  quarantine: join(options.root, "quarantine"),
  trash: join(options.root, "trash"),
  durable: new Set()
})

export const shardOf = (context: StoreContext, digest: string): string => join(context.objects, digest.slice(0, 2))

export const objectPath = (context: StoreContext, digest: string): string =>
  join(context.objects, digest.slice(0, 2), digest.slice(2))

/** Objects cannot be changed by mistake: nobody may write to them. */
export const objectMode = 0o444

/** Operations in flight per batch. Node has four threads for them; a few more keep those busy. */
export const parallel = 8

const host = hostname().replace(/[^A-Za-z0-9-]/g, "-")
let counter = 0
let incarnation: string | undefined
/** Drawn when first needed: who only looks needs no cryptography of Node's, some milliseconds of each start. */
const ownIncarnation = (): string => (incarnation ??= randomBytes(6).toString("hex"))

/** Who made a temporary file: enough to tell, later and from another process, whether its maker still lives. */
export interface Maker {
  readonly host: string
  readonly pid: number
  /** Tells this process from an earlier one with the same id, as containers have them. */
  readonly incarnation: string
}

export const self: Maker = {
  host,
  pid: process.pid,
  get incarnation() {
    return ownIncarnation()
  }
}

/** Whether a process of this machine exists. One that belongs to someone else does, too. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** A name that no other process and no other call uses. */
export const uniqueName = (): string => `${host}.${process.pid}.${ownIncarnation()}.${counter++}`

export const makerOf = (name: string): Maker | undefined => {
  const match = /^([A-Za-z0-9-]*)\.([0-9]+)\.([0-9a-f]{12})\.[0-9]+$/.exec(name)
  return match === null ? undefined : { host: match[1]!, pid: Number(match[2]), incarnation: match[3]! }
}

/** Nothing can be there: no such name, or on the way to it something that is no directory, or a loop of links. */
export const isMissing = (error: StorageError): boolean =>
  error.code === "ENOENT" || error.code === "ENOTDIR" || error.code === "ELOOP"

/** Succeeds with undefined where there is nothing. */
export const orMissing = <A, E>(effect: Effect.Effect<A, E | StorageError>) =>
  Effect.catchIf(
    effect,
    (error): error is E & StorageError => error instanceof StorageError && isMissing(error),
    () => Effect.void
  )

/** Whether an entry is a directory, or a link to one: any folder of the cache may lie on another disk. */
export const isDirectory = (context: StoreContext, folder: string, { kind, name }: DirectoryEntry) =>
  kind === "other"
    ? Effect.map(orMissing(context.disk.stat(join(folder, name), { follow: true })), stat => stat?.kind === "directory")
    : Effect.succeed(kind === "directory")

/**
 * Makes sure that a directory below the root exists and would survive a power cut. Its parent is synced by the first call of
 * every process even if the directory is there already: the process that made it may not have come to that yet.
 */
export const ensureDirectories = Effect.fnUntraced(function* (context: StoreContext, paths: Iterable<string>) {
  const { disk, durable, faults, root } = context
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
    context,
    [...parents].filter(path => path !== root)
  )
  for (const path of missing) {
    yield* Effect.catchIf(
      disk.mkdir(path),
      error => notDirectory.has(error.code),
      () => Effect.andThen(setAside(context, path), disk.mkdir(path))
    )
    yield* faults("directory.created")
  }
  for (const path of parents) yield* disk.syncDirectory(path)
  for (const path of missing) durable.add(path)
}) as (context: StoreContext, paths: Iterable<string>) => Effect.Effect<void, StorageError>

/** What the system says when a name that a directory must have is taken by something else. */
const notDirectory = new Set(["EEXIST", "ENOTDIR", "ELOOP", "ENOENT"])

/** Something else has the name of a directory of ours: it is moved out of the way, beside it, and kept. Returns where to. */
export const setAside = Effect.fnUntraced(function* (context: StoreContext, path: string) {
  const to = `${path}.odd.${uniqueName()}`
  const odd = yield* orMissing(context.disk.stat(path))
  if (odd === undefined || odd.kind === "directory") return undefined
  yield* orMissing(context.disk.rename(path, to))
  return to
})

/** Adds to the error of a full disk how much is free and, if that is known, how much was needed. */
export const explainFull =
  (context: StoreContext, needed: number | undefined) =>
  <A, E>(effect: Effect.Effect<A, E | StorageError>): Effect.Effect<A, E | StorageError> =>
    Effect.catchIf(
      effect,
      (error): error is E & StorageError => error instanceof StorageError && isFull(error),
      (error: StorageError) =>
        Effect.flatMap(freeAt(context.disk, dirname(error.path)), free =>
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

/** What is free where a path lies, or would: folders of the cache may be on other disks. Undefined where nobody can tell. */
export const freeAt = (disk: Disk, path: string): Effect.Effect<number | undefined> =>
  disk
    .free(path)
    .pipe(
      Effect.catch(error =>
        isMissing(error) && dirname(path) !== path ? freeAt(disk, dirname(path)) : Effect.succeed(undefined)
      )
    )

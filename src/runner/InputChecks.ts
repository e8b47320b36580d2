/**
 * The checks of what an action reads. A stage loads large objects while they are hashed; its result counts only if all checks have ended well,
 * and if no file was touched from the moment it was opened.
 */
import { join } from "node:path"
import { Deferred, Effect, Fiber } from "effect"
import { type Digest, short } from "../pipeline/Digest.ts"
import { type ErrorClass, permanent, StageError } from "../pipeline/StageError.ts"
import type { ReadError } from "../store/ObjectError.ts"
import type { Opened } from "../store/Reading.ts"
import type { Disk, FileStat } from "../store/Disk.ts"
import { orMissing } from "../store/StoreContext.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { Store } from "../store/Store.ts"

export interface Described {
  readonly _tag: string
  readonly message: string
  readonly advice?: string
  readonly reason?: string
}

const meansDamaged: ReadonlySet<string> = new Set(["ObjectMissing", "ObjectDamaged", "PageInvalid", "ManifestInvalid"])

const classOf = (error: Described): ErrorClass => {
  // The next attempt finds out which bytes it has now.
  if (error._tag === "ObjectDamaged" && error.reason === "changed") return "transient"
  if (meansDamaged.has(error._tag)) return "damaged"
  return error._tag === "StorageError" ? "storage" : "permanent"
}

/** A read that failed. Where the object itself is at fault, the runner has it made again. */
export const readFailed =
  (artifact: string, object: string) =>
  (error: Described): StageError =>
    new StageError({
      class: classOf(error),
      message: error.message,
      artifact,
      object,
      ...(error.advice === undefined ? {} : { advice: error.advice })
    })

export interface InputChecks {
  /** The path of an object of an artifact. Its check may still be under way. */
  readonly open: (artifact: Digest, object: Digest, size: number) => Effect.Effect<string, StageError>
  /**
   * Does the work of a stage. A check that fails ends it at once; one that is not done yet is waited for. What a failed check says comes
   * before what the stage says: from wrong bytes it may have come to any conclusion.
   */
  readonly around: <A>(work: Effect.Effect<A, StageError>) => Effect.Effect<A, StageError>
}

export const make = (
  store: Store,
  disk: Disk,
  /** Directories of the action's own. */
  own: ReadonlyArray<string>
): InputChecks => {
  const opened = new Map<Digest, { readonly object: Opened; readonly failed: (error: ReadError) => StageError }>()
  const checks: Array<Fiber.Fiber<void, StageError>> = []
  const broken = Deferred.makeUnsafe<never, StageError>()

  return {
    open: (artifact, object, size) =>
      Effect.gen(function* () {
        const known = opened.get(object)
        if (known !== undefined) return known.object.path
        const failed = readFailed(artifact, object)
        const found = yield* Effect.mapError(store.openEarly(object, { size }), failed)
        opened.set(object, { object: found, failed })
        if (found.pending !== undefined) {
          const check = Effect.tapError(Effect.mapError(found.pending, failed), error => Deferred.fail(broken, error))
          checks.push(yield* Effect.forkDetach(check))
        }
        return found.path
      }),
    around: work =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(Effect.raceFirst(work, Deferred.await(broken)))
        // Before the checks have their say: to them it is an object that nobody has.
        for (const [object, { object: input }] of opened) yield* putBack(disk, own, object, input)
        for (const check of checks) yield* Fiber.join(check)
        for (const { failed, object } of opened.values()) yield* Effect.mapError(object.unchanged, failed)
        return yield* exit
      }).pipe(Effect.onInterrupt(() => Fiber.interruptAll(checks)))
  }
}

/** A stage that moves the file of an input into one of its own directories takes it from everybody: it comes back, and the stage fails. */
const putBack = (disk: Disk, own: ReadonlyArray<string>, object: Digest, { file, path }: Opened) =>
  Effect.gen(function* () {
    if (file === undefined || (yield* orMissing(disk.stat(path))) !== undefined) return
    for (const directory of own) {
      const moved = yield* findFile(disk, directory, file)
      if (moved === undefined) continue
      yield* disk.rename(moved, path)
      return yield* permanent(
        `the stage moved object ${short(object)} of an input out of the store, to ${moved}; it was put back`,
        "a file of an input may be read, linked or copied, or named with adopt; it is not the stage's to move"
      )
    }
  }).pipe(Effect.catchTag("StorageError", () => Effect.void))

/** Where below a directory a file lies. */
const findFile = (disk: Disk, directory: string, file: FileStat): Effect.Effect<string | undefined, StorageError> =>
  Effect.gen(function* () {
    for (const { kind, name } of (yield* orMissing(disk.readdir(directory))) ?? []) {
      const path = join(directory, name)
      if (kind === "directory") {
        const found = yield* findFile(disk, path, file)
        if (found !== undefined) return found
      } else if (kind === "file") {
        const stat = yield* orMissing(disk.stat(path))
        if (stat?.ino === file.ino && stat.dev === file.dev) return path
      }
    }
    return undefined
  })

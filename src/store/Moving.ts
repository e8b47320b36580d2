/** Giving a file another name, also where that is on another file system: any folder of the cache may be a link or a mount. */
import { dirname, join } from "node:path"
import { Effect } from "effect"
import type { Disk } from "./Disk.ts"
import { uniqueName } from "./StoreContext.ts"
import type { StorageError } from "./StorageError.ts"

/**
 * Moves a file; what is at `to` is replaced in one step. Between file systems the bytes are copied beside the new name, synced and renamed
 * there. The caller syncs the directories. A copy that a crash leaves has the name of a temporary file, and is swept like those in `tmp/`.
 */
export const move = (disk: Disk, from: string, to: string): Effect.Effect<void, StorageError> =>
  Effect.catchIf(
    disk.rename(from, to),
    error => error.code === "EXDEV",
    () =>
      Effect.andThen(
        copyOver(disk, from, to, () => Effect.void),
        disk.unlink(from)
      )
  )

/** As `move`, but with bytes of our own: nobody who has the file by another name can write to the new one. `check` sees the copy first. */
export const copyOver = <E>(
  disk: Disk,
  from: string,
  to: string,
  check: (copy: string) => Effect.Effect<void, E>
): Effect.Effect<void, E | StorageError> => {
  const beside = join(dirname(to), uniqueName())
  return Effect.gen(function* () {
    const { mode } = yield* disk.stat(from)
    yield* disk.copy(from, beside)
    yield* check(beside)
    yield* disk.chmod(beside, mode)
    yield* disk.syncFile(beside)
    yield* disk.rename(beside, to)
  }).pipe(Effect.onError(() => Effect.ignore(disk.unlink(beside))))
}

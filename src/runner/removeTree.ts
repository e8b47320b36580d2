/** Removes a directory and all below it, through the store's disk. */
import { join } from "node:path"
import { Effect } from "effect"
import type { Disk } from "../store/Disk.ts"
import type { StorageError } from "../store/StorageError.ts"

/** Succeeds when there is nothing to remove. Symbolic links are removed, not followed. */
export const removeTree = (disk: Disk, root: string): Effect.Effect<void, StorageError> =>
  Effect.gen(function* () {
    const directories: Array<string> = []
    const pending = [root]
    while (pending.length > 0) {
      const directory = pending.pop()!
      const entries = yield* disk.readdir(directory).pipe(
        Effect.catchIf(
          error => error.code === "ENOENT" || error.code === "ENOTDIR",
          // Something else has the name.
          error => (error.code === "ENOENT" ? Effect.succeed(undefined) : Effect.as(disk.unlink(directory), undefined))
        )
      )
      if (entries === undefined) continue
      directories.push(directory)
      for (const entry of entries) {
        const path = join(directory, entry.name)
        if (entry.kind === "directory") pending.push(path)
        else yield* disk.unlink(path)
      }
    }
    // Every directory stands after its parent.
    for (const directory of directories.reverse()) yield* disk.rmdir(directory)
  })

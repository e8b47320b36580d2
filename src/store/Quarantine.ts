/** Moving damaged objects aside, with a note. Nothing is deleted: what is wrong with the bytes may tell about the disk. */
import { basename, join } from "node:path"
import { Clock, Effect } from "effect"
import type { Digest } from "../pipeline/Digest.ts"
import type { FileStat } from "./Disk.ts"
import { ensureDirectories, type StoreContext, objectPath, orMissing, shardOf, uniqueName } from "./StoreContext.ts"
import { move } from "./Moving.ts"

/** Whether a damaged object may be moved aside now: if those who must know were told. */
export const told = Effect.fnUntraced(function* (context: StoreContext, digest: string, size: number) {
  const { aside } = context
  if (aside === false) return false
  let covered = false
  for (const layer of context.layers)
    covered ||= (yield* Effect.orElseSucceed(layer.content, () => undefined))?.objects.has(digest) === true
  return yield* Effect.match(aside({ digest: digest as Digest, size, covered }), {
    onFailure: () => false,
    onSuccess: () => true
  })
})

/**
 * Moves an object of the writable store into `quarantine/`. Returns its new path, or undefined if there was none.
 * With `seen`, only the very file that was found damaged is moved, not one that another process has put in its place.
 */
export const quarantine = Effect.fn("Store.quarantine")(function* (
  context: StoreContext,
  digest: string,
  reason: string,
  seen?: FileStat
) {
  const { disk, faults } = context
  const from = objectPath(context, digest)
  const now = yield* orMissing(disk.stat(from))
  if (now === undefined || (seen !== undefined && (now.ino !== seen.ino || now.mtimeNs !== seen.mtimeNs))) {
    return undefined
  }
  yield* ensureDirectories(context, [context.quarantine])
  const to = join(context.quarantine, `${digest}.${uniqueName()}`)
  yield* faults("quarantine.before-rename")
  const moved = yield* orMissing(Effect.as(move(context.disk, from, to), true))
  if (moved === undefined) return undefined
  yield* faults("quarantine.after-rename")
  context.checks.forget(digest)
  const at = new Date(yield* Clock.currentTimeMillis).toISOString()
  const note = { digest, file: basename(to), reason, size: now.size, at }
  // The note is for people; the move counts even if a full disk has no room for the note.
  yield* Effect.ignore(disk.write(`${to}.json`, `${JSON.stringify(note)}\n`))
  yield* faults("quarantine.after-note")
  yield* disk.syncDirectory(context.quarantine)
  yield* disk.syncDirectory(shardOf(context, digest))
  return to
})

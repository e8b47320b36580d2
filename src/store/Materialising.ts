/** Putting objects where people want files: complete or not at all, and never at the price of what was there before. */
import { basename, dirname, join } from "node:path"
import { Effect } from "effect"
import type { Manifest } from "../pipeline/Artifact.ts"
import type { Disk } from "./Disk.ts"
import { explainFull, type StoreContext, objectMode, objectPath, uniqueName } from "./StoreContext.ts"
import { ObjectDamaged, type ReadError, UnsafePath } from "./ObjectError.ts"
import { openEarly, openVerified, type ReadOptions, verify } from "./Reading.ts"
import { unsafeTogether } from "../pipeline/SafePath.ts"

export interface MaterialiseOptions extends ReadOptions {
  /**
   * `copy` (the default) gives a file of one's own, sharing blocks with the object where the file system can. `hardlink` costs no
   * space anywhere, but the file is the object: it is read-only, and must stay so.
   */
  readonly mode?: "copy" | "hardlink"
  /** What is written with; by default the store's own disk. A store that was opened for looking cannot write. */
  readonly onto?: Disk
}

const fileMode = 0o644

/** A hard link is impossible between file systems, on some of them at all, and beyond a number of links. */
const unlinkable = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])

/**
 * Writes the object's bytes to `to`, creating folders on the way. The bytes are put beside it under another name, synced,
 * and renamed over it: an existing file is replaced in one step or stays as it was. Returns how it was done; a hard link
 * that the file system refuses becomes a read-only copy.
 */
export const materialise = Effect.fnUntraced(function* (
  context: StoreContext,
  digest: string,
  to: string,
  options: MaterialiseOptions = {}
) {
  const { faults } = context
  const disk = options.onto ?? context.disk
  const directory = dirname(to)
  const beside = join(directory, `.${basename(to)}.${uniqueName()}`)
  const linked = options.mode === "hardlink"

  /** Whether the copy has the right bytes. It is the copy that leaves the store, so it is the copy that is hashed. */
  const copyOnce = Effect.gen(function* () {
    const { path } = yield* openEarly(context, digest, options)
    yield* disk.copy(path, beside)
    return (yield* disk.hash(beside)).sha256 === digest
  })
  /** Says whether it is the object that is damaged; then a sound one below may have come into its place. */
  const blame = Effect.catchTag(Effect.asVoid(verify(context, digest, options)), "ObjectDamaged", error =>
    error.quarantined === undefined || context.layers.length === 0 ? Effect.fail(error) : Effect.void
  )
  const copy = Effect.gen(function* () {
    const first = yield* Effect.tapError(copyOnce, error =>
      error._tag === "StorageError" && error.code === "EIO" ? blame : Effect.void
    )
    if (!first) {
      yield* blame
      if (!(yield* copyOnce)) return yield* new ObjectDamaged({ digest, path: beside, reason: "changed" })
    }
    yield* disk.chmod(beside, linked ? objectMode : fileMode)
    yield* faults("materialise.after-copy")
    yield* disk.syncFile(beside)
    return "copy" as const
  })
  // Only our own objects are known to be read-only; the files of a layer may be a working copy of somebody.
  const link = Effect.gen(function* () {
    const from = yield* openVerified(context, digest, options)
    if (from !== objectPath(context, digest)) return yield* copy
    return yield* disk.link(from, beside).pipe(
      Effect.as("hardlink" as const),
      Effect.catchIf(
        error => unlinkable.has(error.code),
        () => copy
      )
    )
  })
  const place: Effect.Effect<"copy" | "hardlink", ReadError> = linked ? link : copy

  return yield* Effect.gen(function* () {
    yield* disk.mkdir(directory)
    const how = yield* place
    yield* faults("materialise.after-sync")
    yield* disk.rename(beside, to)
    yield* faults("materialise.after-rename")
    yield* disk.syncDirectory(directory)
    return how
  }).pipe(
    // Also after success: renaming one link of a file over another link of it is defined to do nothing.
    Effect.ensuring(Effect.ignore(disk.unlink(beside))),
    explainFull(context, options.size)
  )
})

/**
 * Writes the files of an artifact into a directory. Their names are checked before the first is written: one that would leave the
 * directory fails the whole. Files that the artifact does not name are left alone. The items of a chunk set are not written.
 */
export const materialiseArtifact = Effect.fnUntraced(function* (
  context: StoreContext,
  manifest: Manifest,
  directory: string,
  options: MaterialiseOptions = {}
) {
  const unsafe = unsafeTogether(manifest.files.map(file => file.path))
  if (unsafe !== undefined) return yield* new UnsafePath({ ...unsafe, source: `artifact of kind ${manifest.kind}` })
  yield* Effect.forEach(
    manifest.files,
    file => materialise(context, file.sha256, join(directory, file.path), { ...options, size: file.size }),
    { concurrency: 4, discard: true }
  )
})

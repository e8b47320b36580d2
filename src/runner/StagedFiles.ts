/** Files of an action's own: how bytes get into its private directory, and how what its code put there is made its alone, and hashed. */
import { createHash } from "node:crypto"
import { dirname, join, relative, resolve, sep } from "node:path"
import { Effect } from "effect"
import { type Digest, sha256, updateAll } from "../pipeline/Digest.ts"
import type { Content } from "../pipeline/StageContext.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import { hashSettled } from "../store/Checks.ts"
import type { Disk } from "../store/Disk.ts"
import { copyOver } from "../store/Moving.ts"
import { alwaysHashed } from "../store/Reading.ts"
import type { StorageError } from "../store/StorageError.ts"
import type { StagedFile } from "./Ports.ts"

export const storageFailed = ({
  advice,
  message
}: {
  readonly message: string
  readonly advice?: string
}): StageError => new StageError({ class: "storage", message, ...(advice === undefined ? {} : { advice }) })

/** Writes bytes to a file of the staging directory; `what` names it in messages. */
export const writeFile = (
  disk: Disk,
  path: string,
  content: Content,
  what: string
): Effect.Effect<StagedFile, StageError> =>
  Effect.gen(function* () {
    yield* Effect.mapError(disk.mkdir(dirname(path)), storageFailed)
    if (typeof content === "string" || content instanceof Uint8Array) {
      yield* Effect.mapError(disk.write(path, content), storageFailed)
      const size = typeof content === "string" ? Buffer.byteLength(content) : content.length
      return { path, sha256: sha256(content), size }
    }
    if (typeof (content as Partial<AsyncIterable<Uint8Array>> | undefined)?.[Symbol.asyncIterator] !== "function")
      return yield* permanent(`${what}: its content is neither text nor bytes, nor an async iterable of bytes`)
    const hash = createHash("sha256")
    let size = 0
    const iterator = content[Symbol.asyncIterator]()
    // What a write that failed has left is no part of this one.
    yield* Effect.mapError(disk.write(path, ""), storageFailed)
    yield* Effect.acquireUseRelease(
      Effect.mapError(disk.append(path), storageFailed),
      file =>
        Effect.gen(function* () {
          for (;;) {
            const next = yield* Effect.tryPromise({ try: () => iterator.next(), catch: failedContent(what) })
            if (next.done === true) return
            if (!(next.value instanceof Uint8Array))
              return yield* permanent(`${what}: its content yields a ${typeof next.value} instead of bytes`)
            updateAll(hash, next.value)
            size += next.value.length
            yield* Effect.mapError(file.write(next.value), storageFailed)
          }
        }),
      file => file.close
    )
    return { path, sha256: hash.digest("hex") as Digest, size }
  })

const failedContent =
  (what: string) =>
  (cause: unknown): StageError =>
    cause instanceof StageError
      ? cause
      : permanent(`${what}: the content ended with an error: ${cause instanceof Error ? cause.message : String(cause)}`)

export const notAFile = "links, pipes and devices cannot be results: write a file there"

/** Fails where the way from `root` to a file below it, or the file, is a link or the like. */
const checkWay = (disk: Disk, root: string, path: string): Effect.Effect<void, StorageError | StageError> =>
  Effect.gen(function* () {
    const parts = path.split(sep)
    for (let depth = 1; depth < parts.length; depth++) {
      const { kind } = yield* disk.stat(join(root, ...parts.slice(0, depth)))
      if (kind !== "directory")
        return yield* permanent(
          `${parts.slice(0, depth).join("/")}, on the way to its file ${path}, is no directory`,
          notAFile
        )
    }
    const { kind } = yield* disk.stat(join(root, path))
    if (kind !== "file") return yield* permanent(`its file ${path} is no regular file`, notAFile)
  })

/**
 * A file that code wrote by itself becomes the action's alone before it is hashed: one that has another name elsewhere, where somebody could
 * write to it, is replaced by a copy. A link is refused, also on the way to the file.
 */
export const makeOwn = (disk: Disk, root: string, path: string): Effect.Effect<void, StorageError | StageError> =>
  Effect.gen(function* () {
    yield* checkWay(disk, root, path)
    const file = join(root, path)
    if ((yield* disk.stat(file)).nlink > 1) yield* copyOver(disk, file, file, () => Effect.void)
  })

/** Fails unless a file lies below one of these directories of the action's own: from elsewhere nothing is taken away. */
export const mustBeOwn = (
  disk: Disk,
  roots: ReadonlyArray<string>,
  path: string
): Effect.Effect<void, StorageError | StageError> => {
  const full = resolve(path)
  const root = roots.find(candidate => full.startsWith(candidate + sep))
  return root === undefined
    ? Effect.fail(
        permanent(
          `${path} lies outside of the action's own directories`,
          "only files of its checkpoint or scratch directory are moved; a file of an input is named with adopt, others are copied"
        )
      )
    : checkWay(disk, root, relative(root, full))
}

/** A file as it is now. Small ones the runner hashes again anyway; from a large one can be told later that nobody wrote to it since. */
export const hashOwn = (disk: Disk, path: string): Effect.Effect<StagedFile, StorageError> =>
  Effect.gen(function* () {
    const { size: expected } = yield* disk.stat(path)
    if (expected <= alwaysHashed) {
      const { sha256: digest, size } = yield* disk.hash(path)
      return { path, sha256: digest as Digest, size }
    }
    const { file, sha256: digest, size } = yield* hashSettled(disk, path)
    return { path, sha256: digest as Digest, size, ...(file === "" ? {} : { file }) }
  })

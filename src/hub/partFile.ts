/** The file a download grows in, and the note beside it that lets a later process continue. */
import { Effect, Result, Schema, type Scope } from "effect"
import { type FileHandle, mkdir, open, readFile, rename, rm } from "node:fs/promises"
import { dirname } from "node:path"
import type { Hasher } from "./expected.ts"
import { type FileError, onFile } from "../formats/fileError.ts"

/**
 * What is known of the bytes in a part file. Without `ranges`, they are the file's first bytes; with `ranges`, the part
 * file has the full size, and the ranges numbered in `done` have been written.
 */
export const PartNote = Schema.Struct({
  version: Schema.Literal(1),
  /** The strong validator of the version that the bytes belong to, if the server named one. */
  etag: Schema.optionalKey(Schema.String),
  ranges: Schema.optionalKey(
    Schema.Struct({
      size: Schema.Int,
      bytes: Schema.Int.check(Schema.isGreaterThan(0)),
      done: Schema.Array(Schema.Int)
    })
  )
})
export type PartNote = typeof PartNote.Type

const decodeNote = Schema.decodeUnknownResult(Schema.fromJsonString(PartNote))

export interface PartFile {
  readonly path: string
  /** The note as it was found; `undefined` when there was none that could be read: then the part file is empty. */
  readonly found: PartNote | undefined
  readonly size: Effect.Effect<number, FileError>
  readonly write: (bytes: Uint8Array, at: number) => Effect.Effect<void, FileError>
  readonly truncate: (size: number) => Effect.Effect<void, FileError>
  readonly note: (note: PartNote) => Effect.Effect<void, FileError>
  /** Feeds the bytes [0, end) to the hasher, as far as there are any. */
  readonly hash: (hasher: Hasher, end: number) => Effect.Effect<void, FileError>
  /** Makes the bytes durable under their final name, and removes the note. */
  readonly publish: (to: string) => Effect.Effect<void, FileError>
}

const hashBlock = 1024 * 1024

/** Opens or creates a part file. Closing keeps it: what was downloaded is worth keeping, however the download ended. */
export const openPart = Effect.fnUntraced(function* (path: string): Effect.fn.Return<PartFile, FileError, Scope.Scope> {
  const notePath = `${path}.json`
  yield* onFile(path, `create the directory of ${path}`, () => mkdir(dirname(path), { recursive: true }))
  const noteText = yield* onFile(notePath, `read ${notePath}`, () => readFile(notePath, "utf8")).pipe(
    Effect.orElseSucceed(() => "")
  )
  const note = decodeNote(noteText)
  const found = Result.isSuccess(note) ? note.success : undefined
  // "a" would force appending; "r+" does not create.
  const handle = yield* Effect.acquireRelease(
    onFile(path, `open ${path}`, () => open(path, "r+").catch(() => open(path, "w+"))),
    file => Effect.promise(() => file.close().catch(() => undefined))
  )
  const truncate = (size: number) => onFile(path, `resize ${path} to ${size} bytes`, () => handle.truncate(size))
  // Bytes without a note may be anything.
  if (found === undefined) yield* truncate(0)
  return {
    path,
    found,
    size: onFile(path, `look at ${path}`, () => handle.stat()).pipe(Effect.map(stat => stat.size)),
    // A write that was cut short by interruption must not race with the next use of the file.
    write: (bytes, at) => Effect.uninterruptible(onFile(path, `write ${path}`, () => writeFully(handle, bytes, at))),
    truncate,
    note: value =>
      Effect.uninterruptible(
        onFile(notePath, `write ${notePath}`, async () => {
          const file = await open(`${notePath}~`, "w")
          try {
            await file.writeFile(JSON.stringify(value))
          } finally {
            await file.close()
          }
          await rename(`${notePath}~`, notePath)
        })
      ),
    hash: Effect.fnUntraced(function* (hasher, end) {
      const buffer = Buffer.allocUnsafe(Math.min(hashBlock, Math.max(1, end)))
      while (hasher.size() < end) {
        const length = Math.min(buffer.length, end - hasher.size())
        const { bytesRead } = yield* onFile(path, `read ${path}`, () => handle.read(buffer, 0, length, hasher.size()))
        if (bytesRead === 0) return
        hasher.update(buffer.subarray(0, bytesRead))
      }
    }),
    publish: to =>
      Effect.uninterruptible(
        onFile(path, `move ${path} to ${to}`, async () => {
          await handle.sync()
          await rename(path, to)
          await syncDirectory(dirname(to))
          await rm(notePath, { force: true })
        })
      )
  }
})

/** Removes a part file and its note. */
export const removePart = (path: string): Effect.Effect<void, FileError> =>
  onFile(path, `remove ${path}`, async () => {
    await rm(path, { force: true })
    await rm(`${path}.json`, { force: true })
  })

const writeFully = async (handle: FileHandle, bytes: Uint8Array, at: number) => {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

/** Makes a rename durable. Some systems cannot sync a directory; there the rename is as durable as it gets. */
const syncDirectory = async (path: string) => {
  try {
    const directory = await open(path, "r")
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  } catch {
    // Windows refuses to open directories.
  }
}

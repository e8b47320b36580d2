/** The real file system, by way of `node:fs`. */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { dirname } from "node:path"
import { Effect } from "effect"
import { type Appender, type Disk, type FileKind, notRegular } from "./Disk.ts"
import { type Hashed, hashBeside } from "./hashing.ts"
import { fromCause, isFull, StorageError } from "./StorageError.ts"

type Callback<A> = (error: NodeJS.ErrnoException | null, value?: A) => void

/** Callbacks, not promises: half the cost per operation, and a store has millions. Begun operations are not interrupted. */
const attempt = <A>(operation: string, path: string, start: (done: Callback<A>) => void) =>
  Effect.uninterruptible(
    Effect.callback<A, StorageError>(resume => {
      const fail = (cause: unknown) => resume(Effect.fail(fromCause(operation, path, cause)))
      try {
        start((error, value) => (error ? fail(error) : resume(Effect.succeed(value as A))))
      } catch (cause) {
        // Arguments that Node refuses at once, such as a path with a NUL in it.
        fail(cause)
      }
    })
  )

/** The largest piece that is read or written in one call. The system takes at most 2 GiB; a smaller piece keeps its thread free for others. */
const defaultPiece = 64 * 1024 * 1024

const { O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = fs.constants
/** Nobody waits for the other end of a FIFO. Of regular files O_NONBLOCK changes nothing. */
const reading = O_RDONLY | O_NONBLOCK
const writing = O_WRONLY | O_CREAT | O_NONBLOCK

const open = (operation: string, path: string, flags: number) =>
  attempt<number>(operation, path, done => fs.open(path, flags, 0o666, done))

const close = (descriptor: number) => Effect.ignore(attempt<void>("close", "", done => fs.close(descriptor, done)))

const irregular = (operation: string, path: string) =>
  new StorageError({ code: notRegular, path, operation, detail: "it is no regular file" })

/** An open regular file; whatever else has the name is closed again. A FIFO without readers (ENXIO) cannot even be opened for writing. */
const openRegular = (operation: string, path: string, flags: number) =>
  open(operation, path, flags).pipe(
    Effect.mapError(error => (error.code === "ENXIO" ? irregular(operation, path) : error)),
    Effect.flatMap(descriptor =>
      attempt<fs.Stats>(operation, path, done => fs.fstat(descriptor, done)).pipe(
        Effect.filterOrFail(
          stat => stat.isFile(),
          () => irregular(operation, path)
        ),
        Effect.map(({ size }) => ({ descriptor, size })),
        Effect.onError(() => close(descriptor))
      )
    )
  )

const withFile = <A>(
  operation: string,
  path: string,
  flags: number,
  use: (file: { readonly descriptor: number; readonly size: number }) => Effect.Effect<A, StorageError>
) => Effect.acquireUseRelease(openRegular(operation, path, flags), use, ({ descriptor }) => close(descriptor))

/** Where directories cannot be opened or synced (Windows, some network file systems), names are as durable as they get. */
const noDirectorySync = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EISDIR", "EBADF"])
const cannotSyncDirectory = (error: StorageError) =>
  noDirectorySync.has(error.code) || (process.platform === "win32" && error.code === "EPERM")

const kindOf = (entry: { isFile(): boolean; isDirectory(): boolean }): FileKind =>
  entry.isFile() ? "file" : entry.isDirectory() ? "directory" : "other"

/** Says of a full disk what is left there, and what was to be written. */
const explained =
  (path: string, needed: number) =>
  <A>(effect: Effect.Effect<A, StorageError>): Effect.Effect<A, StorageError> =>
    Effect.catchIf(effect, isFull, ({ code, detail, operation }) =>
      Effect.flatMap(freeAt(dirname(path)), free =>
        Effect.fail(
          new StorageError({ code, detail, operation, path, needed, ...(free === undefined ? {} : { free }) })
        )
      )
    )

const freeAt = (directory: string) =>
  attempt<fs.StatsFs>("read", directory, done => fs.statfs(directory, done)).pipe(
    Effect.map(({ bavail, bsize }) => bavail * bsize),
    Effect.orElseSucceed(() => undefined)
  )

/** The real disk. `piece` is for tests: with a small one every file is large. */
export const makeNodeDisk = ({ piece = defaultPiece }: { readonly piece?: number } = {}): Disk => {
  /** Fills the buffer as far as the file goes; returns how far. */
  const fill = Effect.fnUntraced(function* (descriptor: number, path: string, buffer: Uint8Array, offset: number) {
    let filled = 0
    while (filled < buffer.length) {
      const length = Math.min(piece, buffer.length - filled)
      const count = yield* attempt<number>("read", path, done =>
        fs.read(descriptor, buffer, filled, length, offset + filled, done)
      )
      if (count === 0) break
      filled += count
    }
    return filled
  })

  const writeAll = Effect.fnUntraced(function* (descriptor: number, path: string, bytes: Uint8Array) {
    let written = 0
    while (written < bytes.length) {
      const length = Math.min(piece, bytes.length - written)
      written += yield* attempt<number>("write", path, done => fs.write(descriptor, bytes, written, length, null, done))
    }
  })

  /** The whole file, also one that grows meanwhile. */
  const readAll = (descriptor: number, path: string, size: number) =>
    Effect.gen(function* () {
      let buffer = yield* allocate(path, size + 1)
      let filled = 0
      for (;;) {
        filled += yield* fill(descriptor, path, buffer.subarray(filled), filled)
        if (filled < buffer.length) return buffer.subarray(0, filled)
        const larger = yield* allocate(path, 2 * buffer.length)
        larger.set(buffer)
        buffer = larger
      }
    })

  return {
    ...operations,
    write: (path, content) => {
      const bytes = typeof content === "string" ? Buffer.from(content) : content
      return withFile("write", path, writing | O_TRUNC, ({ descriptor }) => writeAll(descriptor, path, bytes)).pipe(
        explained(path, bytes.length)
      )
    },
    append: Effect.fnUntraced(function* (path, options) {
      const flags = writing | O_APPEND | (options?.exclusive === true ? O_EXCL : 0)
      const { descriptor } = yield* openRegular("write", path, flags)
      const appender: Appender = {
        write: bytes => explained(path, bytes.length)(writeAll(descriptor, path, bytes)),
        sync: attempt("sync", path, done => fs.fsync(descriptor, done)),
        close: close(descriptor)
      }
      return appender
    }),
    read: path => withFile("read", path, reading, ({ descriptor, size }) => readAll(descriptor, path, size)),
    readRange: (path, offset, length) =>
      withFile("read", path, reading, ({ descriptor, size }) =>
        Effect.gen(function* () {
          const buffer = yield* allocate(path, Math.max(0, Math.min(length, size - offset)))
          return buffer.subarray(0, yield* fill(descriptor, path, buffer, offset))
        })
      )
  }
}

/** Memory for a file's bytes, without pooling: they may stay for long. */
const allocate = (path: string, size: number) =>
  Effect.try({
    try: () => Buffer.allocUnsafeSlow(size),
    catch: () =>
      new StorageError({
        code: "ENOMEM",
        path,
        operation: "read",
        detail: `${size} bytes are too many to be held at once`
      })
  })

/** Files above this size are hashed on another thread. */
const inline = 1024 * 1024

const hashFile = (path: string) =>
  withFile("read", path, reading, ({ descriptor, size }) =>
    size > inline
      ? attempt<Hashed>("read", path, done => hashBeside(descriptor, done))
      : Effect.gen(function* () {
          const hasher = createHash("sha256")
          // One byte more than the file has, to see its end.
          const buffer = Buffer.allocUnsafeSlow(size + 1)
          let total = 0
          for (;;) {
            const count = yield* attempt<number>("read", path, done =>
              fs.read(descriptor, buffer, 0, buffer.length, total, done)
            )
            if (count === 0) return { sha256: hasher.digest("hex"), size: total }
            hasher.update(buffer.subarray(0, count))
            total += count
          }
        })
  )

const operations: Omit<Disk, "write" | "append" | "read" | "readRange"> = {
  hash: hashFile,
  stat: (path, options) =>
    Effect.map(
      attempt<fs.BigIntStats>("read", path, done =>
        (options?.follow === true ? fs.stat : fs.lstat)(path, { bigint: true }, done)
      ),
      stat => ({
        kind: kindOf(stat),
        size: Number(stat.size),
        mtimeNs: stat.mtimeNs,
        ctimeNs: stat.ctimeNs,
        ino: stat.ino,
        dev: stat.dev,
        mode: Number(stat.mode) & 0o7777,
        nlink: Number(stat.nlink)
      })
    ),
  readdir: path =>
    Effect.map(
      attempt<Array<fs.Dirent>>("list", path, done => fs.readdir(path, { withFileTypes: true }, done)),
      entries => entries.map(entry => ({ name: entry.name, kind: kindOf(entry) }))
    ),
  mkdir: path => attempt<string | undefined>("create", path, done => fs.mkdir(path, { recursive: true }, done)),
  rename: (from, to) => attempt("rename", to, done => fs.rename(from, to, done)),
  link: (from, to) => attempt("link", to, done => fs.link(from, to, done)),
  // The system's own copy would wait for a FIFO.
  copy: (from, to) =>
    attempt<fs.Stats>("read", from, done => fs.stat(from, done)).pipe(
      Effect.filterOrFail(
        stat => stat.isFile(),
        () => irregular("read", from)
      ),
      Effect.andThen(attempt<void>("copy to", to, done => fs.copyFile(from, to, fs.constants.COPYFILE_FICLONE, done)))
    ),
  unlink: path => attempt("remove", path, done => fs.unlink(path, done)),
  rmdir: path => attempt("remove", path, done => fs.rmdir(path, done)),
  chmod: (path, mode) => attempt("change the mode of", path, done => fs.chmod(path, mode, done)),
  syncFile: path =>
    withFile("sync", path, reading, ({ descriptor }) =>
      attempt<void>("sync", path, done => fs.fsync(descriptor, done))
    ),
  syncDirectory: path =>
    Effect.acquireUseRelease(
      open("sync", path, reading),
      directory => attempt<void>("sync", path, done => fs.fsync(directory, done)),
      close
    ).pipe(Effect.catchIf(cannotSyncDirectory, () => Effect.void)),
  free: path =>
    Effect.map(
      attempt<fs.BigIntStatsFs>("read", path, done => fs.statfs(path, { bigint: true }, done)),
      stat => Number(stat.bavail * stat.bsize)
    )
}

export const nodeDisk: Disk = makeNodeDisk()

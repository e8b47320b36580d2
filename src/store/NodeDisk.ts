/** The real file system, by way of `node:fs`. */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { Effect } from "effect"
import type { Appender, Disk, FileKind } from "./Disk.ts"
import { fromCause, type StorageError } from "./StorageError.ts"

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

/** Large files are hashed in pieces of this size. WebCrypto, which takes whole buffers on other threads, was slower: it copies them. */
const bufferSize = 1024 * 1024

const open = (operation: string, path: string, flags: string) =>
  attempt<number>(operation, path, done => fs.open(path, flags, 0o666, done))

const close = (descriptor: number) => Effect.ignore(attempt<void>("close", "", done => fs.close(descriptor, done)))

const withFile = <A>(
  operation: string,
  path: string,
  flags: string,
  use: (descriptor: number) => Effect.Effect<A, StorageError>
) => Effect.acquireUseRelease(open(operation, path, flags), use, close)

/** Fills the buffer as far as the file goes; returns how far. */
const fill = Effect.fnUntraced(function* (descriptor: number, path: string, buffer: Uint8Array, offset: number) {
  let filled = 0
  while (filled < buffer.length) {
    const count = yield* attempt<number>("read", path, done =>
      fs.read(descriptor, buffer, filled, buffer.length - filled, offset + filled, done)
    )
    if (count === 0) break
    filled += count
  }
  return filled
})

const writeAll = Effect.fnUntraced(function* (descriptor: number, path: string, bytes: Uint8Array) {
  let written = 0
  while (written < bytes.length) {
    written += yield* attempt<number>("write", path, done =>
      fs.write(descriptor, bytes, written, bytes.length - written, null, done)
    )
  }
})

const kindOf = (entry: { isFile(): boolean; isDirectory(): boolean }): FileKind =>
  entry.isFile() ? "file" : entry.isDirectory() ? "directory" : "other"

/** Where directories cannot be opened or synced (Windows, some network file systems), names are as durable as they get. */
const noDirectorySync = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EISDIR", "EBADF"])
const cannotSyncDirectory = (error: StorageError) =>
  noDirectorySync.has(error.code) || (process.platform === "win32" && error.code === "EPERM")

const hashFile = (path: string) =>
  withFile("read", path, "r", descriptor =>
    Effect.gen(function* () {
      const { size } = yield* attempt<fs.Stats>("read", path, done => fs.fstat(descriptor, done))
      const hasher = createHash("sha256")
      // One byte more than a small file has, to see its end.
      const buffer = Buffer.allocUnsafeSlow(Math.min(bufferSize, size + 1))
      let total = 0
      for (;;) {
        const filled = yield* fill(descriptor, path, buffer, total)
        hasher.update(buffer.subarray(0, filled))
        total += filled
        if (filled < buffer.length) return { sha256: hasher.digest("hex"), size: total }
      }
    })
  )

export const nodeDisk: Disk = {
  write: (path, content) => attempt("write", path, done => fs.writeFile(path, content, done)),
  append: Effect.fnUntraced(function* (path, options) {
    const descriptor = yield* open("write", path, options?.exclusive === true ? "ax" : "a")
    const appender: Appender = {
      write: bytes => writeAll(descriptor, path, bytes),
      sync: attempt("sync", path, done => fs.fsync(descriptor, done)),
      close: close(descriptor)
    }
    return appender
  }),
  read: path => attempt<Uint8Array>("read", path, done => fs.readFile(path, done)),
  readRange: (path, offset, length) =>
    withFile("read", path, "r", descriptor => {
      const buffer = new Uint8Array(length)
      return Effect.map(fill(descriptor, path, buffer, offset), filled => buffer.subarray(0, filled))
    }),
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
  copy: (from, to) => attempt("copy to", to, done => fs.copyFile(from, to, fs.constants.COPYFILE_FICLONE, done)),
  unlink: path => attempt("remove", path, done => fs.unlink(path, done)),
  rmdir: path => attempt("remove", path, done => fs.rmdir(path, done)),
  chmod: (path, mode) => attempt("change the mode of", path, done => fs.chmod(path, mode, done)),
  syncFile: path => withFile("sync", path, "r", file => attempt<void>("sync", path, done => fs.fsync(file, done))),
  syncDirectory: path =>
    withFile("sync", path, "r", directory => attempt<void>("sync", path, done => fs.fsync(directory, done))).pipe(
      Effect.catchIf(cannotSyncDirectory, () => Effect.void)
    ),
  free: path =>
    Effect.map(
      attempt<fs.BigIntStatsFs>("read", path, done => fs.statfs(path, { bigint: true }, done)),
      stat => Number(stat.bavail * stat.bsize)
    )
}

/** The operations through which the store touches a file system, so that the same code runs on a simulated disk. */
import { Effect } from "effect"
import { StorageError } from "./StorageError.ts"

/** Code of the error for what is no regular file; the system has several for it, and for some it just waits. */
export const notRegular = "ENOTREGULAR"

export type FileKind = "file" | "directory" | "other"

export interface FileStat {
  /** `other` for devices, sockets and (unless followed) symbolic links. */
  readonly kind: FileKind
  /** Bytes. */
  readonly size: number
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly ino: bigint
  readonly dev: bigint
  /** Permission bits. */
  readonly mode: number
  /** Names of the same file. More than one: somebody else has it, too, and may write to it. */
  readonly nlink: number
}

/** A file that has the same of all these has the same bytes, unless the disk itself lost them. */
export const identity = (stat: FileStat): string =>
  `${stat.dev}.${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}`

export interface DirectoryEntry {
  readonly name: string
  readonly kind: FileKind
}

/** A file that is open for writing at its end. Whoever opens it closes it, on every path. */
export interface Appender {
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, StorageError>
  /** Returns when the bytes written so far would survive a power cut. */
  readonly sync: Effect.Effect<void, StorageError>
  readonly close: Effect.Effect<void>
}

/**
 * A file system. An operation that has begun is not cut off by an interruption: it ends, and then its fiber does.
 * What is read, written, synced or copied must be a regular file (or a link to one): a FIFO, a device or a directory fails with the code
 * `notRegular`, and never makes anyone wait.
 * Data survive a power cut after `syncFile`, names (created, renamed, removed) after `syncDirectory` of their folder.
 */
export interface Disk {
  /** Creates or replaces a file. Not atomic; for files that nobody else looks at yet. */
  readonly write: (path: string, content: string | Uint8Array) => Effect.Effect<void, StorageError>
  /** Opens at the end, creating the file where needed; `exclusive` fails with EEXIST if it is there already. */
  readonly append: (path: string, options?: { readonly exclusive?: boolean }) => Effect.Effect<Appender, StorageError>
  readonly read: (path: string) => Effect.Effect<Uint8Array, StorageError>
  /** Up to `length` bytes from `offset`; fewer where the file ends. */
  readonly readRange: (path: string, offset: number, length: number) => Effect.Effect<Uint8Array, StorageError>
  /** The SHA-256 (64 hexadecimal digits) and the size of what is really there, read to the end in constant memory, large files beside us. */
  readonly hash: (path: string) => Effect.Effect<{ readonly sha256: string; readonly size: number }, StorageError>
  /** Does not follow a symbolic link at the end of the path, unless told to. */
  readonly stat: (path: string, options?: { readonly follow?: boolean }) => Effect.Effect<FileStat, StorageError>
  readonly readdir: (path: string) => Effect.Effect<ReadonlyArray<DirectoryEntry>, StorageError>
  /** Creates a directory and its parents; returns the topmost one that it had to create, if any. */
  readonly mkdir: (path: string) => Effect.Effect<string | undefined, StorageError>
  /** Atomic; replaces a file at `to`. Fails with EXDEV between file systems. */
  readonly rename: (from: string, to: string) => Effect.Effect<void, StorageError>
  readonly link: (from: string, to: string) => Effect.Effect<void, StorageError>
  /** Shares the blocks (reflink) where the file system can, else copies the bytes. */
  readonly copy: (from: string, to: string) => Effect.Effect<void, StorageError>
  readonly unlink: (path: string) => Effect.Effect<void, StorageError>
  /** Removes an empty directory. */
  readonly rmdir: (path: string) => Effect.Effect<void, StorageError>
  readonly chmod: (path: string, mode: number) => Effect.Effect<void, StorageError>
  readonly syncFile: (path: string) => Effect.Effect<void, StorageError>
  /** Does nothing where the platform cannot sync a directory. */
  readonly syncDirectory: (path: string) => Effect.Effect<void, StorageError>
  /** Bytes that an ordinary user may still write to the file system that holds `path`. */
  readonly free: (path: string) => Effect.Effect<number, StorageError>
}

/** The same disk with every change refused (EROFS): for commands that only look, and must leave no trace. */
export const readOnly = (disk: Disk): Disk => {
  const refuse = (operation: string) => (path: string) =>
    Effect.fail(new StorageError({ code: "EROFS", path, operation, detail: "opened for reading only" }))
  return {
    ...disk,
    write: refuse("write"),
    append: refuse("write"),
    mkdir: refuse("create"),
    rename: refuse("rename"),
    link: refuse("link"),
    copy: (_, to) => refuse("copy to")(to),
    unlink: refuse("remove"),
    rmdir: refuse("remove"),
    chmod: refuse("change the mode of"),
    syncFile: refuse("sync"),
    syncDirectory: refuse("sync")
  }
}

/** What a disk refuses: full, read-only, forbidden, failing; with the path, the operation and what to do about it. */
import { Schema } from "effect"
import { makeRoom } from "../pipeline/fullDisk.ts"

/** A file-system operation failed. `message` says what and where, `advice` what to do. */
export class StorageError extends Schema.TaggedError<StorageError>()("StorageError", {
  /** The system's name of the error: ENOSPC, EDQUOT, EROFS, EACCES, EPERM, EIO, ENOENT …; UNKNOWN where it gave none. */
  code: Schema.String,
  path: Schema.String,
  /** What was attempted, as a verb: `write`, `rename`, `sync` … */
  operation: Schema.String,
  /** The system's own words. */
  detail: Schema.String,
  /** Bytes that the disk had left afterwards; known for a full disk only. */
  free: Schema.optionalKey(Schema.Number),
  /** Bytes that were to be written; known for a full disk only. */
  needed: Schema.optionalKey(Schema.Number)
}) {
  override get message(): string {
    const attempt = `cannot ${this.operation} ${this.path}`
    switch (this.code) {
      case "ENOSPC":
        return `the disk that holds ${this.path} is full${this.room()}`
      case "EDQUOT":
        return `the quota of the disk that holds ${this.path} is used up${this.room()}`
      case "EROFS":
        return `${attempt}: its file system is read-only`
      case "EACCES":
      case "EPERM":
        return `${attempt}: permission denied (${this.code})`
      case "EIO":
        return `${attempt}: the disk reports an input/output error`
      case "ENOENT":
        return `${attempt}: no such file or directory`
      case "EMFILE":
      case "ENFILE":
        return `${attempt}: too many open files`
      case "ENOTREGULAR":
        return `${attempt}: it is no regular file, but a directory, a device, a pipe or a socket`
      case "ENOMEM":
        return `${attempt} as a whole: ${this.detail}`
      default:
        return `${attempt}: ${this.detail}`
    }
  }

  /** What a person can do about it. Nothing that was stored before is ever lost by a failed operation, and full disks worry people. */
  get advice(): string {
    const elsewhere = "point --cache (or PIPELINE_CACHE) elsewhere"
    switch (this.code) {
      case "ENOSPC":
      case "EDQUOT":
        return (
          `${makeRoom}; nothing was lost: what was stored before is intact, and the same command continues from there` +
          (this.free !== undefined && this.needed !== undefined && this.free > this.needed
            ? " (bytes seem to be left: the disk may be out of inodes, or keep a reserve for root)"
            : "")
        )
      case "EROFS":
        return `remount it writable, or ${elsewhere}; nothing was changed`
      case "EACCES":
      case "EPERM":
        return `check the owner and the mode of ${this.path} and of its folders, or ${elsewhere}; nothing was changed`
      case "EIO":
        return `the disk may be failing: look at the kernel's log, run \`pipeline cache verify\`, or ${elsewhere}`
      case "EMFILE":
      case "ENFILE":
        return "raise the limit of open files (ulimit -n), or run with fewer --jobs"
      case "ENOMEM":
        return "read it in parts: a stage asks for its `path`, and reads from there"
      default:
        return `see whether ${this.path} can be used, or ${elsewhere}`
    }
  }

  private room(): string {
    const parts = [
      ...(this.free === undefined ? [] : [`${bytes(this.free)} free`]),
      ...(this.needed === undefined ? [] : [`${bytes(this.needed)} needed`])
    ]
    return parts.length === 0 ? "" : `: ${parts.join(", ")}`
  }
}

/** Codes after which the disk has no room for more, as opposed to errors of one file. */
export const isFull = (error: StorageError): boolean => error.code === "ENOSPC" || error.code === "EDQUOT"

/** Errors that libuv has no name for come as `Unknown system error -N`; the only one we met is the quota's. */
const unnamed: Readonly<Record<number, string>> = { [-122]: "EDQUOT", [-69]: "EDQUOT" }

/** Turns whatever `node:fs` raised into a StorageError. */
export const fromCause = (operation: string, path: string, cause: unknown): StorageError => {
  const { code, errno, message } = (typeof cause === "object" && cause !== null ? cause : {}) as {
    readonly code?: unknown
    readonly errno?: unknown
    readonly message?: unknown
  }
  const named = typeof code === "string" && /^E[A-Z0-9_]+$/.test(code) ? code : undefined
  return new StorageError({
    code: named ?? (typeof errno === "number" ? unnamed[errno] : undefined) ?? "UNKNOWN",
    path,
    operation,
    detail: typeof message === "string" ? message : String(cause)
  })
}

const bytes = (count: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB"]
  let value = count
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

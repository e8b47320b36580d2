/** How work with files of this machine fails. */
import { statfsSync } from "node:fs"
import { dirname } from "node:path"
import { Effect, Schema } from "effect"
import { makeRoom } from "../pipeline/fullDisk.ts"
import { bytes as bytesText } from "../pipeline/units.ts"

/** A file that cannot be read or written. `storage`: the disk is full, read-only or forbidden; `permanent`: anything else. */
export class FileError extends Schema.TaggedError<FileError>()("FileError", {
  class: Schema.Literals(["storage", "permanent"]),
  path: Schema.String,
  message: Schema.String,
  /** What to do about it. */
  advice: Schema.optionalKey(Schema.String),
  /** The system's name of the error. */
  code: Schema.optionalKey(Schema.String)
}) {}

/** What to do about a full disk. */
export const fullDiskAdvice = `${makeRoom}; what was downloaded so far is kept, and the same command continues from there`

const fullDisk = new Set(["ENOSPC", "EDQUOT"])

const storageAdvice: { readonly [code: string]: string } = {
  ENOSPC: "the disk is full",
  EDQUOT: "your quota on this disk is used up",
  EROFS: "the disk is read-only",
  EACCES: "permission denied",
  EPERM: "the operation is not permitted",
  EMFILE: "too many open files",
  ENFILE: "too many open files on this machine"
}

/** Runs a file operation; `doing` completes the sentence "could not …", for example `write data/x.part`. */
export const onFile = <A>(path: string, doing: string, evaluate: () => Promise<A>): Effect.Effect<A, FileError> =>
  Effect.tryPromise({
    try: evaluate,
    catch: cause => {
      const code = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : ""
      const advice = storageAdvice[code]
      const room = fullDisk.has(code) ? freeAt(path) : undefined
      const detail = advice ?? (cause instanceof Error ? cause.message : String(cause))
      return new FileError({
        class: advice === undefined ? "permanent" : "storage",
        path,
        ...(code === "" ? {} : { code }),
        ...(fullDisk.has(code) ? { advice: fullDiskAdvice } : {}),
        message: `could not ${doing}: ${detail}${advice === undefined ? "" : ` (${code})`}${room === undefined ? "" : `: ${bytesText(room)} free`}`
      })
    }
  })

/** Bytes that are free where a path lies, or would; undefined where nobody can tell. */
const freeAt = (path: string): number | undefined => {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at)
      return bavail * bsize
    } catch {
      if (dirname(at) === at) return undefined
    }
  }
}

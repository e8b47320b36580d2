/** What a file's bytes must be: the digests that hubs publish, and the check against them. */
import { type Effect, Schema } from "effect"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { type FileError, onFile } from "../formats/fileError.ts"

/**
 * A digest published for a file, in lower-case hexadecimal: the SHA-256 of its bytes (large files of the hub, and every
 * other source), or its git object id (small files of the hub), which covers the size, too.
 */
export type Expected =
  | { readonly sha256: string; readonly gitBlobSha1?: undefined; readonly size?: number | undefined }
  | { readonly sha256?: undefined; readonly gitBlobSha1: string; readonly size: number }

/** What the bytes were. */
export interface Content {
  readonly sha256: string
  /** In bytes. */
  readonly size: number
}

/** The bytes are not the expected ones, also after a second download from zero. */
export class DigestError extends Schema.TaggedError<DigestError>()("DigestError", {
  class: Schema.tag("permanent"),
  /** Where the bytes came from. */
  from: Schema.String,
  /** Both as `sha256:…`, `git-blob-sha1:…`, or `… bytes`. */
  expected: Schema.String,
  actual: Schema.String,
  message: Schema.String
}) {}

/** Hashes bytes as they come. */
export interface Hasher {
  readonly update: (bytes: Uint8Array) => void
  /** Bytes seen so far. */
  readonly size: () => number
  /** Ends the hashing; `mismatch` is set when the bytes are not the expected ones. */
  readonly finish: () => { readonly content: Content; readonly mismatch?: { expected: string; actual: string } }
}

/** Feeds a file's bytes to a hasher. */
export const hashFile = (path: string, hasher: Hasher): Effect.Effect<void, FileError> =>
  onFile(path, `read ${path}`, async () => {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hasher.update(chunk)
  })

export const makeHasher = (expected: Expected): Hasher => {
  const sha256 = createHash("sha256")
  // A git object's id is taken over a header and the bytes; the header holds the size, so it must be known beforehand.
  const git = expected.gitBlobSha1 === undefined ? undefined : createHash("sha1").update(`blob ${expected.size}\0`)
  let size = 0
  return {
    update: bytes => {
      sha256.update(bytes)
      git?.update(bytes)
      size += bytes.length
    },
    size: () => size,
    finish: () => {
      const content = { sha256: sha256.digest("hex"), size }
      if (expected.size !== undefined && size !== expected.size) {
        return { content, mismatch: { expected: `${expected.size} bytes`, actual: `${size} bytes` } }
      }
      if (expected.sha256 !== undefined && content.sha256 !== expected.sha256.toLowerCase()) {
        return { content, mismatch: { expected: `sha256:${expected.sha256}`, actual: `sha256:${content.sha256}` } }
      }
      if (git !== undefined) {
        const actual = git.digest("hex")
        if (actual !== expected.gitBlobSha1?.toLowerCase()) {
          const names = { expected: `git-blob-sha1:${expected.gitBlobSha1}`, actual: `git-blob-sha1:${actual}` }
          return { content, mismatch: names }
        }
      }
      return { content }
    }
  }
}

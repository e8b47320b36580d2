/** The hub's JSON: what a commit is, how files are listed, and which entries of a listing we accept. */
import { Result, Schema } from "effect"
import type { Expected } from "./expected.ts"
import { printable } from "../formats/printable.ts"
import { unsafePath } from "../pipeline/SafePath.ts"

/** A commit's id: 40 lower-case hexadecimal digits. */
export const Commit = Schema.String.check(Schema.isPattern(/^[0-9a-f]{40}$/)).pipe(Schema.brand("Commit"))
export type Commit = typeof Commit.Type

export const isCommit = Schema.is(Commit)

export const RevisionInfo = Schema.Struct({ sha: Commit })

/** One entry of `tree` or `paths-info`; fields that we do not use are left out. */
export const Entry = Schema.Struct({
  type: Schema.String,
  path: Schema.String,
  size: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
  /** The git object's id; of a large file, that of its pointer. */
  oid: Schema.optionalKey(Schema.String),
  /** Large files: `oid` is the SHA-256 of the bytes. Kept also for files whose bytes are in the hub's newer storage. */
  lfs: Schema.optionalKey(
    Schema.NullOr(Schema.Struct({ oid: Schema.String, size: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)) }))
  )
})
export type Entry = typeof Entry.Type

export const Entries = Schema.Array(Entry)

/** A file of a commit, with the digest that the hub publishes for it. */
export type HubFile = Expected & {
  /** Relative to the root of the repository, with forward slashes; checked to be safe to create below a directory. */
  readonly path: string
  /** In bytes. */
  readonly size: number
}

/** The file that an entry describes; the failure says why the entry cannot be accepted. */
export const fileOf = (entry: Entry): Result.Result<HubFile, string> => {
  const { lfs, oid, path, size } = entry
  const unsafe = unsafePath(path)
  if (unsafe !== undefined) return Result.fail(`the path "${printable(path)}" is refused: ${unsafe}`)
  if (lfs !== undefined && lfs !== null) {
    const sha256 = lfs.oid.replace(/^sha256:/, "")
    if (!/^[0-9a-f]{64}$/.test(sha256)) return Result.fail(`"${path}" has no valid SHA-256`)
    return Result.succeed({ path, size: lfs.size, sha256 })
  }
  if (oid === undefined || !/^[0-9a-f]{40}$/.test(oid) || size === undefined) {
    return Result.fail(`"${path}" has no valid digest and size`)
  }
  return Result.succeed({ path, size, gitBlobSha1: oid })
}

/** The target of `Link: <…>; rel="next"`. */
export const nextLink = (headers: Headers): string | undefined =>
  /<([^<>]*)>\s*;[^,<]*\brel="?next"?/i.exec(headers.get("link") ?? "")?.[1]

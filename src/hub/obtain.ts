/** Sources of data as stages use them: what a source stands for, and its files on this machine. */
import { Effect, Result } from "effect"
import { createHash } from "node:crypto"
import { constants, copyFile, mkdir, readdir, stat } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import type { Manifest } from "../pipeline/Artifact.ts"
import type { Json } from "../pipeline/Digest.ts"
import type { IdentityContext } from "../pipeline/Stage.ts"
import { rememberQuery } from "../pipeline/Secrets.ts"
import { asStageError, permanent, StageError } from "../pipeline/StageError.ts"
import { type FileError, onFile } from "../formats/fileError.ts"
import { type HubClient, type HubCommit, makeHubClient } from "./client.ts"
import { hubConfig } from "./config.ts"
import { hashFile, makeHasher } from "./expected.ts"
import { type HubFile, isCommit } from "./listing.ts"
import { type HttpsSource, type HubSource, parseSource, type Source } from "./source.ts"
import { boundsOf, roomFor, withRoom } from "./room.ts"
import { downloadVerified, type TransferProgress } from "./transfer.ts"

/** One file of a source, on this machine. */
export interface ObtainedFile {
  /** Name inside the artifact: relative, with forward slashes. */
  readonly path: string
  /** Absolute path of the file; it belongs to whoever asked, and may be moved. */
  readonly file: string
  readonly sha256: string
  readonly size: number
}

/** Reads a source; what is wrong with it is shown with a caret. */
export const source = (text: string): Effect.Effect<Source, StageError> => {
  const parsed = parseSource(text)
  return Result.isSuccess(parsed) ? Effect.succeed(parsed.success) : Effect.fail(permanent(parsed.failure.message))
}

const hub = Effect.suspend(() => Effect.map(hubConfig(process.env), makeHubClient))

type Failure = StageError | Parameters<typeof asStageError>[0]

/** Errors that are not the stage's yet become so; what says that the action is stale stays as it is. */
const inStageTerms = <A>(effect: Effect.Effect<A, Failure>): Effect.Effect<A, StageError> =>
  Effect.mapError(effect, error => (error instanceof StageError ? error : asStageError(error)))

/**
 * What a source stands for, for the key of whoever reads it: digests of the files, a commit, an artifact.
 * Paths of this machine are not part of it; names of files are, as they become names in the artifact.
 */
export const identify = (
  text: string,
  sha256: string | undefined,
  context: IdentityContext
): Effect.Effect<Json, StageError> =>
  inStageTerms(
    Effect.gen(function* () {
      const from = yield* source(text)
      switch (from._tag) {
        case "Embedded":
          return { embedded: (yield* context.embedded(from.name)) as unknown as Json }
        case "File": {
          const files = yield* localFiles(from.path)
          return {
            files: yield* Effect.forEach(files, ({ file, path }) =>
              Effect.map(context.fileDigest(file), digest => ({ path, ...digest }))
            )
          }
        }
        case "Https":
          if (sha256 === undefined) {
            return yield* permanent(
              `${text} needs its SHA-256 beside it: what is behind an address may change`,
              "set the parameter sha256 (`sha256sum FILE` prints it)"
            )
          }
          return { name: basename(new URL(from.url).pathname) || "file", sha256 }
        case "Hub":
          return { type: from.type, repo: from.repo, path: from.path ?? null, commit: yield* commitOf(from, context) }
      }
    })
  )

/** The commit that a revision names: asked for once, then remembered until `--refresh`. */
const commitOf = (from: HubSource, context: IdentityContext): Effect.Effect<string, StageError> =>
  isCommit(from.revision)
    ? Effect.succeed(from.revision)
    : context.remember(
        `hub ${mirrorName(process.env["HF_ENDPOINT"])} ${from.type}/${from.repo}@${from.revision}`,
        inStageTerms(Effect.flatMap(hub, client => Effect.map(client.resolve(from), ({ commit }) => commit)))
      )

/** Tells mirrors apart without their addresses, which may hold a token. */
const mirrorName = (endpoint: string | undefined): string =>
  endpoint === undefined || endpoint.trim() === ""
    ? ""
    : createHash("sha256").update(endpoint.trim()).digest("hex").slice(0, 16)

/** The address with the query that the environment holds for it. */
const fullUrl = (from: HttpsSource): Effect.Effect<string, StageError> => {
  if (from.queryFrom === undefined) return Effect.succeed(from.url)
  const query = process.env[from.queryFrom]?.trim().replace(/^\?/, "") ?? ""
  if (query === "")
    return Effect.fail(
      permanent(
        `the environment variable ${from.queryFrom}, which holds the query of ${from.url}, is not set`,
        `export ${from.queryFrom}='…' before the run`
      )
    )
  rememberQuery(`?${query}`)
  return Effect.succeed(`${from.url}?${query}`)
}

/** The files of a path of this machine, sorted: itself, or all below it. */
const localFiles = (
  path: string
): Effect.Effect<ReadonlyArray<{ readonly path: string; readonly file: string }>, FileError> =>
  onFile(path, `read ${path}`, async () => {
    const root = resolve(path)
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
      if (cause instanceof Error && "code" in cause && cause.code === "ENOTDIR") return undefined
      throw cause
    })
    if (entries === undefined) return [{ path: basename(root), file: root }]
    return entries
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name))
      .sort()
      .map(file => ({
        path: file
          .slice(root.length + 1)
          .split("\\")
          .join("/"),
        file
      }))
  })

export interface Obtain {
  readonly source: string
  /** What `identify` returned when the run was planned: a branch that moved since does not change what is fetched. */
  readonly identity: Json | undefined
  readonly sha256?: string | undefined
  /** Of a repository, only the files that this accepts. */
  readonly accepts?: ((path: string) => boolean) | undefined
  /** Survives failures: partial downloads are continued from here. */
  readonly directory: string
  readonly onProgress: (progress: TransferProgress) => void
}

/** The manifest behind an embedded source, from its identity. */
export const embeddedManifest = (identity: Json | undefined): Manifest | undefined =>
  typeof identity === "object" && identity !== null && "embedded" in identity
    ? (identity["embedded"] as unknown as Manifest)
    : undefined

/** A commit of the hub, and the files of it that a source names. */
export const hubFiles = (
  from: HubSource,
  identity: Json | undefined
): Effect.Effect<
  { readonly client: HubClient; readonly at: HubCommit; readonly files: ReadonlyArray<HubFile> },
  StageError
> =>
  inStageTerms(
    Effect.gen(function* () {
      const client = yield* hub
      const commit =
        typeof identity === "object" && identity !== null && "commit" in identity ? identity["commit"] : undefined
      if (typeof commit !== "string" || !isCommit(commit))
        return yield* permanent(`no commit is known for ${from.repo}`)
      const at: HubCommit = { type: from.type, repo: from.repo, commit }
      const files = yield* client.listFiles(at, from.path)
      return { client, at, files }
    })
  )

/** Brings the files of a source to this machine. Embedded sources have no files of their own: they are adopted by digest. */
export const obtain = (request: Obtain): Effect.Effect<ReadonlyArray<ObtainedFile>, StageError> =>
  inStageTerms(
    Effect.gen(function* () {
      const from = yield* source(request.source)
      const accepts = request.accepts ?? (() => true)
      switch (from._tag) {
        case "Embedded":
          return yield* permanent(`${request.source} has no files on disk`)
        case "File": {
          const listed = yield* localFiles(from.path)
          yield* sameListing(from.path, listed, request.identity)
          const wanted = listed.filter(({ path }) => accepts(path))
          const copied = yield* Effect.forEach(wanted, entry => copyIn(entry, request))
          // A file that came or went while the others were copied is not part of what was keyed.
          yield* sameListing(from.path, yield* localFiles(from.path), request.identity)
          return copied
        }
        case "Https": {
          const path = basename(new URL(from.url).pathname) || "file"
          const to = join(request.directory, path)
          const url = yield* fullUrl(from)
          yield* onFile(request.directory, `create ${request.directory}`, () =>
            mkdir(request.directory, { recursive: true })
          )
          const bounds = yield* boundsOf(process.env)
          const expected = { sha256: request.sha256 ?? "" }
          const content = yield* downloadVerified({ bounds, url, to, expected, onProgress: request.onProgress })
          return [{ path, file: to, ...content }]
        }
        case "Hub": {
          const { at, client, files } = yield* hubFiles(from, request.identity)
          const wanted = files.filter(({ path }) => accepts(path))
          if (wanted.length === 0)
            return yield* permanent(
              `${request.source} has no file that is wanted here; it has ${files
                .slice(0, 20)
                .map(({ path }) => path)
                .join(", ")}`
            )
          const { directory, onProgress } = request
          const bounds = yield* boundsOf(process.env)
          const done = yield* client.download({ at, files: wanted, directory, onProgress, bounds })
          return done.map(({ path, sha256, size }) => ({ path, file: join(directory, path), sha256, size }))
        }
      }
    })
  )

/** Copies a file of this machine, and makes sure that it is still the one that the run was planned with. */
const copyIn = Effect.fnUntraced(function* (
  { file, path }: { readonly file: string; readonly path: string },
  request: Obtain
): Effect.fn.Return<ObtainedFile, FileError | StageError> {
  const to = join(request.directory, path)
  const { size } = yield* onFile(file, `look at ${file}`, () => stat(file))
  yield* roomFor(to).need(size)
  yield* onFile(file, `copy ${file}`, async () => {
    await mkdir(dirname(to), { recursive: true })
    // File systems that can share blocks take no room for it.
    await copyFile(file, to, constants.COPYFILE_FICLONE)
  }).pipe(withRoom(to, size))
  const hasher = makeHasher({ sha256: "" })
  yield* hashFile(to, hasher)
  const { content } = hasher.finish()
  const planned = plannedFiles(request.identity)?.find(entry => entry.path === path)
  if (planned !== undefined && planned.sha256 !== content.sha256) return yield* changed(`${file} was changed`)
  return { path, file: to, ...content }
})

/** What is there is not what the key was made from: the action is planned anew, and the new content gets its own key. */
const changed = (what: string) =>
  new StageError({
    class: "stale",
    message: `${what} while the run was under way`,
    advice: "run again: the new content gets its own key"
  })

/** Fails when other files are there than those that the run was planned with. */
const sameListing = (
  root: string,
  listed: ReadonlyArray<{ readonly path: string }>,
  identity: Json | undefined
): Effect.Effect<void, StageError> => {
  const planned = plannedFiles(identity)
  if (planned === undefined) return Effect.void
  const [now, then] = [new Set(listed.map(({ path }) => path)), new Set(planned.map(({ path }) => String(path)))]
  const added = [...now].filter(path => !then.has(path))
  const removed = [...then].filter(path => !now.has(path))
  if (added.length === 0 && removed.length === 0) return Effect.void
  const told = [...added.map(path => `${path} was added`), ...removed.map(path => `${path} was removed`)]
  return Effect.fail(changed(`${root}: ${told.slice(0, 3).join(", ")}${told.length > 3 ? ", …" : ""}`))
}

/** The files that the key was made from; undefined where there was no key. */
const plannedFiles = (
  identity: Json | undefined
): ReadonlyArray<{ readonly path?: Json; readonly sha256?: Json }> | undefined => {
  const files = typeof identity === "object" && identity !== null && "files" in identity ? identity["files"] : undefined
  return Array.isArray(files) ? (files as ReadonlyArray<{ readonly path?: Json; readonly sha256?: Json }>) : undefined
}

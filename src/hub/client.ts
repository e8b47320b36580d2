/** The hub's repositories: a revision becomes a commit once, and files are listed and downloaded at that commit only. */
import { Effect, Result } from "effect"
import { join } from "node:path"
import type { Content } from "./expected.ts"
import type { FileError } from "../formats/fileError.ts"
import { type HttpError, type HttpRequest, requestJson } from "./http.ts"
import { printable } from "../formats/printable.ts"
import { type RandomAccess } from "../formats/randomAccess.ts"
import { httpSource } from "./httpSource.ts"
import type { RangeOptions } from "./ranges.ts"
import { type Bounds, heldBytes, roomFor } from "./room.ts"
import { unsafePath } from "../pipeline/SafePath.ts"
import { encodePath, type RepoType } from "./source.ts"
import { type DigestError, downloadVerified, type TransferProgress } from "./transfer.ts"
import { defaultEndpoint, type HubConfig } from "./config.ts"
import { type HubError, hubError, withAdvice } from "./hubError.ts"
import { type Commit, Entries, type Entry, fileOf, type HubFile, isCommit, nextLink, RevisionInfo } from "./listing.ts"

/** A repository at a revision that may move. An `hf://` source is one. */
export interface HubRef {
  readonly type: RepoType
  /** `ORG/NAME` */
  readonly repo: string
  readonly revision: string
}

/** A repository at a commit: names the same bytes for ever. */
export interface HubCommit {
  readonly type: RepoType
  readonly repo: string
  readonly commit: Commit
}

export interface HubDownload {
  readonly at: HubCommit
  readonly files: ReadonlyArray<HubFile>
  /** Files get their path in the repository below it. */
  readonly directory: string
  /** Files at a time (default 4); each large one uses several connections. */
  readonly parallel?: number
  readonly ranges?: RangeOptions
  readonly bounds?: Bounds
  /** Bytes of all the files together; `file` is the one that just advanced. */
  readonly onProgress?: (progress: TransferProgress) => void
}

export type DownloadedFile = Content & { readonly path: string }

export interface HubClient {
  /** The commit that a revision names now. One request; none when the revision is a commit already. */
  readonly resolve: (ref: HubRef) => Effect.Effect<HubCommit, HttpError | HubError>
  /** The files of a commit, sorted by path: all of them, those below the directory `under`, or the one file `under`. */
  readonly listFiles: (at: HubCommit, under?: string) => Effect.Effect<ReadonlyArray<HubFile>, HttpError | HubError>
  /** Downloads files, each verified against the digest in its listing; complete ones are kept, partial ones continued. */
  readonly download: (
    request: HubDownload
  ) => Effect.Effect<ReadonlyArray<DownloadedFile>, HttpError | HubError | DigestError | FileError>
  /** Reads a file by ranges, without downloading it. */
  readonly open: (at: HubCommit, file: HubFile) => RandomAccess<HttpError | HubError>
}

/** Ten times what the largest repositories have. */
const defaultLimits = { entries: 1_000_000, pages: 10_000 }

export const makeHubClient = (config: HubConfig, limits = defaultLimits): HubClient => {
  const { endpoint, http, token } = config
  const hasToken = token !== undefined

  const page = ({ repo, type }: { readonly type: RepoType; readonly repo: string }) =>
    `${endpoint}/${type === "models" ? "" : `${type}/`}${repo}`

  const fileUrl = (at: HubCommit, path: string) => `${page(at)}/resolve/${at.commit}/${encodePath(path)}`

  const subject = (at: HubCommit, path?: string) => ({ page: page(at), revision: at.commit, path, hasToken })

  const online: Effect.Effect<void, HubError> = config.offline
    ? Effect.fail(hubError(`${endpoint} may not be asked: HF_HUB_OFFLINE is set; unset it`))
    : Effect.void

  const entries = (request: HttpRequest) => requestJson({ ...request, token }, Entries, http)

  /** A listing's next page, at the endpoint: mirrors pass on links that point to the hub itself. */
  const nextPage = (link: string, current: string): Result.Result<string, HubError> => {
    const next = URL.parse(link, current)
    const base = new URL(endpoint)
    if (next?.origin === base.origin) return Result.succeed(next.href)
    if (next?.origin === defaultEndpoint) return Result.succeed(`${endpoint}${next.pathname}${next.search}`)
    const message = `${endpoint}: the listing continues at another host, which is refused: ${printable(link)}`
    return Result.fail(hubError(message))
  }

  const tree = Effect.fnUntraced(function* (
    at: HubCommit,
    directory: string | undefined
  ): Effect.fn.Return<ReadonlyArray<Entry>, HttpError | HubError> {
    const below = directory === undefined ? "" : `/${encodePath(directory)}`
    let url: string | undefined = `${endpoint}/api/${at.type}/${at.repo}/tree/${at.commit}${below}?recursive=true`
    const found: Array<Entry> = []
    const paths = new Set<string>()
    for (let pages = 0; url !== undefined; pages++) {
      const { headers, value } = yield* entries({ url })
      const before = paths.size
      for (const entry of value) {
        found.push(entry)
        paths.add(entry.path)
      }
      const link = nextLink(headers)
      if (link === undefined) return found
      if (paths.size === before) return yield* hubError(`${page(at)}: the listing never ends: a page adds nothing`)
      if (pages + 1 >= limits.pages || found.length >= limits.entries)
        return yield* hubError(
          `${page(at)}: the listing does not end after ${pages + 1} pages of ${found.length} entries`
        )
      url = yield* Effect.fromResult(nextPage(link, url))
    }
    return found
  })

  /** What `path` is at a commit: a file, a directory, or nothing. */
  const entryAt = Effect.fnUntraced(function* (
    at: HubCommit,
    path: string
  ): Effect.fn.Return<Entry | undefined, HttpError> {
    const { value } = yield* entries({
      url: `${endpoint}/api/${at.type}/${at.repo}/paths-info/${at.commit}`,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ paths: [path] })
    })
    return value.find(entry => entry.path === path)
  })

  const findEntries = Effect.fnUntraced(function* (
    at: HubCommit,
    under: string | undefined
  ): Effect.fn.Return<ReadonlyArray<Entry>, HttpError | HubError> {
    if (under === undefined) return yield* tree(at, undefined)
    const entry = yield* entryAt(at, under)
    if (entry === undefined) {
      const message = `${page(at)} has no "${under}" at commit ${at.commit}; see ${page(at)}/tree/${at.commit}`
      return yield* hubError(message)
    }
    return entry.type === "directory" ? yield* tree(at, under) : [entry]
  })

  return {
    resolve: Effect.fn("HubClient.resolve")(function* (ref): Effect.fn.Return<HubCommit, HttpError | HubError> {
      const { repo, revision, type } = ref
      if (isCommit(revision)) return { type, repo, commit: revision }
      yield* online
      const url = `${endpoint}/api/${type}/${repo}/revision/${encodeURIComponent(revision)}`
      const { value } = yield* requestJson({ url, token }, RevisionInfo, http).pipe(
        Effect.mapError(withAdvice({ page: page(ref), revision, hasToken }))
      )
      return { type, repo, commit: value.sha }
    }),

    listFiles: Effect.fn("HubClient.listFiles")(function* (at, under): Effect.fn.Return<
      ReadonlyArray<HubFile>,
      HttpError | HubError
    > {
      yield* online
      const found = yield* findEntries(at, under).pipe(
        Effect.mapError(error => (error._tag === "HttpError" ? withAdvice(subject(at, under))(error) : error))
      )
      const files = new Map<string, HubFile>()
      for (const entry of found) {
        if (entry.type !== "file") continue
        const file = fileOf(entry)
        const problem = Result.isFailure(file)
          ? file.failure
          : files.has(entry.path)
            ? `"${entry.path}" is listed twice`
            : undefined
        if (Result.isFailure(file) || problem !== undefined) {
          const message = `${page(at)} at commit ${at.commit}: ${problem}`
          return yield* hubError(message)
        }
        files.set(entry.path, file.success)
      }
      return [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
    }),

    download: Effect.fn("HubClient.download")(function* (request): Effect.fn.Return<
      ReadonlyArray<DownloadedFile>,
      HttpError | HubError | DigestError | FileError
    > {
      yield* online
      const { at, directory, files, onProgress } = request
      for (const { path } of files) {
        const unsafe = unsafePath(path)
        if (unsafe === undefined) continue
        const message = `${page(at)}: the path "${printable(path)}" is refused: ${unsafe}`
        return yield* hubError(message)
      }
      const bytesTotal = files.reduce((sum, file) => sum + file.size, 0)
      // All or nothing: a disk that is filled by one of four files has no room for the ledger either.
      const suffix = partSuffix(files)
      const held = yield* heldBytes(
        files.flatMap(({ path }) => [join(directory, path), join(directory, `${path}${suffix}`)])
      )
      yield* roomFor(join(directory, "files"), request.bounds).need(Math.max(0, bytesTotal - held))
      const doneOf = new Map<string, number>()
      let bytesDone = 0
      const advance = (file: string, done: number) => {
        bytesDone += done - (doneOf.get(file) ?? 0)
        doneOf.set(file, done)
        onProgress?.({ bytesDone, bytesTotal, file })
      }
      const one = (file: HubFile) =>
        downloadVerified({
          url: fileUrl(at, file.path),
          token,
          to: join(directory, file.path),
          partSuffix: suffix,
          expected: file,
          onProgress: progress => advance(file.path, progress.bytesDone),
          http,
          ...(request.ranges === undefined ? {} : { ranges: request.ranges }),
          ...(request.bounds === undefined ? {} : { bounds: request.bounds })
        }).pipe(
          Effect.mapError(error => (error._tag === "HttpError" ? withAdvice(subject(at, file.path))(error) : error)),
          Effect.map(content => ({ path: file.path, ...content }))
        )
      return yield* Effect.forEach(files, one, { concurrency: request.parallel ?? 4 })
    }),

    open: (at, file) => {
      const name = `hf://${at.type}/${at.repo}@${at.commit}/${file.path}`
      const remote = httpSource({ url: fileUrl(at, file.path), name, token, size: file.size, http })
      const advised = withAdvice(subject(at, file.path))
      return {
        name,
        size: Effect.succeed(file.size),
        read: (start, end) => Effect.andThen(online, Effect.mapError(remote.read(start, end), advised))
      }
    }
  }
}

/** The ending of unfinished files: one that no file of the repository has, so that none is taken for another's part. */
export const partSuffix = (files: ReadonlyArray<{ readonly path: string }>): string => {
  let longest = -1
  for (const { path } of files)
    for (const [, underscores] of path.matchAll(/\.part(_*)/g)) longest = Math.max(longest, underscores!.length)
  return `.part${"_".repeat(longest + 1)}`
}

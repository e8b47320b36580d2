/** Downloads have bounds: servers that never end, trickle or claim absurd sizes, and disks without room, end them with an error that says what to do. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { createServer as createRawServer, type AddressInfo, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { HttpOptions } from "../../src/hub/http.ts"
import { type HubClient, makeHubClient } from "../../src/hub/client.ts"
import { hubConfig } from "../../src/hub/config.ts"
import { boundsOf } from "../../src/hub/room.ts"
import { downloadVerified, type Transfer } from "../../src/hub/transfer.ts"
import { sha256Of } from "../support/loopbackHub.ts"

const http: HttpOptions = { attempts: 2, baseDelayMillis: 1, maxDelayMillis: 2, idleTimeoutMillis: 5000 }
const bytes = new Uint8Array(50_000).map((_, i) => (i * 31) ^ (i >>> 5))

const listening = (server: Server, close: () => void) =>
  Effect.acquireRelease(
    Effect.callback<string>(
      resume =>
        void server.listen(0, "127.0.0.1", () =>
          resume(Effect.succeed(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
        )
    ),
    () => Effect.sync(close)
  )

const serving = (
  handle: (request: IncomingMessage, response: ServerResponse) => void
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.suspend(() => {
    const server = createServer(handle)
    return listening(server, () => {
      server.closeAllConnections()
      server.close()
    })
  })

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "bounds-test-"))),
  directory => Effect.sync(() => rmSync(directory, { recursive: true }))
)

const transferOf = Effect.fnUntraced(function* (url: string, more: Partial<Transfer> = {}) {
  const to = join(yield* temporaryDirectory, "x")
  return { url, to, expected: { sha256: sha256Of(bytes) }, http, ...more } satisfies Transfer
})

/** Sends chunks as fast as they are taken. */
const pour = (response: ServerResponse, chunk: Buffer): void => {
  const more = () => {
    while (response.write(chunk));
    response.once("drain", more)
  }
  more()
}

describe("a server", () => {
  it.live("that sends next to nothing is given up, and what came is the beginning of the next try", () =>
    Effect.gen(function* () {
      let trickling = true
      const ranges: Array<string | undefined> = []
      const url = yield* serving((request, response) => {
        ranges.push(request.headers.range)
        const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0)
        response.writeHead(from === 0 ? 200 : 206, {
          "content-length": bytes.length - from,
          ...(from === 0 ? {} : { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` })
        })
        if (!trickling) return void response.end(bytes.subarray(from))
        let at = from
        const timer = setInterval(() => response.write(bytes.subarray(at, ++at)), 3)
        response.on("close", () => clearInterval(timer))
      })
      const slow = { ...http, attempts: 3, leastBytesPerSecond: 100_000, rateWindowMillis: 40 }
      const transfer = yield* transferOf(url, { http: slow })
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert.include(error.message, "less than 100000 bytes a second")
      // Each try got further than the one before, which would otherwise mean: go on.
      assert.strictEqual(ranges.length, 3)
      trickling = false
      yield* downloadVerified(transfer)
      assert.isAbove(Number(/bytes=(\d+)-/.exec(ranges[3] ?? "")?.[1]), 0)
      assert.isTrue(Buffer.from(bytes).equals(readFileSync(transfer.to)))
    })
  )

  it.live("whose body has no end is cut off at the bound for one file, and nothing of it is kept", () =>
    Effect.gen(function* () {
      let requests = 0
      const url = yield* serving((_, response) => {
        requests++
        response.writeHead(200)
        pour(response, Buffer.alloc(65_536, 1))
      })
      const transfer = yield* transferOf(url, { bounds: { mostBytes: 1_000_000 } })
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert.include(error.message, "more than the 1.00 MB")
      assert.include(error.message, "PIPELINE_MAX_DOWNLOAD")
      assert.deepStrictEqual([requests, statSync(`${transfer.to}.part`).size], [1, 0])
    })
  )

  it.live("that announces more than the bound is not listened to", () =>
    Effect.gen(function* () {
      const url = yield* serving(
        (_, response) => void response.writeHead(200, { "content-length": 2_000_000 }).flushHeaders()
      )
      const transfer = yield* transferOf(url, { bounds: { mostBytes: 1_000_000 } })
      assert.include((yield* Effect.flip(downloadVerified(transfer))).message, "more than the 1.00 MB")
    })
  )

  it.live("that sends more than it announced is cut off there", () =>
    Effect.gen(function* () {
      const server = createRawServer(socket => {
        socket.on("error", () => undefined)
        socket.once("data", () => {
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length}\r\n\r\n`)
          socket.write(bytes)
          socket.write(Buffer.alloc(100_000, 7))
        })
      })
      const url = yield* listening(server, () => void server.close())
      const transfer = yield* transferOf(url)
      yield* downloadVerified(transfer)
      assert.isTrue(Buffer.from(bytes).equals(readFileSync(transfer.to)))
    })
  )
})

describe("a disk", () => {
  const withSize = (request: IncomingMessage, response: ServerResponse) =>
    void response.writeHead(200, { "content-length": bytes.length }).end(bytes)

  it.live.each([
    ["over one connection", {}],
    ["in ranges", { ranges: { thresholdBytes: 1 }, expected: { sha256: sha256Of(bytes), size: bytes.length } }]
  ] as const)(
    "without room is told before anything is written, %s: what is free, what is needed, what to do",
    ([, more]) =>
      Effect.gen(function* () {
        const url = yield* serving(withSize)
        const transfer = yield* transferOf(url, { ...more, bounds: { free: async () => 40_000 } })
        const error = yield* Effect.flip(downloadVerified(transfer))
        assert.strictEqual(error._tag === "FileError" && error.class, "storage")
        assert.match(error.message, /is full: 40\.0 kB free, 67\.2 MB needed/)
        assert.match(error._tag === "FileError" ? (error.advice ?? "") : "", /pipeline gc.*--cache.*is kept/)
        assert.strictEqual(statSync(`${transfer.to}.part`).size, 0)
      })
  )

  it.live("that fills while a file comes ends the download, which continues once there is room", () =>
    Effect.gen(function* () {
      const ranges: Array<string | undefined> = []
      let looks = 0
      const url = yield* serving((request, response) => {
        ranges.push(request.headers.range)
        const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0)
        if (from > 0) response.writeHead(206, { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` })
        // Without a length, so that only a look at the disk can tell.
        response.write(bytes.subarray(from, from + 20_000))
        const rest = () => (looks < 2 ? void setTimeout(rest, 1) : void response.end(bytes.subarray(from + 20_000)))
        rest()
      })
      const free = async () => (looks++ < 2 ? 1e9 : 1000)
      const transfer = yield* transferOf(url, { bounds: { free, lookAgainAfter: 1 } })
      assert.include((yield* Effect.flip(downloadVerified(transfer))).message, "1.00 kB free")
      const held = statSync(`${transfer.to}.part`).size
      assert.isAbove(held, 0)
      yield* downloadVerified({ ...transfer, bounds: {} })
      assert.deepStrictEqual(ranges, [undefined, `bytes=${held}-`])
      assert.isTrue(Buffer.from(bytes).equals(readFileSync(transfer.to)))
    })
  )

  it.live("is asked for all files of a repository together", () =>
    Effect.gen(function* () {
      let requests = 0
      const client = yield* clientFor((_, response) => {
        requests++
        response.end()
      })
      const directory = join(yield* temporaryDirectory, "not", "made", "yet")
      const files = Array.from({ length: 10 }, (_, i) => ({ path: `f${i}`, size: 1e9, sha256: "0".repeat(64) }))
      const error = yield* Effect.flip(client.download({ at, files, directory, bounds: { free: async () => 5e9 } }))
      assert.match(error.message, /5\.00 GB free, 10\.1 GB needed/)
      assert.deepStrictEqual([requests, existsSync(directory)], [0, false])
    })
  )
})

const at = { type: "models", repo: "a/b", commit: "0".repeat(40) as never } as const

const clientFor = (
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  limits?: { readonly entries: number; readonly pages: number }
): Effect.Effect<HubClient, never, Scope.Scope> =>
  Effect.gen(function* () {
    const url = yield* serving(handle)
    return makeHubClient(yield* Effect.orDie(hubConfig({ HF_ENDPOINT: url, HF_TOKEN: "none" }, http)), limits)
  })

describe("a listing", () => {
  const entry = (path: string) => ({ type: "file", path, size: 1, oid: "0".repeat(40) })

  it.live("may have 150,000 entries on one page", () =>
    Effect.gen(function* () {
      const page = JSON.stringify(Array.from({ length: 150_000 }, (_, i) => entry(`f${i}`)))
      const client = yield* clientFor((_, response) => void response.end(page))
      assert.lengthOf(yield* client.listFiles(at), 150_000)
    })
  )

  /** Every page has a successor with another address. */
  const endless = (pageOf: (n: number) => ReadonlyArray<unknown>) =>
    clientFor(
      (request, response) => {
        const n = Number(/cursor=(\d+)/.exec(request.url ?? "")?.[1] ?? 0)
        const next = `http://${request.headers.host}/api/models/a/b/tree/x?cursor=${n + 1}`
        response.writeHead(200, { link: `<${next}>; rel="next"` }).end(JSON.stringify(pageOf(n)))
      },
      { entries: 100, pages: 50 }
    )

  it.live.each([
    ["repeats itself", (n: number) => [entry(`f${n % 3}`)], "a page adds nothing"],
    ["is empty for ever", () => [], "a page adds nothing"],
    [
      "has ever new entries",
      (n: number) => Array.from({ length: 10 }, (_, i) => entry(`f${n}-${i}`)),
      "after 10 pages of 100 entries"
    ],
    ["has ever new pages", (n: number) => [entry(`f${n}`)], "after 50 pages"]
  ] as const)("that %s is not followed for ever", ([, pageOf, what]) =>
    Effect.gen(function* () {
      const client = yield* endless(pageOf)
      assert.include((yield* Effect.flip(client.listFiles(at))).message, what)
    })
  )
})

it.effect("the bound for one file comes from the environment", () =>
  Effect.gen(function* () {
    const most = (text: string) => Effect.map(boundsOf({ PIPELINE_MAX_DOWNLOAD: text }), ({ mostBytes }) => mostBytes)
    assert.deepStrictEqual(yield* Effect.forEach(["", "12", "1.5 kB", "3GB", "2T"], most), [200e9, 12, 1500, 3e9, 2e12])
    for (const text of ["-1", "lots", "1e3", "NaN", "1 XB"])
      assert.include((yield* Effect.flip(most(text))).message, "PIPELINE_MAX_DOWNLOAD is")
  })
)

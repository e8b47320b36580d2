import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as fc from "fast-check"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { onFile } from "../../src/formats/fileError.ts"
import type { HttpOptions } from "../../src/hub/http.ts"
import { downloadVerified, type Expected, type Transfer, type TransferProgress } from "../../src/hub/transfer.ts"
import { gitBlobSha1Of, loopbackHub, sha256Of } from "../support/loopbackHub.ts"

const http: HttpOptions = { attempts: 4, baseDelayMillis: 1, maxDelayMillis: 2, idleTimeoutMillis: 5000 }

/** Bytes that differ from place to place, so that a misplaced range is noticed; never zero, as bytes not yet written are. */
const pattern = (size: number, seed = 1) => {
  const bytes = new Uint8Array(size)
  for (let i = 0, x = seed; i < size; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    bytes[i] = (x >>> 24) | 1
  }
  return bytes
}

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "transfer-test-"))),
  directory => Effect.sync(() => rmSync(directory, { recursive: true }))
)

/** A hub with one file, and the transfer that downloads it. */
const setup = Effect.fnUntraced(function* (bytes: Uint8Array, more: Partial<Transfer> = {}) {
  const hub = yield* loopbackHub
  const directory = yield* temporaryDirectory
  const url = (content: Uint8Array) => `${hub.url}/a/b/resolve/${hub.commit("models/a/b", { x: { bytes: content } })}/x`
  const to = join(directory, "deep/x")
  const expected: Expected = { sha256: sha256Of(bytes), size: bytes.length }
  const transfer: Transfer = { url: url(bytes), to, expected, http, ...more }
  hub.faults.beforeCut = async at => {
    const part = `${to}.part`
    while (!existsSync(part) || readFileSync(part).at(at - 1) !== bytes[at - 1]) await setTimeout(1)
  }
  return { hub, directory, url, to, transfer }
})

const check = (to: string, bytes: Uint8Array) => {
  assert.isTrue(Buffer.from(bytes).equals(readFileSync(to)), "the file has the right bytes")
  assert.deepStrictEqual(readdirSync(join(to, "..")), ["x"], "nothing is left beside it")
}

const nothingAt = (to: string) => assert.deepStrictEqual(readdirSync(join(to, "..")), [])

/** Starts a download, waits until the part file has `size` bytes, and interrupts it. */
const interruptAt = Effect.fnUntraced(function* (transfer: Transfer, size: number) {
  const fiber = yield* Effect.forkChild(downloadVerified(transfer))
  const part = `${transfer.to}.part`
  while (!existsSync(part) || statSync(part).size < size) yield* Effect.sleep(1)
  yield* Fiber.interrupt(fiber)
  assert.isFalse(existsSync(transfer.to))
})

const bytes = pattern(10_000)

describe("downloadVerified", () => {
  it.live("makes the file, reports its digest and size, and leaves nothing beside it", () =>
    Effect.gen(function* () {
      const seen: Array<TransferProgress> = []
      const { to, transfer } = yield* setup(bytes, { onProgress: progress => seen.push(progress) })
      assert.deepStrictEqual(yield* downloadVerified(transfer), { sha256: sha256Of(bytes), size: bytes.length })
      check(to, bytes)
      assert.deepStrictEqual(seen.at(0), { bytesDone: 0, bytesTotal: bytes.length })
      assert.deepStrictEqual(seen.at(-1), { bytesDone: bytes.length, bytesTotal: bytes.length })
    })
  )

  it.live("asks nothing when the file is there with its digest, and replaces another file", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      yield* downloadVerified(transfer)
      hub.requests.length = 0
      yield* downloadVerified(transfer)
      assert.strictEqual(hub.requests.length, 0)
      writeFileSync(to, "something else")
      yield* downloadVerified(transfer)
      check(to, bytes)
    })
  )

  it.live("continues where the connection was cut, if the version is still the same", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.cutAt.push(1234, 9999)
      yield* downloadVerified(transfer)
      check(to, bytes)
      const etag = `"${gitBlobSha1Of(bytes)}"`
      assert.deepStrictEqual(
        hub.requests.map(({ ifRange, range }) => [range, ifRange]),
        [
          [undefined, undefined],
          ["bytes=1234-", etag],
          ["bytes=9999-", etag]
        ]
      )
    })
  )

  it.live("continues cuts without end as long as there is progress", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.cutAt.push(...Array.from({ length: 20 }, (_, i) => (i + 1) * 400))
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.strictEqual(hub.requests.length, 21)
    })
  )

  it.live("gives up when there is no progress, and keeps what it has for the next time", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.cutAt.push(600, 600, 600, 600)
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert.strictEqual(error._tag, "HttpError")
      assert.strictEqual(error.class, "transient")
      assert.strictEqual(statSync(`${to}.part`).size, 600)
      yield* downloadVerified(transfer)
      check(to, bytes)
    })
  )

  it.live("leaves the part file when interrupted, and continues it later after hashing it again", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.stallAt.push(5000)
      yield* interruptAt(transfer, 5000)
      hub.requests.length = 0
      const seen: Array<TransferProgress> = []
      yield* downloadVerified({ ...transfer, onProgress: progress => seen.push(progress) })
      check(to, bytes)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        ["bytes=5000-"]
      )
      assert.deepStrictEqual(seen.at(0), { bytesDone: 5000, bytesTotal: bytes.length })
    })
  )

  it.live(
    "continues after its process was killed",
    () =>
      Effect.gen(function* () {
        const { hub, to, transfer } = yield* setup(bytes, { expected: { sha256: sha256Of(bytes) } })
        hub.faults.stallAt.push(7000)
        const script = new URL("../support/downloadChild.ts", import.meta.url).pathname
        const child = spawn(process.execPath, [script, transfer.url, to, sha256Of(bytes)], { stdio: "ignore" })
        const ended = new Promise(resolve => child.once("exit", (_code, signal) => resolve(signal)))
        while (!existsSync(`${to}.part`) || statSync(`${to}.part`).size < 7000) yield* Effect.sleep(2)
        child.kill("SIGKILL")
        assert.strictEqual(yield* Effect.promise(() => ended), "SIGKILL")
        hub.requests.length = 0
        yield* downloadVerified(transfer)
        check(to, bytes)
        assert.deepStrictEqual(
          hub.requests.map(({ range }) => range),
          ["bytes=7000-"]
        )
      }),
    30_000
  )

  it.live("starts from zero when the server ignores ranges", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.ignoreRange = true
      hub.faults.cutAt.push(4000)
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.strictEqual(hub.requests.length, 2)
    })
  )

  it.live("gives up on a server that ignores ranges and always cuts at the same byte", () =>
    Effect.gen(function* () {
      const { hub, transfer } = yield* setup(bytes)
      hub.faults.ignoreRange = true
      hub.faults.cutAt.push(...Array.from({ length: 50 }, () => 4000))
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert.strictEqual(error._tag, "HttpError")
      assert.strictEqual(hub.requests.length, 4)
    })
  )

  it.live("starts from zero when the file changed since the part was downloaded", () =>
    Effect.gen(function* () {
      const changed = pattern(8000, 2)
      const { hub, to, transfer, url } = yield* setup(bytes)
      hub.faults.stallAt.push(5000)
      yield* interruptAt(transfer, 5000)
      hub.requests.length = 0
      yield* downloadVerified({ ...transfer, url: url(changed), expected: { sha256: sha256Of(changed) } })
      check(to, changed)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        ["bytes=5000-"]
      )
    })
  )

  it.live("notices a changed file also on a server that does not know If-Range", () =>
    Effect.gen(function* () {
      const changed = pattern(8000, 2)
      const { hub, to, transfer, url } = yield* setup(bytes)
      hub.faults.ignoreIfRange = true
      hub.faults.stallAt.push(5000)
      yield* interruptAt(transfer, 5000)
      hub.requests.length = 0
      // A flipped byte is forgiven once: it still is, as the old bytes were given up before they could spoil a download.
      hub.faults.flipAt.push(10)
      yield* downloadVerified({ ...transfer, url: url(changed), expected: { sha256: sha256Of(changed) } })
      check(to, changed)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        ["bytes=5000-", undefined, undefined]
      )
    })
  )

  it.live("starts from zero when the part file is longer than the file, as far as either side knows", () =>
    Effect.gen(function* () {
      const longer = pattern(12_000, 3)
      for (const expected of [{ sha256: sha256Of(bytes) }, { sha256: sha256Of(bytes), size: bytes.length }]) {
        const { hub, to, transfer, url } = yield* setup(bytes)
        hub.faults.weakEtags = true
        hub.faults.stallAt.push(11_000)
        yield* interruptAt({ ...transfer, url: url(longer), expected: { sha256: sha256Of(longer) } }, 11_000)
        yield* downloadVerified({ ...transfer, expected })
        check(to, bytes)
      }
    })
  )

  it.live("does not trust a part file without a note, and repairs one with damaged bytes", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.stallAt.push(5000)
      yield* interruptAt(transfer, 5000)
      hub.requests.length = 0
      writeFileSync(`${to}.part`, pattern(5000, 9))
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        ["bytes=5000-", undefined]
      )

      for (const note of [
        undefined,
        "",
        "{",
        '{"version":2}',
        '{"version":1,"ranges":{"size":1,"bytes":0,"done":[]}}'
      ]) {
        rmSync(to)
        writeFileSync(`${to}.part`, "garbage")
        if (note !== undefined) writeFileSync(`${to}.part.json`, note)
        hub.requests.length = 0
        yield* downloadVerified(transfer)
        check(to, bytes)
        assert.deepStrictEqual(
          hub.requests.map(({ range }) => range),
          [undefined]
        )
      }
    })
  )

  it.live("continues without If-Range when the validator is weak", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.weakEtags = true
      hub.faults.cutAt.push(4000)
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.deepStrictEqual(
        hub.requests.map(({ ifRange, range }) => [range, ifRange]),
        [
          [undefined, undefined],
          ["bytes=4000-", undefined]
        ]
      )
    })
  )

  it.live("downloads once more when a byte was flipped on the way, and fails when it happens again", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes)
      hub.faults.flipAt.push(77)
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.strictEqual(hub.requests.length, 2)

      rmSync(to)
      hub.faults.flipAt.push(77, 9999)
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert(error._tag === "DigestError")
      assert.strictEqual(error.expected, `sha256:${sha256Of(bytes)}`)
      assert.include(error.message, "downloaded twice")
      nothingAt(to)
    })
  )

  it.live("refuses a file of another size than expected before reading it", () =>
    Effect.gen(function* () {
      for (const unknownLength of [false, true]) {
        const { hub, to, transfer } = yield* setup(bytes)
        hub.faults.unknownLength = unknownLength
        const error = yield* Effect.flip(
          downloadVerified({ ...transfer, expected: { sha256: sha256Of(bytes), size: 9000 } })
        )
        assert(error._tag === "DigestError")
        assert.strictEqual(error.expected, "9000 bytes")
        nothingAt(to)
      }
    })
  )

  it.live("verifies the git object id of small files", () =>
    Effect.gen(function* () {
      const { to, transfer } = yield* setup(bytes)
      const expected = { gitBlobSha1: gitBlobSha1Of(bytes), size: bytes.length }
      assert.deepStrictEqual(yield* downloadVerified({ ...transfer, expected }), {
        sha256: sha256Of(bytes),
        size: bytes.length
      })
      check(to, bytes)
      const wrong = { gitBlobSha1: gitBlobSha1Of(pattern(10_000, 5)), size: bytes.length }
      const error = yield* Effect.flip(downloadVerified({ ...transfer, expected: wrong }))
      assert(error._tag === "DigestError")
      assert.include(error.actual, gitBlobSha1Of(bytes))
    })
  )

  it.live("agrees with git about object ids", () =>
    Effect.gen(function* () {
      const { to, transfer } = yield* setup(Buffer.from("what is up, doc?"))
      const expected = { gitBlobSha1: "bd9dbf5aae1a3862dd1526723246b20206e5fc37", size: 16 }
      yield* downloadVerified({ ...transfer, expected })
      assert.strictEqual(readFileSync(to, "utf8"), "what is up, doc?")
    })
  )

  it.live("makes an empty file", () =>
    Effect.gen(function* () {
      const empty = new Uint8Array(0)
      const { to, transfer } = yield* setup(empty)
      yield* downloadVerified(transfer)
      check(to, empty)
      rmSync(to)
      yield* downloadVerified({ ...transfer, expected: { sha256: sha256Of(empty) } })
      check(to, empty)
    })
  )

  it.live("works without Content-Length, also when cut", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { expected: { sha256: sha256Of(bytes) } })
      hub.faults.unknownLength = true
      hub.faults.cutAt.push(3000)
      yield* downloadVerified(transfer)
      check(to, bytes)
    })
  )

  it.live("says what is wrong with the local file system", () =>
    Effect.gen(function* () {
      const { directory, transfer } = yield* setup(bytes)
      writeFileSync(join(directory, "file"), "")
      const error = yield* Effect.flip(downloadVerified({ ...transfer, to: join(directory, "file/x") }))
      assert(error._tag === "FileError")
      assert.strictEqual(error.class, "permanent")
      const full = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" })
      const storage = yield* Effect.flip(onFile("x", "write x", () => Promise.reject(full)))
      assert.strictEqual(storage.class, "storage")
      assert.include(storage.message, "the disk is full")
    })
  )
})

describe("downloadVerified in ranges", () => {
  const ranges = { thresholdBytes: 4096, rangeBytes: 1000, connections: 3 }

  it.live("fetches each byte once, over several connections, and makes the same file", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges })
      const seen: Array<TransferProgress> = []
      yield* downloadVerified({ ...transfer, onProgress: progress => seen.push(progress) })
      check(to, bytes)
      const asked = hub.requests
        .map(({ range }) => range ?? "")
        .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
      assert.deepStrictEqual(
        asked,
        Array.from({ length: 10 }, (_, i) => `bytes=${i * 1000}-${i * 1000 + 999}`)
      )
      assert.strictEqual(hub.requests.filter(({ ifRange }) => ifRange === undefined).length, 1)
      assert.deepStrictEqual(seen.at(-1), { bytesDone: bytes.length, bytesTotal: bytes.length })
    })
  )

  it.live("continues a range where it was cut", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges })
      hub.faults.cutAt.push(3456)
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.include(
        hub.requests.map(({ range }) => range),
        "bytes=3456-3999"
      )
    })
  )

  it.live("does not fetch finished ranges again after an interruption", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges: { ...ranges, connections: 1 } })
      hub.faults.stallAt.push(6500)
      const fiber = yield* Effect.forkChild(downloadVerified(transfer))
      while (hub.requests.length < 7) yield* Effect.sleep(1)
      yield* Fiber.interrupt(fiber)
      hub.requests.length = 0
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        ["bytes=6000-6999", "bytes=7000-7999", "bytes=8000-8999", "bytes=9000-9999"]
      )
    })
  )

  it.live("falls back to one connection when the server ignores ranges", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges })
      hub.faults.ignoreRange = true
      yield* downloadVerified(transfer)
      check(to, bytes)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        ["bytes=0-999", undefined]
      )
    })
  )

  it.live.each([false, true])(
    "starts anew when the file changed since its finished ranges (If-Range ignored: %s)",
    ignored =>
      Effect.gen(function* () {
        const changed = pattern(10_000, 2)
        const { hub, to, transfer, url } = yield* setup(bytes, { ranges: { ...ranges, connections: 1 } })
        hub.faults.ignoreIfRange = ignored
        hub.faults.stallAt.push(6500)
        const fiber = yield* Effect.forkChild(downloadVerified(transfer))
        while (hub.requests.length < 7) yield* Effect.sleep(1)
        yield* Fiber.interrupt(fiber)
        hub.requests.length = 0
        const expected = { sha256: sha256Of(changed), size: changed.length }
        yield* downloadVerified({ ...transfer, url: url(changed), expected })
        check(to, changed)
        assert.deepStrictEqual(
          hub.requests.map(({ range }) => range),
          ["bytes=6000-6999", undefined]
        )
      })
  )

  it.live("does not take finished ranges for the file's start when it is downloaded as a whole", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges: { ...ranges, connections: 1 } })
      hub.faults.stallAt.push(6500)
      const fiber = yield* Effect.forkChild(downloadVerified(transfer))
      while (hub.requests.length < 7) yield* Effect.sleep(1)
      yield* Fiber.interrupt(fiber)
      hub.requests.length = 0
      // Forgiven once, and no more: taking the ranges for the file's start would have used that up.
      hub.faults.flipAt.push(10)
      yield* downloadVerified({ ...transfer, ranges: { thresholdBytes: 1_000_000 } })
      check(to, bytes)
      assert.deepStrictEqual(
        hub.requests.map(({ range }) => range),
        [undefined, undefined]
      )
    })
  )

  it.live("downloads once more when a byte was flipped, and fails when it happens again", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges })
      hub.faults.flipAt.push(7777)
      yield* downloadVerified(transfer)
      check(to, bytes)
      rmSync(to)
      hub.faults.flipAt.push(7777, 1)
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert.strictEqual(error._tag, "DigestError")
      nothingAt(to)
    })
  )

  it.live("stops all connections when one fails for good", () =>
    Effect.gen(function* () {
      const { hub, to, transfer } = yield* setup(bytes, { ranges })
      hub.faults.answers.push({ status: 500 }, { status: 410 })
      const error = yield* Effect.flip(downloadVerified(transfer))
      assert(error._tag === "HttpError")
      assert.strictEqual(error.status, 410)
      assert.isFalse(existsSync(to))
    })
  )
})

describe("any mishap", () => {
  it("ends with the right file or with an error, never with a wrong file", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(
        fc.record({
          size: fc.integer({ min: 0, max: 3000 }),
          cutAt: fc.array(fc.nat(3000), { maxLength: 6 }),
          flipAt: fc.array(fc.nat(3000), { maxLength: 3 }),
          ignoreRange: fc.boolean(),
          weakEtags: fc.boolean(),
          unknownLength: fc.boolean(),
          knownSize: fc.boolean(),
          rangeBytes: fc.integer({ min: 100, max: 1500 }),
          thresholdBytes: fc.integer({ min: 1, max: 3000 })
        }),
        async mishap => {
          const content = pattern(mishap.size, mishap.size)
          const program = Effect.gen(function* () {
            const { hub, to, transfer } = yield* setup(content, { ranges: { ...mishap, connections: 2 } })
            const { cutAt, flipAt, ignoreRange, unknownLength, weakEtags } = mishap
            hub.faults.beforeCut = () => Promise.resolve()
            Object.assign(hub.faults, { cutAt: [...cutAt], flipAt: [...flipAt], ignoreRange, unknownLength, weakEtags })
            const expected = { sha256: sha256Of(content), ...(mishap.knownSize ? { size: content.length } : {}) }
            const result = yield* Effect.result(downloadVerified({ ...transfer, expected }))
            if (result._tag === "Success") check(to, content)
            else assert.isFalse(existsSync(to))
            // What is left of a failure never stands in the way of the next try.
            Object.assign(hub.faults, { cutAt: [], flipAt: [] })
            yield* downloadVerified({ ...transfer, expected })
            check(to, content)
          })
          await Effect.runPromise(Effect.scoped(program))
        }
      ),
      { numRuns: 60 }
    )
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted, Schema } from "effect"
import {
  exchange,
  type HttpError,
  type HttpOptions,
  type HttpRequest,
  readAll,
  requestJson,
  retrying
} from "../../src/hub/http.ts"
import { fromCause, retryAfter } from "../../src/hub/httpError.ts"
import { printable } from "../../src/formats/printable.ts"
import { displayUrl } from "../../src/hub/url.ts"
import { type LoopbackHub, loopbackHub } from "../support/loopbackHub.ts"

const quick: HttpOptions = { attempts: 4, baseDelayMillis: 1, maxDelayMillis: 4, idleTimeoutMillis: 2000 }

const get = (request: HttpRequest, options: HttpOptions = quick) =>
  retrying(
    exchange(request, options, reply =>
      Effect.map(readAll(reply), body => ({ reply, text: Buffer.from(body).toString() }))
    ),
    options
  )

const failure = <A, R>(effect: Effect.Effect<A, HttpError, R>) => Effect.flip(effect)

/** A hub with one small file, and the file's address. */
const withFile = Effect.gen(function* () {
  const hub = yield* loopbackHub
  const commit = hub.commit("models/a/b", { "x.txt": "hello" })
  return { hub, url: `${hub.url}/a/b/resolve/${commit}/x.txt` }
})

const statuses = (hub: LoopbackHub, ...values: Array<number>) =>
  hub.faults.answers.push(...values.map(status => ({ status })))

describe("requests", () => {
  it.live("deliver the body", () =>
    Effect.gen(function* () {
      const { url } = yield* withFile
      assert.strictEqual((yield* get({ url })).text, "hello")
    })
  )

  it.live("ask for bytes as they are stored, since compressed ones have no ranges", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      yield* get({ url })
      assert.strictEqual(hub.requests[0]?.acceptEncoding, "identity")
    })
  )

  it.live("are sent again after replies that mean 'not now'", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      statuses(hub, 503, 408, 502)
      assert.strictEqual((yield* get({ url })).text, "hello")
      assert.strictEqual(hub.requests.length, 4)
    })
  )

  it.live("are given up after the given number of tries in a row, and the error says how many", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      statuses(hub, 500, 500, 500, 500, 500)
      const error = yield* failure(get({ url }))
      assert.strictEqual(hub.requests.length, 4)
      assert.strictEqual(error.class, "transient")
      assert.strictEqual(error.status, 500)
      assert.include(error.message, "tried 4 times")
    })
  )

  it.live("are not sent again after replies that mean 'no'", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      for (const status of [400, 401, 403, 404, 410, 451, 501]) {
        hub.requests.length = 0
        statuses(hub, status)
        const error = yield* failure(get({ url }))
        assert.strictEqual(error.class, "permanent")
        assert.strictEqual(error.status, status)
        assert.strictEqual(hub.requests.length, 1)
      }
    })
  )

  it.live("wait as long as Retry-After asks, but not longer than we allow", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.answers.push({ status: 429, headers: { "retry-after": "3600" } })
      const fiber = yield* Effect.forkChild(get({ url }))
      while (hub.requests.length === 0) yield* Effect.sleep(1)
      yield* Effect.sleep(40)
      assert.strictEqual(hub.requests.length, 1)
      yield* Fiber.interrupt(fiber)

      hub.requests.length = 0
      hub.faults.answers.push({ status: 429, headers: { "retry-after": "3600" } })
      assert.strictEqual((yield* get({ url }, { ...quick, maxRetryAfterMillis: 5 })).text, "hello")
      assert.strictEqual(hub.requests.length, 2)
    })
  )

  it.live("fail for good when nothing listens there, after tries", () =>
    Effect.gen(function* () {
      const url = yield* Effect.scoped(Effect.map(withFile, file => file.url))
      const error = yield* failure(get({ url }))
      assert.strictEqual(error.class, "transient")
      assert.include(error.message, "ECONNREFUSED")
      assert.include(error.message, "tried 4 times")
    })
  )

  it.live("fail when the server falls silent, before or within the body", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.stallAt.push(0, 2)
      const options = { ...quick, attempts: 2, idleTimeoutMillis: 1000 }
      const error = yield* failure(get({ url }, options))
      assert.include(error.message, "silent for 1 s")
      assert.strictEqual(hub.requests.length, 2)
    })
  )

  it.live("fail, to be tried again, when the body is cut", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.cutAt.push(3, 0)
      assert.strictEqual((yield* get({ url })).text, "hello")
      assert.strictEqual(hub.requests.length, 3)
    })
  )

  it.live("are stopped by interruption, which closes the connection", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.stallAt.push(2)
      const fiber = yield* Effect.forkChild(get({ url }, { ...quick, idleTimeoutMillis: 60_000 }))
      while (hub.requests.length === 0) yield* Effect.sleep(1)
      yield* Fiber.interrupt(fiber)
      while (hub.brokenOff() === 0) yield* Effect.sleep(1)
      assert.strictEqual(hub.requests.length, 1)
    })
  )

  it.live("refuse addresses that are not encrypted or carry a password, without showing it", () =>
    Effect.gen(function* () {
      for (const url of [
        "http://example.org/x",
        "https://user:hunter2@example.org/x",
        "ftp://example.org/x",
        "nonsense"
      ]) {
        const error = yield* failure(get({ url }))
        assert.strictEqual(error.class, "permanent")
        assert.notInclude(JSON.stringify(error) + error.message, "hunter2")
      }
    })
  )
})

describe("redirects", () => {
  const token = Redacted.make("hf_secret")

  it.live("within one origin keep the token, to another drop it for good", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.answers.push({ status: 307, headers: { location: url } })
      yield* get({ url, token })
      assert.deepStrictEqual(
        hub.requests.map(request => request.authorization),
        ["Bearer hf_secret", "Bearer hf_secret"]
      )

      hub.requests.length = 0
      const elsewhere = yield* loopbackHub
      hub.faults.answers.push({ status: 302, headers: { location: `${elsewhere.url}/hop` } })
      elsewhere.faults.answers.push({ status: 302, headers: { location: url } })
      yield* get({ url, token })
      assert.deepStrictEqual(
        elsewhere.requests.map(request => request.authorization),
        [undefined]
      )
      assert.deepStrictEqual(
        hub.requests.map(request => request.authorization),
        ["Bearer hf_secret", undefined]
      )
    })
  )

  it.live("under another name of the same machine drop the token, too", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.answers.push({ status: 302, headers: { location: url.replace("127.0.0.1", "localhost") } })
      yield* get({ url, token })
      assert.deepStrictEqual(
        hub.requests.map(request => request.authorization),
        ["Bearer hf_secret", undefined]
      )
    })
  )

  it.live("may be relative", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.answers.push({ status: 301, headers: { location: new URL(url).pathname } })
      assert.strictEqual((yield* get({ url })).text, "hello")
    })
  )

  it.live("end after ten", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.answers.push(...Array.from({ length: 11 }, () => ({ status: 302, headers: { location: url } })))
      const error = yield* failure(get({ url }))
      assert.strictEqual(error.class, "permanent")
      assert.include(error.message, "more than 10 times")
      assert.strictEqual(hub.requests.length, 11)
    })
  )

  it.live("to unencrypted or foreign addresses are refused", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      for (const location of ["http://example.org/x", "file:///etc/passwd", "https://a:b@example.org/", "https://"]) {
        hub.faults.answers.push({ status: 302, headers: { location } })
        const error = yield* failure(get({ url }))
        assert.strictEqual(error.class, "permanent")
        assert.include(error.message, "redirected to an address that cannot be used")
      }
    })
  )

  it.live("of a POST that would lose its body are refused", () =>
    Effect.gen(function* () {
      const { hub, url } = yield* withFile
      hub.faults.answers.push({ status: 302, headers: { location: url } })
      const error = yield* failure(get({ url, method: "POST", body: "{}" }))
      assert.include(error.message, "lose its body")
    })
  )
})

describe("requestJson", () => {
  const Answer = Schema.Struct({ sha: Schema.String })

  const answerOf = Effect.fnUntraced(function* (body: string) {
    const hub = yield* loopbackHub
    const commit = hub.commit("models/a/b", { "x.json": body })
    return yield* requestJson({ url: `${hub.url}/a/b/resolve/${commit}/x.json` }, Answer, quick)
  })

  it.live("decodes what it expects and ignores the rest", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* answerOf('{"sha":"x","more":1}')).value, { sha: "x" })
    })
  )

  it.live("says where a reply is not JSON, or not what the protocol says", () =>
    Effect.gen(function* () {
      const notJson = yield* failure(answerOf("<html>\u001b[31m sign in"))
      assert.strictEqual(notJson.class, "permanent")
      assert.include(notJson.message, "not JSON")
      assert.notInclude(notJson.message, "\u001b")
      assert.include((yield* failure(answerOf('{"sha":1}'))).message, `["sha"]`)
      assert.include((yield* failure(answerOf("\u00ff".repeat(3)))).message, "not JSON")
    })
  )
})

describe("retryAfter", () => {
  const now = Date.parse("2026-01-01T00:00:00Z")
  const of = (headers: Record<string, string>) => retryAfter(new Headers(headers), now)

  it("reads seconds, dates and the hub's RateLimit", () => {
    assert.strictEqual(of({ "retry-after": "7" }), 7000)
    assert.strictEqual(of({ "retry-after": "Thu, 01 Jan 2026 00:00:09 GMT" }), 9000)
    assert.strictEqual(of({ "retry-after": "Thu, 01 Jan 2020 00:00:00 GMT" }), 0)
    assert.strictEqual(of({ ratelimit: '"api";r=0;t=55' }), 55_000)
    assert.strictEqual(of({ ratelimit: '"api";r=12;t=55' }), undefined)
    assert.strictEqual(of({ "retry-after": "soon" }), undefined)
    assert.strictEqual(of({}), undefined)
  })
})

describe("messages", () => {
  it("show URLs without what could be a secret", () => {
    assert.strictEqual(displayUrl("https://u:p@cdn.example.org/a/b?X-Signature=s#f"), "https://cdn.example.org/a/b?…")
  })

  it("carry no control characters and do not go on for ever", () => {
    assert.strictEqual(printable("a\u001b[2Jb\nc"), "a [2Jb c")
    assert.strictEqual(printable("x".repeat(5000)).length, 301)
  })

  it("tell certificates that will never do from networks that may recover", () => {
    const withCode = (code: string) => new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code }) })
    assert.strictEqual(fromCause("https://a/", withCode("DEPTH_ZERO_SELF_SIGNED_CERT")).class, "permanent")
    assert.strictEqual(fromCause("https://a/", withCode("CERT_HAS_EXPIRED")).class, "permanent")
    assert.strictEqual(fromCause("https://a/", withCode("ECONNRESET")).class, "transient")
    assert.strictEqual(fromCause("https://a/", withCode("ENOTFOUND")).class, "transient")
  })
})

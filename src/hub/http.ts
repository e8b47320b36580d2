/** HTTP requests that follow redirects without leaking the token, notice silence and trickles, and try again when it can help. */
import { Effect, Random, Redacted, Result, Schema } from "effect"
import { rememberSecret } from "../pipeline/Secrets.ts"
import { fromCause, fromStatus, HttpError, interrupted, refused, tooSlow } from "./httpError.ts"
import { printable } from "../formats/printable.ts"
import { contentLength } from "./contentRange.ts"
import { webUrl } from "./url.ts"

export { HttpError } from "./httpError.ts"

/** How patient we are. All times are in milliseconds. */
export interface HttpOptions {
  /** Tries in a row that may fail without any progress before we give up. */
  readonly attempts?: number
  /** Tries in all, also when every one of them made progress. */
  readonly attemptsInAll?: number
  /** The pause after the first failure; it doubles with each further one, with jitter. */
  readonly baseDelayMillis?: number
  readonly maxDelayMillis?: number
  /** The longest wait that a server's `Retry-After` can impose on us. */
  readonly maxRetryAfterMillis?: number
  /** How long a server may be silent before we take the connection for dead. */
  readonly idleTimeoutMillis?: number
  /** What a server must send while we wait for it, over any `rateWindowMillis`; less counts as broken off. */
  readonly leastBytesPerSecond?: number
  readonly rateWindowMillis?: number
  readonly fetch?: typeof globalThis.fetch
}

export const httpDefaults = {
  attempts: 6,
  attemptsInAll: 200,
  baseDelayMillis: 500,
  maxDelayMillis: 30_000,
  maxRetryAfterMillis: 300_000,
  idleTimeoutMillis: 60_000,
  // Several connections may share a thin line.
  leastBytesPerSecond: 128,
  rateWindowMillis: 60_000
} as const

export interface HttpRequest {
  readonly url: string
  readonly method?: "GET" | "POST"
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Sent as a bearer token to the origin (scheme, host, port) of `url`, and to no other. */
  readonly token?: Redacted.Redacted | undefined
  /** Statuses that the caller can use; any other fails. Default: 200. */
  readonly accept?: ReadonlyArray<number>
}

export interface HttpReply {
  readonly status: number
  /** Where the redirects ended. */
  readonly url: string
  readonly headers: Headers
  /** The next bytes of the body; `undefined` at its end. Whether it is complete is the caller's to check. */
  readonly read: Effect.Effect<Uint8Array | undefined, HttpError>
}

const maxRedirects = 10

/**
 * One exchange, without retries: sends the request, follows redirects, and hands the reply to `use`. The connection lives
 * as long as `use` does; interruption closes it at once.
 */
export const exchange = <A, E>(
  request: HttpRequest,
  options: HttpOptions,
  use: (reply: HttpReply) => Effect.Effect<A, E>
): Effect.Effect<A, E | HttpError> =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Watchdog({ ...httpDefaults, ...options })),
    watchdog => Effect.flatMap(follow(request, options, watchdog), use),
    watchdog => Effect.sync(() => watchdog.close())
  )

type Patience = Pick<Required<HttpOptions>, "idleTimeoutMillis" | "leastBytesPerSecond" | "rateWindowMillis">

/** Aborts an exchange when the server stays silent, or sends next to nothing, while we wait for it; our own slowness does not count. */
class Watchdog {
  readonly controller = new AbortController()
  readonly patience: Patience
  barked = false
  /** Since the window began. */
  #waitedMillis = 0
  #bytes = 0

  constructor(patience: Patience) {
    this.patience = patience
  }

  /** Counts bytes that came; true when they are too few for the time that we waited. */
  trickles(bytes: number): boolean {
    this.#bytes += bytes
    const { leastBytesPerSecond, rateWindowMillis } = this.patience
    if (this.#waitedMillis < rateWindowMillis) return false
    const few = this.#bytes < (leastBytesPerSecond * this.#waitedMillis) / 1000
    this.#waitedMillis = 0
    this.#bytes = 0
    return few
  }

  /** Waits for something of the server's. */
  readonly wait = <A>(url: string, evaluate: () => Promise<A>): Effect.Effect<A, HttpError> =>
    Effect.tryPromise({
      try: () => {
        const started = performance.now()
        const timer = setTimeout(() => {
          this.barked = true
          this.controller.abort()
        }, this.patience.idleTimeoutMillis)
        return evaluate().finally(() => {
          clearTimeout(timer)
          this.#waitedMillis += performance.now() - started
        })
      },
      catch: cause =>
        this.barked
          ? interrupted(url, `the server was silent for ${this.patience.idleTimeoutMillis / 1000} s`)
          : fromCause(url, cause)
    })

  close() {
    this.controller.abort()
  }
}

const follow = Effect.fnUntraced(function* (
  request: HttpRequest,
  options: HttpOptions,
  watchdog: Watchdog
): Effect.fn.Return<HttpReply, HttpError> {
  const fetch = options.fetch ?? globalThis.fetch
  const method = request.method ?? "GET"
  let url = yield* checked(request.url, request.url)
  if (request.token !== undefined) rememberSecret(Redacted.value(request.token))
  let trusted = request.token !== undefined
  for (let redirects = 0; ; redirects++) {
    const target = url.href
    const headers = new Headers(request.headers)
    // A body that is compressed for the transfer has neither the length nor the ranges of the file.
    headers.set("accept-encoding", "identity")
    if (trusted && request.token !== undefined) headers.set("authorization", `Bearer ${Redacted.value(request.token)}`)
    const response = yield* watchdog.wait(target, () =>
      fetch(target, {
        method,
        headers,
        redirect: "manual",
        signal: watchdog.controller.signal,
        ...(request.body === undefined ? {} : { body: request.body })
      })
    )
    const location = response.headers.get("location")
    if (!isRedirect(response.status) || location === null) {
      if (!(request.accept ?? [200]).includes(response.status)) {
        return yield* fromStatus(target, response.status, response.headers)
      }
      return {
        status: response.status,
        url: target,
        headers: response.headers,
        read: reader(target, response, watchdog)
      }
    }
    yield* watchdog.wait(target, () => dismiss(response))
    if (redirects === maxRedirects) return yield* refused(request.url, `redirected more than ${maxRedirects} times`)
    if (method !== "GET" && response.status !== 307 && response.status !== 308) {
      return yield* refused(
        target,
        `a ${method} was redirected with status ${response.status}, which would lose its body`
      )
    }
    const next = yield* checked(URL.parse(location, target)?.href ?? location, target)
    if (next.origin !== url.origin) trusted = false
    url = next
  }
})

/** Reads a redirect's short body to its end, so that the connection can be used again. */
const dismiss = (response: Response): Promise<unknown> => {
  const length = response.headers.get("content-length")
  const short = length !== null && Number(length) <= 65_536
  return short ? response.arrayBuffer() : (response.body?.cancel() ?? Promise.resolve())
}

const isRedirect = (status: number) => [301, 302, 303, 307, 308].includes(status)

const checked = (target: string, from: string): Effect.Effect<URL, HttpError> => {
  const url = webUrl(target)
  if (Result.isSuccess(url)) return Effect.succeed(url.success)
  const what =
    target === from
      ? `this address cannot be used: ${url.failure}`
      : `redirected to an address that cannot be used: ${url.failure}`
  return Effect.fail(refused(from, what))
}

const reader = (url: string, response: Response, watchdog: Watchdog): HttpReply["read"] => {
  const body = response.body?.getReader()
  if (body === undefined) return Effect.succeed(undefined)
  // What came is handed over first: the next try continues behind it.
  let trickled = false
  const next = Effect.map(
    watchdog.wait(url, () => body.read()),
    chunk => {
      if (chunk.done) return undefined
      trickled = watchdog.trickles(chunk.value.length)
      return chunk.value
    }
  )
  return Effect.suspend(() => (trickled ? Effect.fail(tooSlow(url, watchdog.patience)) : next))
}

/**
 * Runs an exchange again while it fails with a transient error: after pauses that double, or as long as the server asks.
 * With `progress` (any number that grows), a try that got further than the one before starts the count anew, unless it was broken off for its slowness.
 */
export const retrying = Effect.fnUntraced(function* <A, E>(
  effect: Effect.Effect<A, E | HttpError>,
  options: HttpOptions,
  progress: () => number = () => 0
): Effect.fn.Return<A, E | HttpError> {
  const patience = { ...httpDefaults, ...options }
  let failures = 0
  let reached = progress()
  for (let attempt = 1; ; attempt++) {
    const result = yield* Effect.result(effect)
    if (Result.isSuccess(result)) return result.success
    const error = result.failure
    if (!(error instanceof HttpError) || error.class === "permanent") return yield* Effect.fail(error)
    if (progress() > reached && error.slow !== true) failures = 0
    reached = progress()
    failures++
    if (failures >= patience.attempts || attempt >= patience.attemptsInAll) {
      const tries = attempt === 1 ? "once" : `${attempt} times`
      return yield* new HttpError({ ...error, message: `${error.message} (tried ${tries})` })
    }
    const backoff = Math.min(patience.maxDelayMillis, patience.baseDelayMillis * 2 ** (failures - 1))
    const jittered = backoff * (0.5 + (yield* Random.next) / 2)
    const asked = Math.min(error.retryAfterMillis ?? 0, patience.maxRetryAfterMillis)
    yield* Effect.sleep(Math.max(jittered, asked))
  }
})

/** No reply that we read whole is larger: listings come in pages, files are streamed. */
const maxReplyBytes = 64 * 1024 * 1024

/**
 * The whole body, of at most `most` bytes, and of `length` where that is known; in a buffer of its own, as readers of binary formats look at the
 * buffer behind an array.
 */
export const readAll = Effect.fnUntraced(function* (
  reply: HttpReply,
  most = maxReplyBytes,
  length = contentLength(reply.headers)
): Effect.fn.Return<Uint8Array<ArrayBuffer>, HttpError> {
  const chunks: Array<Uint8Array> = []
  let size = 0
  for (let chunk = yield* reply.read; chunk !== undefined; chunk = yield* reply.read) {
    size += chunk.length
    if (size > most) return yield* refused(reply.url, `the reply is longer than ${most} bytes`)
    chunks.push(chunk)
  }
  if (length !== undefined && length !== size)
    return yield* interrupted(reply.url, `the reply ended after ${size} of ${length} bytes`)
  return new Uint8Array(Buffer.concat(chunks))
})

/** Sends a request, with retries, and decodes the JSON it is answered with. Returns the reply's headers beside the value. */
export const requestJson = Effect.fn("requestJson")(function* <S extends Schema.ConstraintDecoder<unknown>>(
  request: HttpRequest,
  schema: S,
  options: HttpOptions
): Effect.fn.Return<{ readonly value: S["Type"]; readonly headers: Headers }, HttpError> {
  const withAccept = { ...request, headers: { accept: "application/json", ...request.headers } }
  const once = exchange(withAccept, options, reply =>
    Effect.map(readAll(reply), bytes => ({ bytes, headers: reply.headers, url: reply.url }))
  )
  const { bytes, headers, url } = yield* retrying(once, options)
  const parsed = yield* Effect.try({
    try: (): unknown => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
    catch: cause => refused(url, `the reply is not JSON: ${printable(String(cause))}`)
  })
  const decoded = Schema.decodeUnknownResult(schema)(parsed)
  if (Result.isFailure(decoded)) {
    return yield* refused(url, `the reply is not what the protocol says: ${printable(decoded.failure.message)}`)
  }
  return { value: decoded.success, headers }
})

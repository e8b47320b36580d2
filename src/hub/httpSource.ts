/** A file of the web that can be read from anywhere within, by ranges. */
import { Effect, type Redacted } from "effect"
import type { RandomAccess } from "../formats/randomAccess.ts"
import { contentLength, contentRange, strongEtag } from "./contentRange.ts"
import { exchange, type HttpError, type HttpOptions, type HttpReply, readAll, retrying } from "./http.ts"
import { refused } from "./httpError.ts"
import { displayUrl } from "./url.ts"

/** A server that ignores ranges sends the whole file; up to this many bytes we take it. */
const maxWholeBytes = 16 * 1024 * 1024

/**
 * A file of the web, read by ranges with retries. All reads see one version: when the file changes between two of them
 * (by its strong `ETag`, or its size) the read fails. Nothing checks the bytes against a digest, for which all of them
 * would be needed; what is derived from them should be stored under a digest of its own.
 */
export const httpSource = (file: {
  readonly url: string
  readonly name?: string
  readonly token?: Redacted.Redacted | undefined
  /** In bytes, if it is known beforehand: saves a request. */
  readonly size?: number
  readonly http?: HttpOptions
}): RandomAccess<HttpError> => {
  const http = file.http ?? {}
  let size = file.size
  let etag: string | undefined
  let whole: Uint8Array | undefined

  const sameVersion = (reply: HttpReply, total: number | undefined): Effect.Effect<void, HttpError> => {
    const version = strongEtag(reply.headers)
    etag ??= version
    const changed =
      (version !== undefined && version !== etag) || (total !== undefined && size !== undefined && total !== size)
    size ??= total
    return changed ? Effect.fail(refused(file.url, "the file changed while it was read; start again")) : Effect.void
  }

  const receive = (start: number, end: number) =>
    Effect.fnUntraced(function* (reply: HttpReply): Effect.fn.Return<Uint8Array<ArrayBuffer>, HttpError> {
      if (reply.status === 200) {
        const length = contentLength(reply.headers)
        yield* sameVersion(reply, length)
        if ((length ?? 0) > maxWholeBytes) {
          return yield* refused(
            file.url,
            `the server does not serve ranges of this file of ${length} bytes; download it whole`
          )
        }
        whole = yield* readAll(reply, maxWholeBytes)
        return new Uint8Array(whole.slice(start, end))
      }
      const range = contentRange(reply.headers)
      if (range?.start !== start || range.last >= end) {
        const header = reply.headers.get("content-range") ?? "no Content-Range"
        return yield* refused(file.url, `asked for bytes ${start}-${end - 1}, got ${header}`)
      }
      yield* sameVersion(reply, range.total)
      const length = range.last - range.start + 1
      return yield* readAll(reply, length, length)
    })

  const fetchRange = (start: number, end: number) => {
    const headers = { range: `bytes=${start}-${end - 1}` }
    const request = { url: file.url, token: file.token, headers, accept: [200, 206] }
    return retrying(exchange(request, http, receive(start, end)), http)
  }

  const knownSize = Effect.suspend(() => {
    if (size !== undefined) return Effect.succeed(size)
    return Effect.flatMap(fetchRange(0, 1), () => {
      size ??= whole?.length
      return size === undefined
        ? Effect.fail(refused(file.url, "the server does not tell the file's size"))
        : Effect.succeed(size)
    })
  })

  return {
    name: file.name ?? displayUrl(file.url),
    size: knownSize,
    read: Effect.fnUntraced(function* (start, end): Effect.fn.Return<Uint8Array<ArrayBuffer>, HttpError> {
      const last = Math.min(end, yield* knownSize)
      if (last <= start) return new Uint8Array(0)
      if (whole !== undefined) return new Uint8Array(whole.slice(start, last))
      return yield* fetchRange(start, last)
    })
  }
}

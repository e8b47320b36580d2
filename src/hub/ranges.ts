/** Downloads a large file as ranges over several connections into one part file. */
import { Data, Effect, type Redacted, Semaphore } from "effect"
import { contentRange, strongEtag } from "./contentRange.ts"
import type { FileError } from "../formats/fileError.ts"
import { exchange, type HttpError, type HttpOptions, type HttpReply, retrying } from "./http.ts"
import { interrupted, refused } from "./httpError.ts"
import type { PartFile } from "./partFile.ts"
import { type Bounds, type Room, withRoom } from "./room.ts"

export interface RangeOptions {
  /** Files of at least this many bytes are downloaded in ranges. */
  readonly thresholdBytes?: number
  readonly rangeBytes?: number
  /** Connections at a time. */
  readonly connections?: number
}

export const rangeDefaults = {
  thresholdBytes: 64 * 1024 * 1024,
  rangeBytes: 16 * 1024 * 1024,
  connections: 4
} as const

interface RangeTransfer {
  readonly url: string
  readonly token?: Redacted.Redacted | undefined
  readonly headers?: Readonly<Record<string, string>>
  readonly onProgress?: (progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void
  readonly http?: HttpOptions
  readonly ranges?: RangeOptions
  readonly bounds?: Bounds
}

/** The server sends no ranges, or the file changed between two of them. */
class RangesRefused extends Data.TaggedError("RangesRefused") {}

/**
 * Fills `part` with the `size` bytes of the file, except for the ranges that it already holds. True when all bytes are
 * there (to be verified by the caller); false when the server does not serve ranges of one and the same file, in which
 * case the part file must be filled in another way.
 */
export const downloadRanges = Effect.fnUntraced(function* (
  transfer: RangeTransfer,
  part: PartFile,
  size: number,
  room: Room
): Effect.fn.Return<boolean, HttpError | FileError> {
  const held = part.found?.ranges?.size === size && (yield* part.size) === size ? part.found : undefined
  const bytes = held?.ranges?.bytes ?? transfer.ranges?.rangeBytes ?? rangeDefaults.rangeBytes
  const count = Math.ceil(size / bytes)
  const done = new Set(held?.ranges?.done.filter(index => index >= 0 && index < count))
  const lengthOf = (index: number) => Math.min(bytes, size - index * bytes)
  let etag = held?.etag
  let bytesDone = 0
  for (const index of done) bytesDone += lengthOf(index)
  const report = () => transfer.onProgress?.({ bytesDone, bytesTotal: size })
  yield* room.need(size - bytesDone)

  const note = Effect.suspend(() =>
    part.note({ version: 1, ...(etag === undefined ? {} : { etag }), ranges: { size, bytes, done: [...done] } })
  )
  const oneAtATime = Semaphore.withPermits(yield* Semaphore.make(1), 1)
  if (held === undefined) {
    yield* part.truncate(0)
    yield* part.truncate(size)
    yield* note
  }
  report()

  const fetchRange = Effect.fnUntraced(function* (
    index: number
  ): Effect.fn.Return<void, HttpError | FileError | RangesRefused> {
    let at = index * bytes
    const end = at + lengthOf(index)
    const receive = Effect.fnUntraced(function* (
      reply: HttpReply
    ): Effect.fn.Return<void, HttpError | FileError | RangesRefused> {
      if (reply.status !== 206) return yield* new RangesRefused()
      const range = contentRange(reply.headers)
      if (range?.start !== at || range.last >= end || range.total !== size) {
        const header = reply.headers.get("content-range") ?? "no Content-Range"
        return yield* refused(transfer.url, `asked for bytes ${at}-${end - 1} of ${size}, got ${header}`)
      }
      const version = strongEtag(reply.headers)
      etag ??= version
      if (version !== undefined && version !== etag) return yield* new RangesRefused()
      for (let chunk = yield* reply.read; chunk !== undefined; chunk = yield* reply.read) {
        if (at + chunk.length > end)
          return yield* refused(transfer.url, `got more bytes than the ${end - at} asked for`)
        yield* room.before(chunk.length, size - bytesDone)
        yield* withRoom(part.path, size - bytesDone, transfer.bounds)(part.write(chunk, at))
        at += chunk.length
        bytesDone += chunk.length
        report()
      }
      if (at < end) return yield* interrupted(transfer.url, `the connection ended at byte ${at}, before byte ${end}`)
    })
    const once = Effect.suspend(() => {
      const ifRange = etag === undefined ? {} : { "if-range": etag }
      const headers = { ...transfer.headers, range: `bytes=${at}-${end - 1}`, ...ifRange }
      const request = { url: transfer.url, token: transfer.token, headers, accept: [200, 206, 416] }
      return exchange(request, transfer.http ?? {}, receive)
    })
    yield* retrying(once, transfer.http ?? {}, () => at)
    done.add(index)
    yield* oneAtATime(note)
  })

  const missing = Array.from({ length: count }, (_, index) => index).filter(index => !done.has(index))
  const [first, ...others] = missing
  const all = Effect.gen(function* () {
    // The first range alone tells whether ranges are served at all, and names the version that the others must have.
    if (first !== undefined) yield* fetchRange(first)
    const concurrency = transfer.ranges?.connections ?? rangeDefaults.connections
    yield* Effect.forEach(others, fetchRange, { concurrency, discard: true })
    return true
  })
  return yield* all.pipe(
    Effect.catchTag("RangesRefused", () =>
      Effect.gen(function* () {
        yield* part.truncate(0)
        yield* part.note({ version: 1 })
        return false
      })
    )
  )
})

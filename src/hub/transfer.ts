/** Downloads one file: resumable, in parallel ranges when it is large, every byte verified before it gets its name. */
import { Effect, type Redacted } from "effect"
import { stat } from "node:fs/promises"
import { contentLength, contentRange, strongEtag } from "./contentRange.ts"
import { type Content, DigestError, type Expected, hashFile, type Hasher, makeHasher } from "./expected.ts"
import { type FileError, onFile } from "../formats/fileError.ts"
import { exchange, type HttpError, type HttpOptions, type HttpReply, retrying } from "./http.ts"
import { interrupted, refused } from "./httpError.ts"
import { openPart, type PartFile, removePart } from "./partFile.ts"
import { downloadRanges, type RangeOptions, rangeDefaults } from "./ranges.ts"
import { type Bounds, type Room, roomFor, withRoom } from "./room.ts"
import { displayUrl } from "./url.ts"

export { type Content, DigestError, type Expected } from "./expected.ts"

/** How far a download is. Counts start anew when it has to. */
export interface TransferProgress {
  readonly bytesDone: number
  readonly bytesTotal: number | undefined
  readonly file?: string
}

export interface Transfer {
  readonly url: string
  /** Sent to the origin of `url` only. */
  readonly token?: Redacted.Redacted | undefined
  readonly headers?: Readonly<Record<string, string>>
  /** The file to make. Until it is verified it is called `to` + `partSuffix`, with a note at `to` + `partSuffix` + `.json`. */
  readonly to: string
  readonly partSuffix?: string
  readonly expected: Expected
  readonly onProgress?: (progress: TransferProgress) => void
  readonly http?: HttpOptions
  readonly ranges?: RangeOptions
  readonly bounds?: Bounds
}

/**
 * Downloads `url` to `to`. A file that is already there with the expected digest is kept. Otherwise a part file left by an
 * earlier try is continued, after hashing what it holds; when the finished bytes do not have the expected digest they are
 * deleted and downloaded once more from zero, since a byte can be flipped on the way; a second mismatch is a `DigestError`.
 * Interruption stops the transfer and leaves the part file. Two processes must not download to the same `to` at once.
 */
export const downloadVerified = Effect.fn("downloadVerified")(function* (
  transfer: Transfer
): Effect.fn.Return<Content, HttpError | DigestError | FileError> {
  const present = yield* verifyFile(transfer.to, transfer.expected)
  if (present !== undefined) {
    transfer.onProgress?.({ bytesDone: present.size, bytesTotal: present.size })
    return present
  }
  const attempt = downloadOnce(transfer).pipe(
    Effect.tapError(error => (error._tag === "DigestError" ? removePart(partPath(transfer)) : Effect.void))
  )
  return yield* attempt.pipe(Effect.catchTag("DigestError", () => attempt))
})

/** Whether the file at `path` has the expected digest; `undefined` when it has not, or does not exist. */
export const verifyFile = Effect.fn("verifyFile")(function* (
  path: string,
  expected: Expected
): Effect.fn.Return<Content | undefined, FileError> {
  const found = yield* onFile(path, `look at ${path}`, () =>
    stat(path).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined
      throw error
    })
  )
  if (found === undefined || !found.isFile()) return undefined
  if (expected.size !== undefined && found.size !== expected.size) return undefined
  const hasher = makeHasher(expected)
  yield* hashFile(path, hasher)
  const { content, mismatch } = hasher.finish()
  return mismatch === undefined ? content : undefined
})

const partPath = (transfer: Transfer) => `${transfer.to}${transfer.partSuffix ?? ".part"}`

const downloadOnce = (transfer: Transfer) =>
  Effect.scoped(
    Effect.gen(function* () {
      const part = yield* openPart(partPath(transfer))
      const { size } = transfer.expected
      const room = roomFor(part.path, transfer.bounds)
      if (size !== undefined) yield* room.allow(size, transfer.url)
      const threshold = transfer.ranges?.thresholdBytes ?? rangeDefaults.thresholdBytes
      const inRanges = size !== undefined && size >= threshold && (yield* downloadRanges(transfer, part, size, room))
      const hasher = inRanges ? makeHasher(transfer.expected) : yield* downloadFromStart(transfer, part, room)
      if (inRanges) yield* part.hash(hasher, size)
      const { content, mismatch } = hasher.finish()
      if (mismatch !== undefined) return yield* digestError(transfer.url, mismatch)
      yield* part.publish(transfer.to)
      return content
    })
  )

/** Downloads from the first byte to the last over one connection at a time, continuing what the part file holds. The hasher has seen all of it. */
const downloadFromStart = Effect.fnUntraced(function* (
  transfer: Transfer,
  part: PartFile,
  room: Room
): Effect.fn.Return<Hasher, HttpError | DigestError | FileError> {
  const { expected, url } = transfer
  let hasher = makeHasher(expected)
  let etag = part.found?.etag
  let furthest = 0
  const report = (total: number | undefined) => {
    furthest = Math.max(furthest, hasher.size())
    transfer.onProgress?.({ bytesDone: hasher.size(), bytesTotal: total ?? expected.size })
  }
  const restart = Effect.suspend(() => {
    hasher = makeHasher(expected)
    return part.truncate(0)
  })

  const held = yield* part.size
  if (part.found?.ranges !== undefined || held > (expected.size ?? Infinity)) yield* restart
  else yield* part.hash(hasher, held)
  report(undefined)

  const receive = Effect.fnUntraced(function* (
    reply: HttpReply
  ): Effect.fn.Return<void, HttpError | DigestError | FileError> {
    const range = reply.status === 206 ? contentRange(reply.headers) : undefined
    const version = strongEtag(reply.headers)
    const sameVersion = etag === undefined || version === undefined || version === etag
    const continues = range !== undefined && range.start === hasher.size() && sameVersion
    if (hasher.size() > 0 && !continues) {
      yield* restart
      // Only a whole file can be received from zero on this connection; anything else needs a new request.
      if (reply.status !== 200) return yield* interrupted(url, "the server could not continue where we stopped")
    }
    if (reply.status !== 200 && !continues) return yield* refused(url, `unexpected status ${reply.status}`)
    const total = reply.status === 200 ? contentLength(reply.headers) : range?.total
    if (expected.size !== undefined && total !== undefined && total !== expected.size) {
      return yield* digestError(url, { expected: `${expected.size} bytes`, actual: `${total} bytes` })
    }
    etag = version
    yield* part.note({ version: 1, ...(etag === undefined ? {} : { etag }) })
    const size = expected.size ?? total
    yield* room.allow(size ?? 0, url)
    yield* room.need((size ?? 0) - hasher.size())
    for (let chunk = yield* reply.read; chunk !== undefined; chunk = yield* reply.read) {
      if (size !== undefined && hasher.size() + chunk.length > size) {
        return yield* digestError(url, { expected: `${size} bytes`, actual: "more bytes" })
      }
      const left = Math.max((size ?? 0) - hasher.size(), chunk.length)
      // A body without a declared length may have no end.
      yield* Effect.tapError(room.allow(hasher.size() + chunk.length, url), () => part.truncate(0))
      yield* room.before(chunk.length, left)
      yield* withRoom(part.path, left, transfer.bounds)(part.write(chunk, hasher.size()))
      hasher.update(chunk)
      report(total)
    }
    if (size !== undefined && hasher.size() < size) {
      return yield* interrupted(url, `the connection ended after ${hasher.size()} of ${size} bytes`)
    }
  })

  if (hasher.size() !== expected.size) {
    const once = Effect.suspend(() => {
      const from = hasher.size()
      const range = from === 0 ? {} : { range: `bytes=${from}-`, ...(etag === undefined ? {} : { "if-range": etag }) }
      const request = {
        url,
        token: transfer.token,
        headers: { ...transfer.headers, ...range },
        accept: [200, 206, 416]
      }
      return exchange(request, transfer.http ?? {}, receive)
    })
    yield* retrying(once, transfer.http ?? {}, () => furthest)
  }
  return hasher
})

const digestError = (url: string, { actual, expected }: { expected: string; actual: string }) =>
  new DigestError({
    class: "permanent",
    from: displayUrl(url),
    expected,
    actual,
    message:
      `${displayUrl(url)}: downloaded twice, and the bytes are not the expected ones: expected ${expected}, got ${actual}` +
      "; nothing was kept. If the file was changed on purpose, update the digest that pins it"
  })

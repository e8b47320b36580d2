/** Reading the headers that partial replies are made of (RFC 9110, section 14). */

export interface ContentRange {
  readonly start: number
  /** The last byte, inclusive, as in the header. */
  readonly last: number
  /** Size of the whole file; `undefined` when the server does not know it. */
  readonly total: number | undefined
}

/** Reads `Content-Range: bytes 0-99/1234`. */
export const contentRange = (headers: Headers): ContentRange | undefined => {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(headers.get("content-range")?.trim() ?? "")
  if (match === null) return undefined
  const start = Number(match[1])
  const last = Number(match[2])
  const total = match[3] === "*" ? undefined : Number(match[3])
  if (last < start || (total !== undefined && last >= total)) return undefined
  return { start, last, total }
}

/** The `ETag` when it identifies exact bytes: weak ones (`W/…`) do not, and cannot be used to continue a download. */
export const strongEtag = (headers: Headers): string | undefined => {
  const etag = headers.get("etag")?.trim()
  return etag !== undefined && /^"[^"]*"$/.test(etag) ? etag : undefined
}

export const contentLength = (headers: Headers): number | undefined => {
  const text = headers.get("content-length")?.trim()
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

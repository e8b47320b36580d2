/** How a request fails, and whether it is worth another try. */
import { Schema } from "effect"
import { redact, rememberQuery } from "../pipeline/Secrets.ts"
import { printable } from "../formats/printable.ts"
import { displayUrl } from "./url.ts"

/**
 * A request that failed. `transient`: the network or a busy server; the same request may succeed later. `permanent`: it
 * will fail again. The URL is shown without its query, and no header of the request is ever part of an error, so no token is.
 */
export class HttpError extends Schema.TaggedError<HttpError>()("HttpError", {
  class: Schema.Literals(["transient", "permanent"]),
  url: Schema.String,
  message: Schema.String,
  status: Schema.optionalKey(Schema.Int),
  /** The server's own name for what is wrong: the hub's `X-Error-Code`, for example `GatedRepo`. */
  code: Schema.optionalKey(Schema.String),
  /** How long the server asks us to wait, in milliseconds. */
  retryAfterMillis: Schema.optionalKey(Schema.Finite),
  /** The server sent, but next to nothing. */
  slow: Schema.optionalKey(Schema.Boolean)
}) {}

/** A reply that breaks the protocol or our rules: nothing another try would change. */
export const refused = (url: string, what: string): HttpError =>
  new HttpError({ class: "permanent", url: displayUrl(url), message: `${displayUrl(url)}: ${redact(what)}` })

/** The connection broke, or fell silent, in the middle of an exchange. */
export const interrupted = (url: string, what: string): HttpError =>
  new HttpError({ class: "transient", url: displayUrl(url), message: `${displayUrl(url)}: ${redact(what)}` })

/** The server sends so slowly that nobody would wait for the end. */
export const tooSlow = (
  url: string,
  { leastBytesPerSecond, rateWindowMillis }: { readonly leastBytesPerSecond: number; readonly rateWindowMillis: number }
): HttpError =>
  new HttpError({
    class: "transient",
    url: displayUrl(url),
    message: `${displayUrl(url)}: the server sent less than ${leastBytesPerSecond} bytes a second over ${rateWindowMillis / 1000} s`,
    slow: true
  })

/** Codes of Node's TLS errors that mean "this certificate will not do", today and on the next try. */
const certificateCodes = /^(ERR_TLS|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_SSL_)/

/** Causes that lie in the request itself. */
const requestCodes = /^(ERR_INVALID_|UND_ERR_INVALID_ARG|ERR_HTTP_INVALID)/

const advices: { readonly [code: string]: string } = {
  ENOTFOUND: "the host name is unknown; check the address (HF_ENDPOINT for the hub) and the network",
  EAI_AGAIN: "host names cannot be looked up now; check the network",
  ECONNREFUSED:
    "nothing accepts connections there; check the address and, behind a proxy, NODE_USE_ENV_PROXY=1 with HTTPS_PROXY",
  ECONNRESET: "the connection was reset",
  UND_ERR_SOCKET: "the connection was closed",
  ETIMEDOUT: "no connection in time; check the network and, behind a proxy, NODE_USE_ENV_PROXY=1 with HTTPS_PROXY",
  UND_ERR_CONNECT_TIMEOUT:
    "no connection in time; check the network and, behind a proxy, NODE_USE_ENV_PROXY=1 with HTTPS_PROXY"
}

/** What `fetch` threw, or what broke a reply's body, as an error. */
export const fromCause = (url: string, cause: unknown): HttpError => {
  const root = rootCause(cause)
  const code = errorCode(root)
  const shown = displayUrl(url)
  const detail = advices[code] ?? printable(redact(root instanceof Error ? root.message : String(root)))
  const certificate = certificateCodes.test(code)
  const advice = certificate ? "; if your network intercepts TLS, name its certificate in NODE_EXTRA_CA_CERTS" : ""
  return new HttpError({
    class: certificate || requestCodes.test(code) ? "permanent" : "transient",
    url: shown,
    message: `${shown}: ${detail}${code === "" ? "" : ` (${code})`}${advice}`
  })
}

const rootCause = (error: unknown): unknown => {
  let root = error
  for (let depth = 0; depth < 8 && root instanceof Error && root.cause !== undefined; depth++) root = root.cause
  // Connecting to a name with several addresses fails with one error for each of them.
  return root instanceof AggregateError && root.errors.length > 0 ? root.errors[0] : root
}

const errorCode = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error && typeof error.code === "string" ? error.code : ""

/** Statuses that say "not now" rather than "no". */
const transientStatus = (status: number) =>
  status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505)

/** A status that the caller did not ask for, as an error. */
export const fromStatus = (url: string, status: number, headers: Headers): HttpError => {
  const shown = displayUrl(url)
  const code = headers.get("x-error-code")
  const said = headers.get("x-error-message")
  const wait = retryAfter(headers)
  // A server may say what it was asked.
  rememberQuery(URL.parse(url)?.search ?? "")
  const details = [code, said].filter(text => text !== null).map(text => printable(redact(text)))
  return new HttpError({
    class: transientStatus(status) ? "transient" : "permanent",
    url: shown,
    status,
    ...(code === null ? {} : { code: printable(redact(code)) }),
    ...(wait === undefined ? {} : { retryAfterMillis: wait }),
    message: `${shown}: the server answered ${status}${details.length === 0 ? "" : ` (${details.join(": ")})`}${statusAdvice(status)}`
  })
}

const statusAdvice = (status: number) => {
  switch (status) {
    case 401:
    case 403:
      return "; access needs a token that is allowed to read it"
    case 404:
      return "; check the address"
    case 429:
      return "; too many requests"
    default:
      return ""
  }
}

/**
 * The wait a server asks for, in milliseconds: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), or else
 * the hub's `RateLimit: "api";r=0;t=55`, whose t is the seconds until requests are allowed again.
 */
export const retryAfter = (headers: Headers, now: number = Date.now()): number | undefined => {
  const value = headers.get("retry-after")?.trim()
  if (value !== undefined && value !== "") {
    if (/^\d+$/.test(value)) return Number(value) * 1000
    const date = Date.parse(value)
    if (!Number.isNaN(date)) return Math.max(0, date - now)
  }
  const limit = /;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)/.exec(headers.get("ratelimit") ?? "")
  return limit === null ? undefined : Number(limit[1]) * 1000
}

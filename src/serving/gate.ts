/** Who may ask: a token where one is set, no page of a browser that is not allowed, and on loopback no name that leads there from elsewhere. */
import { createHash, timingSafeEqual } from "node:crypto"
import { isIPv4, isIPv6 } from "node:net"
import { ApiError, invalid } from "./apiError.ts"

export interface GateOptions {
  /** Asked for from everybody but those who ask whether the server lives. */
  readonly apiKey: string | undefined
  /** Origins of pages that may ask, as browsers write them; `*` is all. */
  readonly origins: ReadonlyArray<string>
  /** Whether the server listens on this machine alone. */
  readonly loopback: boolean
}

/** Whether a host is this machine alone. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."))

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

/** In a time that says nothing about where they differ, or how long they are. */
const same = (given: string, expected: string): boolean => timingSafeEqual(digest(given), digest(expected))

/** The host of a Host header, without its port. */
const hostOf = (header: string): string => {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(header)?.[1]
  if (bracketed !== undefined) return isIPv6(bracketed) ? bracketed : ""
  return header.replace(/:\d+$/, "")
}

type Headers = { readonly [name: string]: string | undefined }

/** Headers that let a page read the answer, where it may. */
export const corsOf = ({ origins }: GateOptions, { origin }: Headers): { readonly [name: string]: string } =>
  origin !== undefined && (origins.includes(origin) || origins.includes("*"))
    ? {
        "access-control-allow-origin": origin,
        "access-control-allow-headers": "authorization, content-type",
        "access-control-allow-methods": "GET, POST",
        vary: "origin"
      }
    : {}

/** Why a page or a name may not ask; undefined where it may. */
export const placeRefusal = (options: GateOptions, headers: Headers): ApiError | undefined => {
  const { apiKey, loopback } = options
  const { host = "", origin } = headers
  if (origin !== undefined && corsOf(options, headers)["access-control-allow-origin"] === undefined)
    return invalid(`pages of ${origin} may not ask here; --allow-origin ${origin} lets them`, {
      status: 403,
      code: "origin_not_allowed"
    })
  // A page whose own name leads to this machine sends that name, and for what it only reads, no origin.
  if (loopback && apiKey === undefined && !isLoopback(hostOf(host)))
    return invalid(`the server listens for this machine alone, not for the name ${JSON.stringify(host)}`, {
      status: 403,
      code: "host_not_allowed"
    })
  return undefined
}

/** Why the token is not the one that is asked for; undefined where it is, or none is. */
export const keyRefusal = ({ apiKey }: GateOptions, { authorization }: Headers): ApiError | undefined => {
  if (apiKey === undefined) return undefined
  const given = /^Bearer (.+)$/i.exec(authorization ?? "")?.[1]
  if (given !== undefined && same(given.trim(), apiKey)) return undefined
  return new ApiError({
    status: 401,
    type: "authentication_error",
    message:
      given === undefined
        ? "this server asks for a token: send it as the header `Authorization: Bearer TOKEN`, which clients call the API key"
        : "the token is not the one of this server",
    code: "invalid_api_key"
  })
}

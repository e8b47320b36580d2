/** Which addresses we talk to, and how they are shown: encrypted unless the host is this machine, never with a secret. */
import { Result } from "effect"
import { redact } from "../pipeline/Secrets.ts"

/** Whether the host name of a URL is this machine: the only hosts that may be reached without TLS. */
export const isLoopback = (hostname: string): boolean =>
  hostname === "localhost" ||
  hostname.endsWith(".localhost") ||
  hostname === "[::1]" ||
  /^127\.\d+\.\d+\.\d+$/.test(hostname)

/** Parses an `https:` URL (`http:` for loopback hosts); the failure says what is wrong with it. */
export const webUrl = (text: string): Result.Result<URL, string> => {
  const url = URL.parse(text)
  if (url === null) return Result.fail("it is not a URL")
  if (url.protocol !== "https:" && url.protocol !== "http:") return Result.fail(`${url.protocol} is not https:`)
  if (url.username !== "" || url.password !== "") {
    return Result.fail("it carries a user name or password, which would be recorded; use a token instead")
  }
  if (url.protocol === "http:" && !isLoopback(url.hostname)) {
    return Result.fail(`http: is unencrypted and allowed only for this machine, not for ${url.hostname}`)
  }
  return Result.succeed(url)
}

/** The URL as messages show it: without credentials and without its query, which in signed URLs is a credential. */
export const displayUrl = (text: string): string => {
  const url = URL.parse(text)
  if (url === null) return "(not a URL)"
  return redact(`${url.protocol}//${url.host}${url.pathname}${url.search === "" ? "" : "?…"}`)
}

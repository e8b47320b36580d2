/** Where the hub is and who we are there, from the environment variables that its Python library reads, too. */
import { Effect, Redacted, Result } from "effect"
import { readFile } from "node:fs/promises"
import { homedir } from "node:os"
import { join } from "node:path"
import type { HttpOptions } from "./http.ts"
import { rememberAddress, rememberSecret } from "../pipeline/Secrets.ts"
import { displayUrl, webUrl } from "./url.ts"
import { type HubError, hubError } from "./hubError.ts"

export interface HubConfig {
  /** Without a slash at its end. */
  readonly endpoint: string
  /** Sent to the endpoint's origin only; never printed. */
  readonly token: Redacted.Redacted | undefined
  /** `HF_HUB_OFFLINE`: every request is refused. */
  readonly offline: boolean
  readonly http: HttpOptions
}

export const defaultEndpoint = "https://huggingface.co"

type Environment = { readonly [name: string]: string | undefined }

/**
 * Reads the configuration: `HF_ENDPOINT` (a mirror; default https://huggingface.co), `HF_TOKEN`, else the first of
 * `HF_TOKEN_PATH`, `$HF_HOME/token`, `$XDG_CACHE_HOME/huggingface/token` and `~/.cache/huggingface/token` that is named,
 * and `HF_HUB_OFFLINE`. A token file that does not exist means no token.
 */
export const hubConfig = Effect.fn("hubConfig")(function* (
  environment: Environment,
  http: HttpOptions = {}
): Effect.fn.Return<HubConfig, HubError> {
  const endpoint = environment.HF_ENDPOINT?.trim().replace(/\/+$/, "") || defaultEndpoint
  rememberAddress(endpoint)
  const url = webUrl(endpoint)
  if (Result.isFailure(url)) {
    return yield* hubError(`HF_ENDPOINT is ${displayUrl(endpoint)}: ${url.failure}; for example ${defaultEndpoint}`)
  }
  if (url.success.search !== "" || url.success.hash !== "") {
    return yield* hubError(
      `HF_ENDPOINT is ${displayUrl(endpoint)}: an endpoint has no query; for example ${defaultEndpoint}. A token belongs into HF_TOKEN`
    )
  }
  const token = yield* readToken(environment)
  const offline = /^(1|on|yes|true)$/i.test(environment.HF_HUB_OFFLINE?.trim() ?? "")
  return { endpoint, token, offline, http }
})

const readToken = Effect.fnUntraced(function* (
  environment: Environment
): Effect.fn.Return<Redacted.Redacted | undefined, HubError> {
  const given = environment.HF_TOKEN?.trim()
  if (given) return yield* usable(given, "HF_TOKEN")
  const path = tokenPath(environment)
  const text = yield* Effect.tryPromise({
    try: () =>
      readFile(path, "utf8").catch((error: unknown) => {
        const code = error instanceof Error && "code" in error ? error.code : undefined
        if (code === "ENOENT" || code === "ENOTDIR") return ""
        throw error
      }),
    catch: error => hubError(`could not read the hub's token from ${path}: ${String(error)}`)
  })
  return text.trim() === "" ? undefined : yield* usable(text.trim(), path)
})

const tokenPath = (environment: Environment) => {
  if (environment.HF_TOKEN_PATH) return environment.HF_TOKEN_PATH
  if (environment.HF_HOME) return join(environment.HF_HOME, "token")
  const home = environment.HOME || homedir()
  return join(environment.XDG_CACHE_HOME || join(home, ".cache"), "huggingface", "token")
}

/** A token goes into a header; characters that headers cannot hold point to a mistake, such as a second line. */
const usable = (token: string, from: string): Effect.Effect<Redacted.Redacted, HubError> =>
  /^[\u0021-\u007e]+$/.test(token)
    ? Effect.sync(() => {
        rememberSecret(token)
        return Redacted.make(token)
      })
    : Effect.fail(
        hubError(`the token in ${from} contains spaces or characters that no token has; write it alone, on one line`)
      )

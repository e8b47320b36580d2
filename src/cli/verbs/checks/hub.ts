/** Whether models and data sets can be downloaded. */
import { Effect, Result } from "effect"
import { hubConfig } from "../../../hub/config.ts"
import { redact } from "../../../pipeline/Secrets.ts"
import { type Check, type Finding, ok, warning } from "./Check.ts"

/** Long enough for a slow connection, short enough for a check. */
const patienceMs = 4000

const embedded = "the embedded profiles need no network"

export const hub: Check = {
  name: "hub",
  run: ({ environment }) =>
    Effect.gen(function* () {
      const config = yield* Effect.result(hubConfig(environment))
      if (Result.isFailure(config)) {
        return [warning("hub", config.failure.message, `correct it before using a profile that downloads; ${embedded}`)]
      }
      const { endpoint, offline, token } = config.success
      const shown = redact(endpoint)
      // Whether there is one is all that may be said about it.
      const access: Finding = ok(
        "hub token",
        token === undefined ? "none; gated repositories need one (HF_TOKEN)" : "set; its value is not shown"
      )
      if (offline) return [ok("hub", "offline, as HF_HUB_OFFLINE asks"), access]
      const found = yield* Effect.promise(signal =>
        fetch(endpoint, {
          method: "HEAD",
          redirect: "manual",
          signal: AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
        })
          .then(response => ({ status: response.status }))
          .catch((cause: unknown) => ({ error: reasonOf(cause) }))
      )
      const reached: Finding =
        "status" in found
          ? found.status < 500
            ? ok("hub", `${shown} answers`)
            : warning("hub", `${shown} answers with an error (${found.status})`, `try again later; ${embedded}`)
          : warning(
              "hub",
              `${shown} is not reachable (${redact(found.error)})`,
              `set HF_ENDPOINT to a mirror, or HTTPS_PROXY; ${embedded}`
            )
      return [reached, access]
    })
}

const reasonOf = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  if (cause.name === "TimeoutError") return `no answer in ${patienceMs / 1000} s`
  const inner: unknown = cause.cause
  const code = typeof inner === "object" && inner !== null && "code" in inner ? String(inner.code) : undefined
  return code ?? cause.message
}

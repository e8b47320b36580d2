/** What a request is answered with when it cannot be served, in the shape that OpenAI's clients read. */
import { Schema } from "effect"
import type { ConfigError } from "../pipeline/ConfigError.ts"
import type { ServingError } from "./job.ts"

export class ApiError extends Schema.TaggedError<ApiError>()("ApiError", {
  status: Schema.Int,
  type: Schema.Literals(["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]),
  message: Schema.String,
  /** The field at fault. */
  param: Schema.optionalKey(Schema.String),
  code: Schema.optionalKey(Schema.String)
}) {}

/** A request that is wrong. */
export const invalid = (
  message: string,
  { status = 400, ...more }: { readonly param?: string; readonly code?: string; readonly status?: number } = {}
): ApiError => new ApiError({ status, type: "invalid_request_error", message, ...more })

/** The body of an answer, and the event of a stream that ends early. */
export const errorBody = ({ code, message, param, type }: ApiError) => ({
  error: { message, type, param: param ?? null, code: code ?? null }
})

const statusOf = { overloaded: 429, stopping: 503, failed: 500 } as const

export const fromServing = ({ message, reason }: ServingError): ApiError =>
  new ApiError({
    status: statusOf[reason],
    type: reason === "overloaded" ? "rate_limit_error" : "server_error",
    message,
    code: reason
  })

/** A setting that is wrong: what a flag is called on the command line, a field of the body is called with underscores. */
export const fromConfig = ({ advice, at, message }: ConfigError): ApiError => {
  const param = at?.replace(/^--/, "").replaceAll("-", "_")
  const text = `${param === undefined ? "" : `${param}: `}${message}${advice === undefined ? "" : `; ${advice}`}`
  return invalid(text, param === undefined ? {} : { param: param.split(" ")[0]! })
}

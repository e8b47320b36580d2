/** Wrong usage or configuration: found before any work starts; the program ends with exit code 2. */
import { Schema } from "effect"
import { redact } from "./Secrets.ts"

/** One thing that is wrong: where, what, and what to do. */
export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", {
  message: Schema.String,
  /** `file:line:column`, or the command-line option at fault. */
  at: Schema.optionalKey(Schema.String),
  advice: Schema.optionalKey(Schema.String)
}) {}

/** The error as people read it: position first, as compilers and editors expect it. It quotes what was written, secrets included, so these are hidden. */
export const render = (error: ConfigError): string =>
  redact(
    [
      error.at === undefined ? error.message : `${error.at}: ${error.message}`,
      ...(error.advice === undefined ? [] : [`  ${error.advice}`])
    ].join("\n"),
    { keepLength: true }
  )

/** Wrong usage or configuration: found before any work starts; the program ends with exit code 2. */
import { Schema } from "effect"

/** One thing that is wrong: where, what, and what to do. */
export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", {
  message: Schema.String,
  /** `file:line:column`, or the command-line option at fault. */
  at: Schema.optionalKey(Schema.String),
  advice: Schema.optionalKey(Schema.String)
}) {}

/** The error as people read it: position first, as compilers and editors expect it. */
export const render = (error: ConfigError): string =>
  [
    error.at === undefined ? error.message : `${error.at}: ${error.message}`,
    ...(error.advice === undefined ? [] : [`  ${error.advice}`])
  ].join("\n")

/** Errors about what a configuration file says, where it says it. */
import type { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { toConfigError } from "../src/pipeline/Problem.ts"

export interface Fault {
  readonly message: string
  readonly advice: string
  /** Whether the name of the field is at fault, not its value. */
  readonly part?: Origin.Part
}

/** The error at a field of a file, which is named by its path; at the path alone where no file says it. */
export const faulty = (
  root: object,
  path: ReadonlyArray<string | number>,
  { advice, message, part = "value" }: Fault
): ConfigError => {
  const name = path.reduce<string>(
    (text, each) => (typeof each === "number" ? `${text}[${each}]` : text === "" ? each : `${text}.${each}`),
    ""
  )
  const found = Origin.find(root, path, part)
  return found === undefined
    ? toConfigError([{ at: name, message, advice }])
    : toConfigError([{ at: Origin.format(found), message: `${name}: ${message}`, excerpt: found.excerpt, advice }])
}

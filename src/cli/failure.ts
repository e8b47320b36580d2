/** How errors become messages and exit codes: 0 done, 1 a stage failed, 2 wrong usage or configuration, 130 interrupted. */
import { Cause } from "effect"
import { CliError } from "effect/cli"
import { ConfigError, render } from "../pipeline/ConfigError.ts"
import { redact } from "../pipeline/Secrets.ts"
import { styleOf } from "./terminal/style.ts"
import { asTyped } from "./typed.ts"

export const exitCodes = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

/** Ends the program with a code, without a message: everything was said already. */
export class Exit extends Error {
  readonly code: number
  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

interface Told {
  readonly message: string
  readonly advice?: string
}

const isTold = (error: unknown): error is Told =>
  typeof error === "object" && error !== null && "message" in error && "_tag" in error

/** Prints what went wrong to stderr; returns the exit code. */
export const report = (cause: Cause.Cause<unknown>): number => {
  if (Cause.hasInterruptsOnly(cause)) return exitCodes.interrupted
  const style = styleOf(process.stderr)
  const error = Cause.squash(cause)
  if (error instanceof Exit) return error.code
  const say = (text: string) => process.stderr.write(`${style.red("error")} ${asTyped(redact(text))}\n`)
  if (CliError.isCliError(error)) {
    const errors = error._tag === "ShowHelp" ? error.errors : [error]
    if (errors.length === 0) return exitCodes.done
    for (const each of errors) say(each.message)
    const command = error._tag === "ShowHelp" ? error.commandPath.join(" ") : "pipeline"
    process.stderr.write(`see \`${command} --help\`\n`)
    return exitCodes.usage
  }
  if (error instanceof ConfigError) {
    say(render(error))
    return exitCodes.usage
  }
  if (isTold(error)) {
    say([error.message, ...(error.advice === undefined ? [] : [`  ${error.advice}`])].join("\n"))
    return exitCodes.failed
  }
  say(
    `this is a bug in pipeline; please report it with these lines:\n${error instanceof Error ? error.stack : String(error)}`
  )
  return exitCodes.failed
}

/**
 * Runs command lines one after the other in one process, in the working directory: a process for each would take longer than the work. The first argument is a file with
 * their words as JSON, the second the file for what went wrong; a line that fails does not keep the others from being run.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { Cause, Effect, Exit } from "effect"
import { Exit as Ended } from "../../src/cli/failure.ts"
import { answer } from "../../src/cli/program.ts"
import { commandFor } from "../../src/cli/verbs.ts"

const [lines, failures] = process.argv.slice(2) as [string, string]

const whatFailed = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  const error = Cause.squash(exit.cause)
  if (error instanceof Ended) return error.code === 0 ? undefined : `exit code ${error.code}`
  return error instanceof Error ? error.message : String(error)
}

const kept = new Set(readdirSync("."))
const wrong: Array<string> = []
for (const words of JSON.parse(readFileSync(lines, "utf8")) as ReadonlyArray<ReadonlyArray<string>>) {
  const exit = await Effect.runPromiseExit(Effect.flatMap(commandFor(words), command => answer(command, words)))
  const what = whatFailed(exit)
  if (what !== undefined) wrong.push(`pipeline ${words.join(" ")}\n    ${what}`)
  // What a line wrote is not in the way of the next.
  for (const name of readdirSync(".")) if (!kept.has(name)) rmSync(name, { recursive: true, force: true })
}
writeFileSync(failures, JSON.stringify(wrong))

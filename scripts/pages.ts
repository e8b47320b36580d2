/** Renders the pages that the program prints without thinking: help of every verb, completions, the list of pipelines, the version. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { CliOutput, Completions } from "effect/cli"
import { pageFile } from "../src/cli/pages.ts"
import { answer, type AnyCommand } from "../src/cli/program.ts"
import { commandFor } from "../src/cli/verbs.ts"

/** What is printed for these words. */
const render = async (root: AnyCommand, words: ReadonlyArray<string>, coloured: boolean): Promise<string> => {
  const printed: Array<string> = []
  const { write } = process.stdout
  const { FORCE_COLOR, NO_COLOR, TERM } = process.env
  Object.assign(process.env, coloured ? { FORCE_COLOR: "1", TERM: "xterm" } : { NO_COLOR: "1" })
  delete process.env[coloured ? "NO_COLOR" : "FORCE_COLOR"]
  process.stdout.write = ((chunk: string) => printed.push(chunk) > 0) as typeof write
  try {
    const formatter = CliOutput.layer(CliOutput.defaultFormatter({ colors: coloured }))
    await Effect.runPromise(Effect.provide(answer(root, words), formatter) as Effect.Effect<void>)
  } finally {
    process.stdout.write = write
    for (const [name, value] of Object.entries({ FORCE_COLOR, NO_COLOR, TERM })) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
  return printed.join("")
}

/** Names of commands with those above them: `["cache", "usage"]`. */
const paths = (command: Completions.CommandDescriptor): ReadonlyArray<ReadonlyArray<string>> => [
  [],
  ...command.subcommands.flatMap(sub => paths(sub).map(rest => [sub.name, ...rest]))
]

export const writePages = async (folder: string): Promise<void> => {
  const root = await Effect.runPromise(commandFor([]))
  const questions = [
    ["--version"],
    ["list"],
    ["list", "--json"],
    ...["bash", "zsh", "fish"].map(shell => ["completions", shell]),
    ...paths(Completions.fromCommand(root)).map(path => [...path, "--help"])
  ]
  for (const words of questions)
    for (const coloured of [true, false])
      writeFileSync(join(folder, pageFile(words, coloured)), await render(root, words, coloured))
}

/** `pipeline init`: writes a small project of a user's own. */
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { join, relative, resolve } from "node:path"
import { Effect, Option } from "effect"
import { Argument } from "effect/cli"
import { verb } from "../verb.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import * as flags from "../flags.ts"
import { programVersion, root } from "../home.ts"
import { here } from "../place.ts"
import { type Dependency, dependencyOf } from "../project/dependency.ts"
import { projectFiles } from "../project/files.ts"
import { print, printJson } from "../terminal/terminal.ts"
import { quoted } from "../../pipeline/shell.ts"

export const command = verb("init", {
  about: "Write a small project of your own: a method, a row of the grid, and a test",
  examples: {
    "pipeline init my-comparison": "In a new folder; then as the last lines say",
    "pipeline init": "In this one, which is empty"
  },
  takes: {
    directory: flags
      .argument("directory", "Where to write: a folder that is not there or empty (default: this one)")
      .pipe(Argument.optional),
    json: flags.json
  },
  run: Effect.fn("init")(function* (args) {
    const said = Option.getOrElse(args.directory, () => ".")
    const directory = resolve(here(), said)
    yield* mustBeEmpty(directory, said)
    const dependency = dependencyOf(root, programVersion(), directory)
    const files = projectFiles({ root, directory, specifier: dependency.specifier })
    yield* Effect.try({
      try: () => {
        mkdirSync(directory, { recursive: true })
        for (const [name, text] of files) writeFileSync(join(directory, name), text, { flag: "wx" })
      },
      catch: cause => new ConfigError({ at: said, message: `cannot be written: ${(cause as Error).message}` })
    })
    const next = nextCommands(directory, dependency)
    if (args.json) return printJson({ directory, files: [...files.keys()], next: next.map(([line]) => line) })
    const width = next.reduce((most, [line]) => Math.max(most, line.length), 0)
    print(`wrote ${[...files.keys()].join(", ")}\n`)
    print("next:")
    for (const [line, about] of next) print(`  ${about === "" ? line : `${line.padEnd(width)}  # ${about}`}`)
  })
})

const mustBeEmpty = (directory: string, said: string): Effect.Effect<void, ConfigError> => {
  if (!existsSync(directory)) return Effect.void
  if (!statSync(directory).isDirectory())
    return Effect.fail(new ConfigError({ at: said, message: "is a file", advice: "name a folder that is not there" }))
  const [first, ...others] = readdirSync(directory).sort()
  if (first === undefined) return Effect.void
  return Effect.fail(
    new ConfigError({
      at: said,
      message: `is not empty: it has ${first}${others.length === 0 ? "" : ` and ${others.length} more`}`,
      advice: "name a folder that is not there, as in `pipeline init my-comparison`"
    })
  )
}

/** What comes next, each line with what it does. */
const nextCommands = (
  directory: string,
  { unpacked }: Dependency
): ReadonlyArray<readonly [line: string, about: string]> => {
  const way = relative(here(), directory)
  return [
    ...(unpacked === undefined
      ? []
      : [[`(cd ${quoted(unpacked)} && npm pack)`, "the package of this checkout, once"] as const]),
    ...(way === "" ? [] : [[`cd ${quoted(way)}`, ""] as const]),
    ["npm install", ""],
    ["npx pipeline run ./pipeline.ts --quick", "about half a minute on two cores"],
    ["npm run check", "types"],
    ["npm test", "the method, trained a little"]
  ]
}

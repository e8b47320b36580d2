/** `pipeline cache path`: where the cache is. */
import { Effect } from "effect"
import { Command } from "effect/cli"
import { pathsOf } from "../../../runner/Cache.ts"
import * as flags from "../../flags.ts"
import { stdout } from "../../terminal/terminal.ts"

export const path = Command.make(
  "path",
  { cache: flags.cache, json: flags.json },
  Effect.fn("cache path")(({ cache, json }) =>
    Effect.sync(() => {
      const paths = pathsOf(flags.locationOf(cache).root)
      stdout().write(json ? `${JSON.stringify(paths, null, 2)}\n` : `${paths.root}\n`)
    })
  )
).pipe(
  Command.withDescription("Print the cache's directory"),
  Command.withExamples([
    { command: 'du -sh "$(pipeline cache path)"', description: "What the system says of its size" }
  ])
)

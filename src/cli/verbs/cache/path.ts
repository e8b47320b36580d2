/** `pipeline cache path`: where the cache is. */
import { Effect } from "effect"
import { verb } from "../../verb.ts"
import { pathsOf } from "../../../runner/Cache.ts"
import * as flags from "../../flags.ts"
import { print, printJson } from "../../terminal/terminal.ts"

export const path = verb("path", {
  about: "Print the cache's directory",
  examples: {
    'du -sh "$(pipeline cache path)"': "What the system says of its size"
  },
  takes: flags.ofCache,
  run: ({ cache, json }) =>
    Effect.sync(() => {
      const paths = pathsOf(flags.locationOf(cache).root)
      return json ? printJson(paths) : print(paths.root)
    })
})

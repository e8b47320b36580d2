/** `pipeline exec`: runs one prepared action in this process, as remote executors and people who debug do. */
import { isAbsolute, join, resolve } from "node:path"
import { readdirSync } from "node:fs"
import { Effect } from "effect"
import { verb } from "../verb.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { pathsOf } from "../../runner/Cache.ts"
import { execute } from "../../runner/Child.ts"
import { makeLoad } from "../../runner/Loading.ts"
import { setPermission } from "../../sandbox/permission.ts"
import { Exit, exitCodes } from "../failure.ts"
import * as flags from "../flags.ts"
import { root } from "../home.ts"
import { resolveOurselves } from "../../runner/ourselves.ts"
import { stdout } from "../terminal/terminal.ts"

export const command = verb("exec", {
  about: "Run one prepared action in this process; its result is left beside its request",
  takes: {
    key: flags.argument("key", "Key of the action (or a prefix), or the directory that holds its request.json"),
    cache: flags.cache,
    allowCodeExecution: flags.allowCodeExecution
  },
  run: Effect.fn("exec")(function* ({ allowCodeExecution, cache, key }) {
    setPermission(allowCodeExecution)
    const directory = yield* findRequest(pathsOf(flags.locationOf(cache).root).actions, key)
    resolveOurselves()
    const ended = yield* execute(directory, makeLoad(root), progress =>
      process.stderr.write(`${JSON.stringify(progress)}\n`)
    )
    stdout().write(`${JSON.stringify(ended)}\n`)
    if (ended._tag === "Failed") return yield* Effect.fail(new Exit(exitCodes.failed))
  })
})

const findRequest = (actions: string, key: string) =>
  Effect.gen(function* () {
    if (isAbsolute(key) || key.includes("/")) return resolve(key)
    const found = yield* Effect.try({ try: () => readdirSync(actions), catch: () => [] as Array<string> }).pipe(
      Effect.orElseSucceed(() => [] as Array<string>)
    )
    const match = found
      .filter(name => name.startsWith(key.slice(0, 16)))
      .sort()
      .at(-1)
    if (match === undefined) {
      return yield* new ConfigError({
        message: `no prepared action has a key that begins with ${key}`,
        advice: `they lie in ${actions} while their run is alive`
      })
    }
    return join(actions, match)
  })

/** `pipeline watch`: what a run shows that another terminal, or nobody, looks at. */
import { existsSync } from "node:fs"
import { Effect, Option } from "effect"
import { Argument } from "effect/cli"
import { verb } from "../verb.ts"
import { runRow, statusOf } from "../../ledger/RunRows.ts"
import type { RunStatus } from "../../ledger/Runs.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { eventFile, readLogged } from "../../runner/EventLog.ts"
import { here, isAlive } from "../../runner/Machine.ts"
import { Exit, exitCodes } from "../failure.ts"
import * as flags from "../flags.ts"
import { linesOf } from "../follow.ts"
import { attempt, lookFor, nameOf, needCache } from "../look.ts"
import { displayFor } from "../terminal/display.ts"

/** Milliseconds between two looks. */
const lookMs = 200

/** Milliseconds that the last word of a run may come after its end. */
const lastWordMs = 2000

export const command = verb("watch", {
  about: "Follow a run from another terminal: what runs, how far it is, what it said so far",
  examples: {
    "pipeline watch": "The newest run, until it ends",
    "pipeline watch compare-50x": "The newest run of a pipeline",
    "pipeline watch 41 --json": "Its events for another program, one JSON object in a line"
  },
  takes: {
    run: flags.argument("run", "A run: 41, `last`, a tag, or a pipeline's name (its last run)").pipe(Argument.optional),
    ...flags.ofCache
  },
  run: Effect.fn("watch")(function* (args) {
    const { database, paths } = yield* needCache(args.cache)
    const name = yield* nameOf(Option.getOrElse(args.run, () => "last"))
    const { id } = yield* lookFor(database, name, { accepted: ["run"] })
    const file = eventFile(paths.logs, id)
    const status = attempt((): RunStatus => statusOf(runRow(database, id)!, here(), isAlive))
    if (!existsSync(file) && (yield* status) !== "running")
      return yield* new ConfigError({
        at: name,
        message: `run ${id} has ended, and its events are not kept any more`,
        advice: `\`pipeline show ${id}\` says what came of it`
      })
    const display = displayFor({ json: args.json, cache: paths.root })
    const read = linesOf(file)
    let isOver = false
    const show = Effect.gen(function* () {
      for (const line of read()) {
        const logged = readLogged(line)
        if (logged === undefined) continue
        isOver ||= logged.event.type === "run-ended"
        yield* display.emit(logged.event, logged.at)
      }
    })
    const follow = Effect.gen(function* () {
      for (let patience = lastWordMs; ; patience -= lookMs) {
        const now = yield* status
        yield* show
        if (now === "running") patience = lastWordMs
        // A run says that it ended when that is written down already.
        else if (isOver || now === "crashed" || patience <= 0) return now
        yield* Effect.sleep(lookMs)
      }
    })
    const ended = yield* follow.pipe(Effect.ensuring(display.close))
    if (ended === "crashed") process.stderr.write(`run ${id} crashed: its process is gone\n`)
    if (ended !== "done") return yield* Effect.fail(new Exit(exitCodes.failed))
  })
})

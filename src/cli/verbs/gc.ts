/** `pipeline gc`: shows what would leave the store and why; with --apply, moves it to the trash. */
import { Clock, Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { bytes } from "../../pipeline/units.ts"
import type { CacheLocation } from "../../runner/Cache.ts"
import * as Collect from "../../runner/Collect.ts"
import { findLeftovers, removeLeftovers } from "../../runner/Leftovers.ts"
import * as Faults from "../../store/Faults.ts"
import { nodeDisk } from "../../store/NodeDisk.ts"
import { parseBytes, parseDuration } from "../text/amounts.ts"
import * as flags from "../flags.ts"
import { stoppable } from "../interruption.ts"
import { asJson, asText, type Told } from "../text/gcText.ts"
import { sayNothingYet } from "../look.ts"
import { openMaintenance } from "../maintenance.ts"
import { emptyTrash } from "../trash.ts"
import { print, printJson } from "../terminal/terminal.ts"

export const command = verb("gc", {
  about: "Make room: show what would leave the store and why, then move it to the trash with --apply",
  examples: {
    "pipeline gc": "What could go, with bytes and reasons; changes nothing",
    "pipeline gc --apply": "Move it to the trash",
    "pipeline gc --older-than 30d --keep-runs 2 --apply": "Only what nobody used for a month",
    "pipeline gc --max-size 50GB --apply": "Only as much as it takes to fit",
    "pipeline gc --empty-trash --older-than 7d --apply": "Delete for good"
  },
  takes: {
    apply: flags.toggle("apply", "Do it; without this flag the plan is printed and nothing changes"),
    keepRuns: flags
      .whole(
        "keep-runs",
        "N",
        "Keep everything that the last N runs of each pipeline and profile consist of, and the last that succeeded"
      )
      .pipe(flags.atLeast(0), Flag.withDefault(5)),
    finalOnly: flags.toggle(
      "final-only",
      "Of the kept runs, keep only what they came to; intermediate results are made again when something needs them"
    ),
    olderThan: flags.optionalText(
      "older-than",
      "AGE",
      "Drop only what was used last longer ago than this, such as 7d, 12h or 30min"
    ),
    maxSize: flags.optionalText(
      "max-size",
      "SIZE",
      "Drop only until the store fits into this size, such as 50GB: first what is large, old and quickly made again"
    ),
    logs: flags.toggle("logs", "Also remove the logs of runs that are not among the last ones"),
    quarantine: flags.toggle("quarantine", "Also remove damaged objects that were moved aside"),
    checkpoints: flags.toggle(
      "checkpoints",
      "Also remove what unfinished actions would go on from, such as trainings and downloads that were cut off"
    ),
    emptyTrash: flags.toggle("empty-trash", "Delete what earlier collections moved to the trash, and do nothing else"),
    ...flags.ofCache
  },
  run: Effect.fn("gc")(function* (args) {
    const location = flags.locationOf(args.cache)
    const olderThanMs = yield* optional(args.olderThan, text => parseDuration(text, "older-than"))
    const maxBytes = yield* optional(args.maxSize, text => parseBytes(text, "max-size"))
    if (args.emptyTrash)
      return yield* emptyTrash({ location, apply: args.apply, json: args.json, olderThanMs: olderThanMs ?? 0 })
    const now = yield* Clock.currentTimeMillis
    const options: Collect.CollectOptions = {
      keepRuns: args.keepRuns,
      finalOnly: args.finalOnly,
      olderThanMs,
      maxBytes,
      logs: args.logs,
      quarantine: args.quarantine,
      checkpoints: args.checkpoints
    }
    const maintenance = args.apply
      ? yield* openInFullDisk(location, options, now)
      : yield* openMaintenance(location, "read")
    if (maintenance === undefined) return sayNothingYet(args)
    const told: Told = args.apply
      ? { applied: yield* Collect.collect(maintenance, options, Faults.fromEnvironment(process.env), now) }
      : { planned: yield* Collect.survey(maintenance, options, now) }
    const context = { root: maintenance.paths.root, options, now }
    if (args.json) return printJson(asJson(told, context))
    print(...asText(told, context))
  }, stoppable())
})

/**
 * Opens for writing. A disk without any room lets nobody open the ledger so; then what was left beside the store goes first, by what the
 * ledger says when it is only read.
 */
const openInFullDisk = (location: CacheLocation, options: Collect.CollectOptions, now: number) =>
  Effect.catchIf(
    openMaintenance(location, "write"),
    error => error._tag === "LedgerError" && error.code === "SQLITE_FULL",
    () =>
      Effect.gen(function* () {
        const looked = yield* openMaintenance(location, "read")
        if (looked === undefined) return undefined
        const maintenance = { ...looked, disk: nodeDisk }
        // What the store itself keeps has no part in this: it is opened for reading, too.
        const found = (yield* findLeftovers(maintenance, options, now)).filter(({ kind }) => kind !== "temporary")
        const gone = yield* removeLeftovers(maintenance, found, now)
        looked.database.close()
        const freed = gone.reduce((sum, leftover) => sum + leftover.bytes, 0)
        process.stderr.write(`${bytes(freed)} of leftovers deleted, to make room for the ledger\n`)
        return yield* openMaintenance(location, "write")
      })
  )

const optional = <E>(flag: Option.Option<string>, parse: (text: string) => Effect.Effect<number, E>) =>
  Option.isNone(flag) ? Effect.succeed(undefined) : parse(flag.value)

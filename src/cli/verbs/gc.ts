/** `pipeline gc`: shows what would leave the store and why; with --apply, moves it to the trash. */
import { Clock, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { ConfigError } from "../../pipeline/ConfigError.ts"
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
import { nothingYet, openMaintenance } from "../maintenance.ts"
import { emptyTrash } from "../trash.ts"
import { stdout } from "../terminal/terminal.ts"

const boolean = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

export const command = Command.make(
  "gc",
  {
    apply: boolean("apply", "Do it; without this flag the plan is printed and nothing changes"),
    keepRuns: Flag.Int("keep-runs").pipe(
      Flag.withDescription(
        "Keep everything that the last N runs of each pipeline and profile consist of, and the last that succeeded"
      ),
      Flag.withMetavar("N"),
      flags.atLeast(0),
      Flag.withDefault(5)
    ),
    finalOnly: boolean(
      "final-only",
      "Of the kept runs, keep only what they came to; intermediate results are made again when something needs them"
    ),
    olderThan: Flag.String("older-than").pipe(
      Flag.withDescription("Drop only what was used last longer ago than this, such as 7d, 12h or 30min"),
      Flag.withMetavar("AGE"),
      Flag.optional
    ),
    maxSize: Flag.String("max-size").pipe(
      Flag.withDescription(
        "Drop only until the store fits into this size, such as 50GB: first what is large, old and quickly made again"
      ),
      Flag.withMetavar("SIZE"),
      Flag.optional
    ),
    logs: boolean("logs", "Also remove the logs of runs that are not among the last ones"),
    quarantine: boolean("quarantine", "Also remove damaged objects that were moved aside"),
    checkpoints: boolean(
      "checkpoints",
      "Also remove what unfinished actions would go on from, such as trainings and downloads that were cut off"
    ),
    emptyTrash: boolean("empty-trash", "Delete what earlier collections moved to the trash, and do nothing else"),
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("gc")(function* (args) {
    const location = flags.locationOf(args.cache)
    const olderThanMs = yield* optional(args.olderThan, text => parseDuration(text, "older-than"))
    const maxBytes = yield* optional(args.maxSize, text => parseBytes(text, "max-size"))
    if (args.keepRuns < 0) {
      return yield* new ConfigError({ at: `--keep-runs ${args.keepRuns}`, message: "must not be negative" })
    }
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
    if (maintenance === undefined)
      return void stdout().write(args.json ? `${JSON.stringify({ exists: false })}\n` : nothingYet(location))
    const told: Told = args.apply
      ? { applied: yield* Collect.collect(maintenance, options, Faults.fromEnvironment(process.env), now) }
      : { planned: yield* Collect.survey(maintenance, options, now) }
    const context = { root: maintenance.paths.root, options, now }
    stdout().write(args.json ? asJson(told, context) : asText(told, context))
  }, stoppable())
).pipe(
  Command.withDescription("Make room: show what would leave the store and why, then move it to the trash with --apply"),
  Command.withExamples([
    { command: "pipeline gc", description: "What could go, with bytes and reasons; changes nothing" },
    { command: "pipeline gc --apply", description: "Move it to the trash" },
    { command: "pipeline gc --older-than 30d --keep-runs 2 --apply", description: "Only what nobody used for a month" },
    { command: "pipeline gc --max-size 50GB --apply", description: "Only as much as it takes to fit" },
    { command: "pipeline gc --empty-trash --older-than 7d --apply", description: "Delete for good" }
  ])
)

/**
 * Opens for writing. A disk without any room lets nobody open the ledger so; then what was left beside the store goes first, by what the
 * ledger says when it is only read.
 */
const openInFullDisk = (location: CacheLocation, options: Collect.CollectOptions, now: number) =>
  Effect.catchIf(
    openMaintenance(location, "write"),
    error => error.code === "SQLITE_FULL",
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

/** `pipeline pin`: artifacts that `gc` never drops. */
import { Clock, Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import * as Pins from "../../ledger/Pins.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { short } from "../../pipeline/Digest.ts"
import { ago, bytes } from "../../pipeline/units.ts"
import { artifactsOf } from "../artifacts.ts"
import * as flags from "../flags.ts"
import { attempt, nothingYet, openMaintenance } from "../maintenance.ts"
import { styleOf, table } from "../terminal/style.ts"
import { stdout } from "../terminal/terminal.ts"

export const command = Command.make(
  "pin",
  {
    reference: Argument.String("ref").pipe(
      Argument.withDescription("An artifact; a run, for its targets; or an action (PIPELINE/LABEL), for its outputs"),
      Argument.optional
    ),
    note: Flag.String("note").pipe(
      Flag.withDescription("Why it is kept"),
      Flag.withMetavar("TEXT"),
      Flag.withDefault("")
    ),
    list: Flag.Boolean("list").pipe(Flag.withDescription("List the pins"), Flag.withDefault(false)),
    remove: Flag.String("remove").pipe(
      Flag.withDescription("Remove the pins of what REF names"),
      Flag.withMetavar("REF"),
      Flag.optional
    ),
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("pin")(function* (args) {
    const location = flags.locationOf(args.cache)
    const asked = [Option.isSome(args.reference), args.list, Option.isSome(args.remove)].filter(Boolean).length
    if (asked !== 1) {
      return yield* new ConfigError({
        message: asked === 0 ? "nothing to pin was named" : "only one of REF, --list and --remove may be given",
        advice: "pipeline pin REF, pipeline pin --list, or pipeline pin --remove REF"
      })
    }
    const maintenance = yield* openMaintenance(location, args.list ? "read" : "write")
    if (maintenance === undefined) {
      if (!args.list) return yield* new ConfigError({ message: nothingYet(location).trim() })
      return void stdout().write(args.json ? "[]\n" : nothingYet(location))
    }
    const { database } = maintenance
    const now = yield* Clock.currentTimeMillis
    if (args.list) {
      const pins = yield* attempt(database, () => Pins.list(database))
      return void stdout().write(args.json ? `${JSON.stringify(pins, null, 2)}\n` : listText(pins, now))
    }
    const removing = Option.isSome(args.remove)
    const text = removing ? args.remove.value : Option.getOrThrow(args.reference)
    const artifacts = yield* attempt(database, () => artifactsOf(database, text))
    if (removing) {
      const removed = yield* attempt(database, () =>
        Pins.remove(
          database,
          artifacts.map(({ id }) => id)
        )
      )
      if (removed === 0)
        return yield* new ConfigError({ at: text, message: "is not pinned", advice: "see `pipeline pin --list`" })
      return void stdout().write(
        args.json
          ? `${JSON.stringify({ removed: artifacts.map(({ digest }) => digest) })}\n`
          : `removed ${removed} pin${removed === 1 ? "" : "s"}\n`
      )
    }
    yield* attempt(database, () =>
      Pins.add(
        database,
        artifacts.map(({ id }) => id),
        args.note,
        now
      )
    )
    if (args.json) return void stdout().write(`${JSON.stringify({ pinned: artifacts }, null, 2)}\n`)
    for (const { digest, kind, state } of artifacts) {
      stdout().write(`pinned ${short(digest)} (${kind})\n`)
      if (state !== "present")
        process.stderr.write(
          `${styleOf(process.stderr).yellow("warning")} the bytes of ${short(digest)} are not in the store: the pin holds once a run has made them again\n`
        )
    }
  })
).pipe(
  Command.withDescription("Keep artifacts: `gc` never drops what is pinned"),
  Command.withExamples([
    { command: 'pipeline pin 3f9a12c4 --note "weights of the paper"', description: "Keep an artifact" },
    { command: "pipeline pin 41", description: "Keep what run 41 came to" },
    { command: "pipeline pin --list", description: "What is pinned, since when and why" },
    { command: "pipeline pin --remove 3f9a12c4", description: "Let it go" }
  ])
)

const listText = (pins: ReadonlyArray<Pins.Pin>, now: number): string => {
  if (pins.length === 0) return "nothing is pinned\n"
  const style = styleOf(stdout())
  const rows = pins.map(pin => [
    short(pin.digest),
    pin.kind,
    bytes(pin.bytes),
    pin.present ? "" : style.yellow("not in the store"),
    ago(now - pin.createdMs),
    pin.note
  ])
  return `${table(rows, new Set([2]))}\n`
}

/** `pipeline pin`: artifacts that `gc` never drops. */
import { Clock, Effect, Option } from "effect"
import { Argument, Flag } from "effect/cli"
import { verb } from "../verb.ts"
import * as Pins from "../../ledger/Pins.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { short } from "../../pipeline/Digest.ts"
import { ago, bytes, plural } from "../../pipeline/units.ts"
import * as flags from "../flags.ts"
import { artifactsFor, attempt, openCache, sayNothingYet } from "../look.ts"
import { needMaintenance } from "../maintenance.ts"
import { styleOf, table } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("pin", {
  about: "Keep artifacts: `gc` never drops what is pinned",
  examples: {
    'pipeline pin 3f9a12c4 --note "weights of the paper"': "Keep an artifact",
    "pipeline pin 41": "Keep what run 41 came to",
    "pipeline pin --list": "What is pinned, since when and why",
    "pipeline pin --remove 3f9a12c4": "Let it go"
  },
  takes: {
    reference: flags
      .argument("ref", "An artifact; a run, for its targets; or an action (PIPELINE/LABEL), for its outputs")
      .pipe(Argument.optional),
    note: flags.text("note", "TEXT", "Why it is kept").pipe(Flag.withDefault("")),
    list: flags.toggle("list", "List the pins"),
    remove: flags.optionalText("remove", "REF", "Remove the pins of what REF names"),
    ...flags.ofCache
  },
  run: Effect.fn("pin")(function* (args) {
    const asked = [Option.isSome(args.reference), args.list, Option.isSome(args.remove)].filter(Boolean).length
    if (asked !== 1) {
      return yield* new ConfigError({
        message: asked === 0 ? "nothing to pin was named" : "only one of REF, --list and --remove may be given",
        advice: "pipeline pin REF, pipeline pin --list, or pipeline pin --remove REF"
      })
    }
    const now = yield* Clock.currentTimeMillis
    if (args.list) {
      const cache = yield* openCache(args.cache)
      if (cache === undefined) return sayNothingYet(args, [])
      const pins = yield* attempt(() => Pins.list(cache.database))
      return args.json ? printJson(pins) : print(listText(pins, now))
    }
    const { database } = yield* needMaintenance(flags.locationOf(args.cache), "write")
    const removing = Option.isSome(args.remove)
    const text = removing ? args.remove.value : Option.getOrThrow(args.reference)
    const artifacts = yield* artifactsFor(database, text)
    const ids = artifacts.map(({ id }) => id)
    if (removing) {
      const removed = yield* attempt(() => Pins.remove(database, ids))
      if (removed === 0)
        return yield* new ConfigError({ at: text, message: "is not pinned", advice: "see `pipeline pin --list`" })
      return args.json
        ? printJson({ removed: artifacts.map(({ digest }) => digest) })
        : print(`removed ${plural(removed, "pin")}`)
    }
    yield* attempt(() => Pins.add(database, ids, args.note, now))
    if (args.json) return printJson({ pinned: artifacts })
    for (const { digest, kind, state } of artifacts) {
      print(`pinned ${short(digest)} (${kind})`)
      if (state !== "present")
        process.stderr.write(
          `${styleOf(process.stderr).yellow("warning")} the bytes of ${short(digest)} are not in the store: the pin holds once a run has made them again\n`
        )
    }
  })
})

const listText = (pins: ReadonlyArray<Pins.Pin>, now: number): string => {
  if (pins.length === 0) return "nothing is pinned"
  const style = styleOf(stdout())
  const rows = pins.map(pin => [
    short(pin.digest),
    pin.kind,
    bytes(pin.bytes),
    pin.present ? "" : style.yellow("not in the store"),
    ago(now - pin.createdMs),
    pin.note
  ])
  return table(rows, new Set([2]))
}

/** Before a run of a profile with a bill: looks whether this machine has what it needs, and ends the program with all that lacks where it has not. */
import { Effect } from "effect"
import type { Bill } from "../pipeline/Bill.ts"
import { check, type Found, lacks, type Line } from "../preflight/check.ts"
import * as Cache from "../runner/Cache.ts"
import { Exit, exitCodes } from "./failure.ts"
import { attempt } from "./look.ts"
import { probe, type Probed } from "./probes.ts"
import { styleOf } from "./terminal/style.ts"
import { print } from "./terminal/terminal.ts"
import { preflightLines } from "./text/billText.ts"

interface Wanted extends Omit<Probed, "database"> {
  readonly bill: Bill
  readonly json: boolean
  /** Whether nothing is to be looked at. */
  readonly skip: boolean
}

export const preflight = Effect.fn("preflight")(function* (
  { bill, json, skip, ...wanted }: Wanted,
  look: (probed: Probed) => Effect.Effect<Found> = probe
) {
  if (skip) {
    if (json) print(JSON.stringify({ type: "preflight", skipped: true }))
    else say("warning: --no-preflight: not looked at whether this machine has what the profile needs")
    return
  }
  const cache = yield* attempt(() => Cache.openReadonly(wanted.location))
  // What the cache holds is asked while the lines are made.
  const lines = yield* Effect.ensuring(
    Effect.map(look({ ...wanted, database: cache?.database }), found => check(bill, found)),
    Effect.sync(() => cache?.database.close())
  )
  const missing = lacks(lines)
  if (json) print(JSON.stringify({ type: "preflight", lines, lacking: missing }))
  else say(...told(lines, missing))
  if (missing) return yield* Effect.fail(new Exit(exitCodes.usage))
})

const told = (lines: ReadonlyArray<Line>, missing: boolean): ReadonlyArray<string> => [
  ...preflightLines(lines, styleOf(process.stderr)),
  ...(missing ? ["nothing was started; --no-preflight goes on without looking"] : [])
]

const say = (...lines: ReadonlyArray<string>): void => void process.stderr.write(`${lines.join("\n")}\n`)

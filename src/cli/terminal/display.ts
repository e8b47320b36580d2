/** What a run shows while it is under way: a live tree on a terminal, one line per event elsewhere, or JSON. */
import { Effect } from "effect"
import type { RunEvent } from "../../runner/Events.ts"
import type { Slots } from "../../runner/Slots.ts"
import { lines } from "./lines.ts"
import { live } from "./live.ts"
import { redraws } from "./style.ts"
import { stdout } from "./terminal.ts"

export interface Display {
  /** `at`: when it happened, in milliseconds since 1970; now, unless said otherwise. */
  readonly emit: (event: RunEvent, at?: number) => Effect.Effect<void>
  /** Leaves the terminal as it should be. */
  readonly close: Effect.Effect<void>
}

export interface DisplayOptions {
  readonly json: boolean
  /** The cache's directory. */
  readonly cache: string
  /** Those of the run, where it is this process's own. */
  readonly slots?: Slots
}

export const displayFor = (options: DisplayOptions): Display => {
  if (options.json) return json
  // A terminal that cannot move its cursor is served with lines.
  return redraws(process.stderr) ? live(options) : lines(options)
}

const json: Display = {
  emit: event => Effect.sync(() => void stdout().write(`${JSON.stringify(event)}\n`)),
  close: Effect.void
}

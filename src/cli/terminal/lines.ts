/** The display for logs and pipes: one line for each event, on stderr. */
import { Effect } from "effect"
import { short } from "../../pipeline/Digest.ts"
import { duration } from "../../pipeline/units.ts"
import type { RunEvent } from "../../runner/Events.ts"
import type { Display, DisplayOptions } from "./display.ts"
import { ending, failure, heading, progressText } from "../text/eventText.ts"
import { Pace } from "./pace.ts"
import { type Style, styleOf } from "./style.ts"

/** Progress of a long action appears in a log this often, in milliseconds. */
const progressEveryMs = 10_000

export const lines = ({ cache }: DisplayOptions): Display => {
  const style = styleOf(process.stderr)
  /** When something was last said of an action. */
  const reported = new Map<string, number>()
  const paces = new Map<string, Pace>()
  return {
    emit: (event, at = Date.now()) =>
      Effect.sync(() => {
        if (event.type === "started") {
          reported.set(event.label, at)
          paces.delete(event.label)
        }
        if (event.type === "progress") {
          const pace = paces.get(event.label) ?? new Pace()
          paces.set(event.label, pace)
          pace.add(event.progress, at)
          if (at - (reported.get(event.label) ?? at) < progressEveryMs) return
          reported.set(event.label, at)
          process.stderr.write(`  ${event.label}  ${progressText(pace, at)}\n`)
          return
        }
        const text = lineOf(event, style, cache)
        if (text !== undefined) process.stderr.write(`${text}\n`)
      }),
    close: Effect.void
  }
}

/** The line for an event; undefined for events that a log does without. */
export const lineOf = (event: RunEvent, style: Style, cache: string): string | undefined => {
  switch (event.type) {
    case "run-started":
      return heading(event, style)
    case "reused":
      return `  ${style.green("✓")} ${event.label}  ${event.summary === "" ? "" : `${event.summary}  `}${style.dim(event.by === "cache" ? "cached" : "reused")}`
    case "waiting":
      return `  ${event.label}  waits for ${event.detail}`
    case "started": {
      const about = event.estimateMs === undefined ? "" : `, about ${duration(event.estimateMs)}`
      const again = event.remake === undefined ? "" : `  made again: ${event.remake}`
      return `  ${style.cyan("▸")} ${event.label}${event.attempt > 1 ? ` (attempt ${event.attempt})` : ""}${about}${again}`
    }
    case "finished":
      return `  ${style.green("✓")} ${event.label}  ${event.summary}  ${style.dim(duration(event.ms))}`
    case "failed":
      return `  ${failure(event, style, cache)}`
    case "skipped":
      return `  ${style.yellow("-")} ${event.label}  skipped: ${event.because}`
    case "diverged":
      return `  ${style.yellow("!")} ${event.label}  output ${event.port} is not reproducible: it was ${short(event.before)}, now it is ${short(event.after)}`
    case "damaged":
      return `  ${style.yellow("!")} ${event.label}  object ${short(event.digest)}${event.others === undefined ? "" : ` and ${event.others} more`} of ${event.producer} ${event.others === undefined ? "is missing or damaged; it is" : "are missing or damaged; they are"} made again`
    case "changed":
      return `  ${style.yellow("!")} ${event.label}  ${event.what} ${event.dropped ? "while it ran: its result is dropped, and it is planned anew" : "since the run was planned: it is planned anew"}`
    case "warning":
      return `  ${style.yellow("!")} ${event.message}`
    case "run-ended":
      return `  ${ending(event)}`
    case "progress":
      return undefined
  }
}

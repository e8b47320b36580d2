/** The events of a run in a file, so that other processes can follow it: one in a line, as JSON, with the time when it happened. */
import { appendFileSync, mkdirSync } from "node:fs"
import { dirname, join } from "node:path"
import type { RunId } from "../ledger/Runs.ts"
import { labelOf, type RunEvent } from "./Events.ts"

/** An event, and when it happened, in milliseconds since 1970. */
export interface Logged {
  readonly at: number
  readonly event: RunEvent
}

/** `logs` is the cache's directory of logs. */
export const eventFile = (logs: string, run: RunId): string => join(logs, String(run), "events.jsonl")

/** Lines are written this often, in milliseconds; of an action's progress there is at most one a second. */
const flushMs = 250
const progressMs = 1000

/** Writes what happens in a run. That it cannot be written is no reason for the work to end: then nobody can follow it. */
export const eventLog = (
  logs: string
): { readonly add: (event: RunEvent, at?: number) => void; readonly close: () => void } => {
  let file: string | undefined
  let pending: Array<string> = []
  /** When an action's progress was written last, and what came since. */
  const written = new Map<string, number>()
  const held = new Map<string, string>()
  const flush = (now = Date.now()): void => {
    for (const [label, line] of held) {
      if (now - written.get(label)! < progressMs) continue
      pending.push(line)
      held.delete(label)
      written.set(label, now)
    }
    if (file === undefined || pending.length === 0) return
    const text = pending.join("")
    pending = []
    try {
      appendFileSync(file, text)
    } catch {
      // A full disk, for one.
    }
  }
  const timer = setInterval(() => flush(), flushMs)
  timer.unref()
  return {
    add: (event, at = Date.now()) => {
      if (event.type === "run-started") {
        file = eventFile(logs, event.run)
        try {
          mkdirSync(dirname(file), { recursive: true })
        } catch {
          file = undefined
        }
      }
      const line = `${JSON.stringify({ at, event } satisfies Logged)}\n`
      const label = labelOf(event)
      if (label !== undefined) held.delete(label)
      if (event.type === "progress") {
        if (at - (written.get(event.label) ?? 0) < progressMs) return void held.set(event.label, line)
        written.set(event.label, at)
      }
      pending.push(line)
      if (event.type === "run-started") flush()
    },
    close: () => {
      clearInterval(timer)
      flush()
    }
  }
}

/** What a line says; undefined for one that was cut off, as by a full disk. */
export const readLogged = (line: string): Logged | undefined => {
  try {
    const { at, event } = JSON.parse(line) as Partial<Logged>
    return typeof at === "number" && typeof event?.type === "string" ? { at, event } : undefined
  } catch {
    return undefined
  }
}

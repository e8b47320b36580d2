/** The words for what happens during a run; both displays use them. */
import { join } from "node:path"
import { fromHere } from "../../pipeline/Origin.ts"
import { bytes, count, duration, plural } from "../../pipeline/units.ts"
import type { RunEvent } from "../../runner/Events.ts"
import type { Pace } from "../terminal/pace.ts"
import type { Style } from "../terminal/style.ts"
import { asTyped } from "../typed.ts"

type Of<T extends RunEvent["type"]> = Extract<RunEvent, { readonly type: T }>

export const heading = (event: Of<"run-started">, style: Style): string => {
  const toRun = event.toRun + event.unknown
  const parts = [`${plural(event.nodes, "action")}: ${count(event.reused)} cached`]
  if (toRun > 0)
    parts.push(
      event.unknown > 0
        ? `${count(event.toRun)} to run, ${count(event.unknown)} not known yet`
        : `${count(toRun)} to run`
    )
  if (toRun > 0 && event.estimateMs !== undefined) parts.push(`about ${duration(event.estimateMs)}`)
  return `${style.bold(event.pipeline)} · profile ${event.profile} · ${parts.join(", ")}`
}

export const ending = (event: Of<"run-ended">): string => {
  const parts = [
    `${count(event.executed)} executed`,
    `${count(event.reused)} reused${event.savedMs >= 100 ? ` (${duration(event.savedMs)} saved)` : ""}`
  ]
  if (event.failed > 0) parts.push(`${count(event.failed)} failed`)
  if (event.skipped > 0) parts.push(`${count(event.skipped)} skipped`)
  const how = event.status === "interrupted" ? "interrupted: " : ""
  return `${how}${parts.join(", ")} in ${duration(event.ms)}`
}

/** `cache` is the cache's directory: logs lie below it. */
export const failure = (event: Of<"failed">, style: Style, cache: string): string => {
  const head = `${style.red("✗")} ${event.label}  ${event.message}`
  const rest = [
    ...(event.advice === undefined ? [] : [asTyped(event.advice)]),
    ...(event.retryInMs === undefined
      ? []
      : [`attempt ${event.attempt} failed; trying again in ${duration(event.retryInMs)}`]),
    `log  ${fromHere(join(cache, event.log))}`
  ]
  return [head, ...rest.map(line => `    ${line}`)].join("\n")
}

/** What an action has done, how fast, and how long it will take; bytes in bytes, everything else in counts. */
export const progressText = (pace: Pace, now: number): string => {
  if (pace.progress === undefined) return ""
  const { done, note, total, unit } = pace.progress
  const { rate } = pace
  const left = pace.left(now)
  const show = unit === "B" ? bytes : count
  const parts = [
    `${show(done)}${total === undefined ? "" : `/${show(total)}`}${unit === undefined || unit === "B" ? "" : ` ${unit}`}`
  ]
  if (note !== undefined) parts.push(note)
  if (rate !== undefined) parts.push(`${unit === "B" ? bytes(Math.round(rate)) : count(Number(rate.toPrecision(3)))}/s`)
  if (left !== undefined && total !== undefined && done < total) parts.push(`${duration(left)} left`)
  return parts.join("   ")
}

export const bar = (done: number, total: number, cells: number): string => {
  const filled = total <= 0 ? cells : Math.max(0, Math.min(cells, Math.floor((done / total) * cells)))
  return "█".repeat(filled) + "░".repeat(cells - filled)
}

/** The live tree: finished actions scroll up, running ones stay at the bottom and are redrawn ten times a second. */
import { Effect } from "effect"
import { duration } from "../../pipeline/units.ts"
import type { RunEvent } from "../../runner/Events.ts"
import type { Display, DisplayOptions } from "./display.ts"
import { bar, progressText } from "../text/eventText.ts"
import { lineOf } from "./lines.ts"
import { Outlook } from "./outlook.ts"
import { Pace } from "./pace.ts"
import { styleOf, width } from "./style.ts"
import { greatest } from "../../pipeline/lists.ts"
import { control, withoutColours } from "./terminal.ts"

interface Running {
  readonly since: number
  readonly estimateMs: number | undefined
  readonly pace: Pace
}

const redrawMs = 100
/** Cells of a bar, and of a label, on a terminal that is wide enough for both. */
const barCells = 12
const labelCells = 36
/** Columns that the words behind a bar need. */
const wordsColumns = 30

export const live = ({ cache, slots }: DisplayOptions): Display => {
  const style = styleOf(process.stderr)
  const running = new Map<string, Running>()
  const waiting = new Map<string, string>()
  const outlook = new Outlook()
  let drawn = 0
  let widest = 0

  const erase = () => (drawn === 0 ? "" : `${control(`${drawn}A`)}${control("0J")}`)

  const fit = (line: string): string => {
    const columns = process.stderr.columns || 80
    return width(line) < columns ? line : `${withoutColours(line).slice(0, columns - 2)}…`
  }

  const body = (): ReadonlyArray<string> => {
    const now = Date.now()
    const rows = (process.stderr.rows || 24) - 3
    const columns = process.stderr.columns || 80
    widest = greatest(
      [...running.keys(), ...waiting.keys()].map(label => label.length),
      widest
    )
    const cells = columns < 2 * wordsColumns ? barCells / 2 : barCells
    const labelWidth = Math.min(widest, labelCells, Math.max(wordsColumns / 3, columns - cells - wordsColumns))
    const named = (label: string): string =>
      (label.length > labelWidth ? `${label.slice(0, labelWidth - 1)}…` : label).padEnd(labelWidth)
    const active = [...running].map(([label, { estimateMs, pace, since }]) => {
      const { progress } = pace
      const elapsed = now - since
      const name = named(label)
      if (progress !== undefined && progress.total !== undefined) {
        return `  ${style.cyan("▸")} ${name}  ${bar(progress.done, progress.total, cells)}  ${progressText(pace, now)}`
      }
      const left =
        estimateMs === undefined || estimateMs < elapsed ? "" : `   about ${duration(estimateMs - elapsed)} left`
      return `  ${style.cyan("▸")} ${name}  ${progress === undefined ? duration(elapsed) : progressText(pace, now)}${left}`
    })
    const blocked = [...waiting].map(([label, detail]) => `    ${named(label)}  ${style.dim(`waits for ${detail}`)}`)
    const shown = [...active, ...blocked].slice(0, Math.max(1, rows))
    return [
      ...shown,
      style.dim(`  ${[outlook.text(now), `${running.size} running`, ...machine(slots)].join(" · ")}`)
    ].map(fit)
  }

  const redraw = (scrolled?: string) => {
    const next = running.size + waiting.size === 0 ? [] : body()
    const text = erase() + (scrolled === undefined ? "" : `${scrolled}\n`) + next.map(line => `${line}\n`).join("")
    drawn = next.length
    process.stderr.write(text)
  }

  const timer = setInterval(redraw, redrawMs)
  timer.unref()
  process.stderr.write(control("?25l"))
  const restore = () => void process.stderr.write(control("?25h"))
  process.once("exit", restore)

  const update = (event: RunEvent, at: number): void => {
    outlook.add(event, at)
    switch (event.type) {
      case "progress": {
        running.get(event.label)?.pace.add(event.progress, at)
        return
      }
      case "started":
        waiting.delete(event.label)
        running.set(event.label, { since: at, estimateMs: event.estimateMs, pace: new Pace() })
        if (event.remake === undefined && event.attempt === 1) return redraw()
        break
      case "waiting":
        waiting.set(event.label, event.detail)
        return redraw()
      case "finished":
      case "failed":
      case "changed":
      case "reused":
        running.delete(event.label)
        waiting.delete(event.label)
        break
      case "run-ended":
        running.clear()
        waiting.clear()
        break
    }
    redraw(lineOf(event, style, cache))
  }

  return {
    emit: (event, at = Date.now()) => Effect.sync(() => update(event, at)),
    close: Effect.sync(() => {
      clearInterval(timer)
      running.clear()
      waiting.clear()
      redrawIfDrawn()
      process.removeListener("exit", restore)
      restore()
    })
  }

  function redrawIfDrawn() {
    if (drawn > 0) process.stderr.write(erase())
    drawn = 0
  }
}

/** How much of the machine is in use. */
const machine = (slots: DisplayOptions["slots"]): ReadonlyArray<string> => {
  if (slots === undefined) return []
  const { capacity, used } = slots
  return [
    `cpu ${used.cpus}/${capacity.cpus}`,
    ...(capacity.gpus.length === 0 ? [] : [`gpu ${used.gpus.length}/${capacity.gpus.length}`]),
    ...(slots.waiting === 0 ? [] : [`${slots.waiting} waiting for a slot`])
  ]
}

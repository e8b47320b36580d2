/** Progress of work that is measured in bytes: one line on a terminal, now and then a line in a log. On stderr. */
import { bytes, duration } from "../../pipeline/units.ts"
import { control } from "./terminal.ts"

export interface ByteProgress {
  readonly update: (done: { readonly count: number; readonly bytes: number }) => void
  readonly end: () => void
}

/** Milliseconds between two updates of the terminal, and between two lines of a log. */
const terminalMs = 200
const logMs = 10_000

/** Goes back to where the line begins, and clears it. */
const startOfLine = () => control("G") + control("K")

export const byteProgress = (options: { readonly total: number; readonly verb: string }): ByteProgress => {
  const { total, verb } = options
  const live = process.stderr.isTTY === true
  const started = Date.now()
  let last = started
  let shown = false
  return {
    update: done => {
      const now = Date.now()
      if (now - last < (live ? terminalMs : logMs)) return
      last = now
      const rate = done.bytes / Math.max(1, now - started)
      const left = rate > 0 && total > done.bytes ? `, ${duration((total - done.bytes) / rate)} left` : ""
      const text = `${verb} ${bytes(done.bytes)} of ${bytes(Math.max(total, done.bytes))}, ${bytes(Math.round(rate * 1000))}/s${left}`
      process.stderr.write(live ? `${startOfLine()}${text}` : `${text}\n`)
      shown = true
    },
    end: () => {
      if (live && shown) process.stderr.write(startOfLine())
    }
  }
}

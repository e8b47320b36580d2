/** Bills and preflights as people read them. */
import { type Bill, type Term, total } from "../../pipeline/Bill.ts"
import { bytes, duration } from "../../pipeline/units.ts"
import type { Line, Verdict } from "../../preflight/check.ts"
import { type Style, table } from "../terminal/style.ts"
import { asTyped } from "../typed.ts"

/** What is not known of a device on which nothing was measured. */
export const notMeasured = "not measured on this kind of device"

const hourMs = 3_600_000
/** Characters of a number of bytes, as in `53.8 GB`. */
const widest = 7

/** Sums, each with its terms below it. */
export const billLines = (bill: Bill, style: Style): ReadonlyArray<string> => {
  const sum = (what: string, terms: ReadonlyArray<Term>): ReadonlyArray<ReadonlyArray<string>> =>
    terms.length === 0
      ? []
      : [
          ["  ", bytes(total(terms)), style.bold(what)],
          ...terms.map(term => ["  ", "", `${bytes(term.bytes).padStart(widest)}  ${term.what}`].map(style.dim))
        ]
  const rows = [
    ...sum("to fetch", bill.fetch),
    ...sum("to keep on disk", bill.keep),
    ...sum("memory", bill.memory),
    ...sum("memory of the GPU", bill.gpuMemory)
  ]
  const time = bill.hours === undefined ? notMeasured : `about ${duration(bill.hours * hourMs)}`
  return [
    `what it needs, by formula (docs/hardware.md)${bill.engine === undefined ? "" : `, with --engine ${bill.engine}`}`,
    table(rows, new Set([1])),
    `  time: ${time}`
  ]
}

/** The bill as data: sums beside their terms. */
export const billJson = (bill: Bill) => ({
  ...bill,
  hours: bill.hours ?? null,
  totals: {
    fetch: total(bill.fetch),
    keep: total(bill.keep),
    memory: total(bill.memory),
    gpuMemory: total(bill.gpuMemory)
  }
})

/** A row for each thing that was looked at, and below it what to do. */
export const preflightLines = (lines: ReadonlyArray<Line>, style: Style): ReadonlyArray<string> => {
  const signs: { readonly [verdict in Verdict]: string } = {
    ok: style.green("ok"),
    lacking: style.red("lacking"),
    warning: style.yellow("warning"),
    unknown: style.yellow("unknown")
  }
  const rows = table([
    ["", "", style.dim("found"), style.dim("needed")],
    ...lines.map(({ found, name, needed, verdict }) => [signs[verdict], name, found, needed])
  ]).split("\n")
  return rows.flatMap((row, i) => {
    const advice = lines[i - 1]?.advice
    return advice === undefined ? [row] : [row, style.dim(`    → ${asTyped(advice)}`)]
  })
}

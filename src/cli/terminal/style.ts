/** Colours and signs of the terminal; plain text where colours are not wanted. */
import { count } from "../../pipeline/units.ts"
import { control, withoutColours } from "./terminal.ts"

const wantsColour = (stream: NodeJS.WriteStream): boolean =>
  process.env["NO_COLOR"] === undefined &&
  process.env["TERM"] !== "dumb" &&
  (process.env["FORCE_COLOR"] !== undefined || stream.isTTY === true)

/** Whether a stream is a terminal whose cursor can be moved back to draw over what stands there. */
export const redraws = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true && process.env["TERM"] !== "dumb" && process.env["CI"] === undefined

const painter =
  (enabled: boolean) =>
  (code: number) =>
  (text: string): string =>
    enabled ? `${control(`${code}m`)}${text}${control("0m")}` : text

export interface Style {
  /** Whether there are colours. */
  readonly coloured: boolean
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly red: (text: string) => string
  readonly green: (text: string) => string
  readonly yellow: (text: string) => string
  readonly cyan: (text: string) => string
}

export const styleOf = (stream: NodeJS.WriteStream): Style => {
  const coloured = wantsColour(stream)
  const paint = painter(coloured)
  return {
    coloured,
    bold: paint(1),
    dim: paint(2),
    red: paint(31),
    green: paint(32),
    yellow: paint(33),
    cyan: paint(36)
  }
}

/** A table with aligned columns, two spaces apart; `right` names the columns that hold numbers. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>, right: ReadonlySet<number> = new Set()): string => {
  const widths: Array<number> = []
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, width(cell))))
  return rows
    .map(row =>
      row
        .map((cell, i) => {
          const padding = " ".repeat(widths[i]! - width(cell))
          return right.has(i) ? padding + cell : i === row.length - 1 ? cell : cell + padding
        })
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** The first lines of a long list, and how many more there are; none for an empty one. */
export const first = <A>(
  all: ReadonlyArray<A>,
  most: number,
  render: (shown: ReadonlyArray<A>) => string,
  indent = "  "
): ReadonlyArray<string> =>
  all.length === 0
    ? []
    : [
        render(all.slice(0, most)),
        ...(all.length > most ? [`${indent}… and ${count(all.length - most)} more; --json lists all`] : [])
      ]

/** Columns that a text takes, without its colours. */
export const width = (text: string): number => [...withoutColours(text)].length

/** Rows of a query as text: a table, JSON or CSV. */
import type { Value } from "../../ledger/Database.ts"
import { styleOf, table } from "../terminal/style.ts"
import { stdout } from "../terminal/terminal.ts"

const plain = (value: Value): string | number | null =>
  value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value

/** Rows of any query as a table, JSON or CSV. Digests become hexadecimal digits; a table shows the first 12. */
export const formatRows = (
  columns: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<Value>>,
  format: "table" | "json" | "csv"
): ReadonlyArray<string> => {
  if (format === "json") {
    const named = rows.map(row => Object.fromEntries(columns.map((column, i) => [column, plain(row[i]!)])))
    return [JSON.stringify(named, null, 2)]
  }
  if (format === "csv")
    return csv(
      columns,
      rows.map(row => row.map(plain))
    )
  const style = styleOf(stdout())
  const numbers = new Set(columns.flatMap((_, i) => (rows.some(row => typeof row[i] === "number") ? [i] : [])))
  const body = rows.map(row => row.map(value => shown(plain(value))))
  return [table([columns.map(style.dim), ...body], numbers), ...(rows.length === 0 ? [style.dim("no rows")] : [])]
}

/** A cell of a table: one line, and a digest cut to the digits that other verbs accept. */
const shown = (value: string | number | null): string => {
  if (value === null) return ""
  const text = String(value).replaceAll(/\s*\n\s*/g, " ")
  return /^[0-9a-f]{64}$/.test(text) ? text.slice(0, 12) : text
}

/** RFC 4180, but with line feeds alone at the ends of lines. */
export const csv = (
  columns: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string | number | null>>
): ReadonlyArray<string> => {
  const cell = (value: string | number | null) => {
    const text = value === null ? "" : String(value)
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  return [columns, ...rows].map(row => row.map(cell).join(","))
}

/**
 * Writes measured figures into pages, from the reports under bench/results: `node scripts/docs/results.ts`. A page says what it wants between two comments:
 *
 *     <!-- figures: compare-50x.md, table "held-out text", columns "bound" "bits/byte" -->
 *     <!-- end of figures -->
 *
 * A table is named by the beginning of its first cell, columns by that of theirs (by default all); `section` in place of `table` is all below a heading.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = new URL("../../", import.meta.url)

/** Pages that have figures. */
export const pages = ["README.md", "docs/results.md", "docs/d3llm-27b.md", "docs/multi-block-decoder.md"] as const

const block =
  /(<!-- figures: ([\w.-]+), (table|section) "([^"]+)"((?:,? ?columns)?(?: "[^"]+")*) -->\n)[^]*?(<!-- end of figures -->)/g

const cellsOf = (line: string): ReadonlyArray<string> =>
  line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map(cell => cell.trim())

const tableNamed = (report: string, name: string, columns: ReadonlyArray<string>): string => {
  const named = report
    .split("\n\n")
    .filter(part => part.startsWith("|"))
    .map(part => part.trimEnd().split("\n").map(cellsOf))
    .filter(([head]) => head![0]!.startsWith(name))
  if (named.length === 0) throw new Error(`no table begins with "${name}"`)
  // Of several tables the first that has the columns.
  const places = named.map(([head]) => columns.map(column => head!.findIndex(cell => cell.startsWith(column))))
  const found = places.findIndex(all => !all.includes(-1))
  if (found < 0) {
    const missing = columns[places[0]!.indexOf(-1)]!
    throw new Error(`the table "${name}" has no column "${missing}", but ${named[0]![0]!.slice(1).join(", ")}`)
  }
  const lines = named[found]!
  const shown = columns.length === 0 ? lines : lines.map(cells => [0, ...places[found]!].map(column => cells[column]!))
  const table = shown.map(cells => `| ${cells.join(" | ")} |`).join("\n")
  return [table, ...footnotesOf(report, table)].join("\n\n")
}

/** The footnotes that a table of the report names, in one paragraph. */
const footnotesOf = (report: string, table: string): ReadonlyArray<string> => {
  const marks = new Set(table.match(/[⁰¹²³⁴⁵⁶⁷⁸⁹]+/g))
  const own = report.split("\n").filter(line => marks.has(/^[⁰¹²³⁴⁵⁶⁷⁸⁹]+(?= )/.exec(line)?.[0] ?? ""))
  return own.length === 0 ? [] : [own.join("; ")]
}

const sectionNamed = (report: string, name: string): string => {
  const [, found] = report.split(`\n## ${name}\n`)
  if (found === undefined) throw new Error(`there is no section "${name}"`)
  return found.split("\n## ")[0]!.trim()
}

/** A page with the figures of its reports. */
export const filled = (page: string, reportOf: (file: string) => string): string =>
  page.replaceAll(block, (_, begin: string, file: string, kind: string, name: string, columns: string, end: string) => {
    const report = reportOf(file)
    const wanted = [...columns.matchAll(/"([^"]+)"/g)].map(([, column]) => column!)
    return `${begin}\n${kind === "table" ? tableNamed(report, name, wanted) : sectionNamed(report, name)}\n\n${end}`
  })

/** A page as it should be. */
export const pageWithFigures = (page: (typeof pages)[number]): string =>
  filled(readFileSync(new URL(page, root), "utf8"), file =>
    readFileSync(new URL(`bench/results/${file}`, root), "utf8")
  )

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const page of pages) writeFileSync(new URL(page, root), pageWithFigures(page))

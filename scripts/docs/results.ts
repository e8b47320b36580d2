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
export const pages = ["README.md", "docs/results.md", "docs/d3llm-27b.md"] as const

const block =
  /(<!-- figures: ([\w.-]+), (table|section) "([^"]+)"((?:,? ?columns)?(?: "[^"]+")*) -->\n)[^]*?(<!-- end of figures -->)/g

const cellsOf = (line: string): ReadonlyArray<string> =>
  line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map(cell => cell.trim())

const tableNamed = (report: string, name: string, columns: ReadonlyArray<string>): string => {
  const table = report
    .split("\n\n")
    .find(part => part.startsWith("|") && cellsOf(part.split("\n")[0]!)[0]!.startsWith(name))
  if (table === undefined) throw new Error(`no table begins with "${name}"`)
  const lines = table.trimEnd().split("\n").map(cellsOf)
  const wanted = columns.map(column => {
    const found = lines[0]!.findIndex(cell => cell.startsWith(column))
    if (found < 0)
      throw new Error(`the table "${name}" has no column "${column}", but ${lines[0]!.slice(1).join(", ")}`)
    return found
  })
  const shown = columns.length === 0 ? lines : lines.map(cells => [0, ...wanted].map(column => cells[column]!))
  return shown.map(cells => `| ${cells.join(" | ")} |`).join("\n")
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

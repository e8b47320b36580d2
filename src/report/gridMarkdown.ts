/** The report on a grid as Markdown: what the terminal shows at the end of a run. */
import { count } from "../pipeline/units.ts"
import { aupDifferencesTable, aupTable, sharesTable } from "./answers.ts"
import type { Group } from "./column.ts"
import { fixed, interval, pValue, significant, signed } from "./format.ts"
import { type Cell, groupOf, groupsOf, mark } from "./grid.ts"
import { budgets, type GridReport, method } from "./gridReport.ts"
import { inline, markdownTable, plain } from "./markdown.ts"
import { tieText } from "./ties.ts"

/** Under what a group's numbers were measured. */
export const groupTitle = (group: Group, { budget, settings: { steps } }: GridReport): string => {
  switch (group) {
    case "equal compute":
      return `at equal compute${budget === undefined ? "" : `, ${significant(budget.teraflops)} TFLOP`}`
    case "generated text":
      return `generated text and its speed, ${count(steps)} denoising steps`
    case "decoding":
      return `decoding, ${count(steps)} denoising steps`
    default:
      return group
  }
}

const cellText = ({ footnote, interval: around, text }: Cell): string =>
  `${text}${around === undefined ? "" : ` ${around}`}${footnote === undefined ? "" : mark(footnote)}`

/** Columns and lines of the table of differences, baseline left out. */
const differencesTable = ({ comparisons }: GridReport) => ({
  columns: [
    "row",
    "beside",
    "Δ bound, nats/token",
    "95 % interval",
    "finds with 90 %",
    "better in",
    "p",
    "p, corrected"
  ],
  lines: comparisons.map(({ beside, difference, row }) =>
    difference === undefined
      ? [row.label, beside.label, "n/a", "n/a", "n/a", "n/a", "n/a", "n/a"]
      : [
          row.label,
          beside.label,
          signed(4)(difference.value),
          interval(signed(4), difference.low, difference.high),
          fixed(4)(difference.detectable),
          `${difference.better} of ${difference.documents}`,
          pValue(difference.p, difference.smallest),
          pValue(difference.adjusted, difference.smallest)
        ]
  )
})

/** Differences of the loss by the share of masks; undefined where none was measured. */
const ratiosTable = ({ comparisons }: GridReport) => {
  const found = comparisons.flatMap(({ beside, difference, row }) =>
    difference === undefined ? [] : [{ row, beside, byRatio: difference.byRatio }]
  )
  const ratios = [...new Set(found.flatMap(({ byRatio }) => byRatio.map(({ ratio }) => ratio)))].sort((a, b) => a - b)
  if (ratios.length === 0) return undefined
  return {
    columns: ["row", "beside", ...ratios.map(ratio => `Δ CE t=${ratio}`)],
    lines: found.map(({ beside, byRatio, row }) => [
      row.label,
      beside.label,
      ...ratios.map(ratio => {
        const own = byRatio.find(each => each.ratio === ratio)
        return own === undefined ? "n/a" : `${signed(3)(own.value)} ${interval(signed(3), own.low, own.high)}`
      })
    ])
  }
}

/** Texts beside those of the row that each is compared with. */
const textsTable = ({ settings: { steps }, textDifferences }: GridReport) => {
  if (textDifferences.length === 0) return undefined
  const shown = [
    ["teacherPerplexity", "× perplexity: teacher", fixed(2)],
    ["ngramPerplexity", "× n-gram", fixed(2)],
    ["repetition", "Δ repetition", signed(3)],
    ["entropy", "Δ entropy, nats", signed(2)]
  ] as const
  return {
    columns: [`texts, ${count(steps)} steps`, "beside", ...shown.map(([, label]) => label)],
    lines: textDifferences.map(({ beside, of, row }) => [
      row.label,
      beside.label,
      ...shown.map(([id, , format]) => {
        const { high, low, value } = of[id]!
        return `${format(value)} ${interval(format, low, high)}`
      })
    ])
  }
}

/** Each row beside that which it is compared with: bounds, losses by the share of masks, texts. */
export const comparisonTables = (report: GridReport) =>
  [differencesTable(report), ratiosTable(report), textsTable(report)].filter(table => table !== undefined)

/** What must be known to read the numbers of a row stands beside what they support. */
export const verdictText = ({ row: { note }, verdict }: GridReport["comparisons"][number]): string =>
  note === undefined ? verdict : `${verdict} (${note.charAt(0).toUpperCase()}${note.slice(1)}.)`

export const gridMarkdown = (report: GridReport): string => {
  const { comparisons, grid, rows, settings } = report
  const notes = rows.flatMap(({ label, note }) =>
    note === undefined ? [] : [`- **${inline(label)}**: ${inline(note)}`]
  )
  const blocks = [
    `# ${plain(settings.title)}`,
    ...settings.remarks.map(remark => `> **${plain(remark)}**`),
    ...groupsOf(grid).map(group => {
      const part = groupOf(grid, group)
      const lines = part.lines.map(({ cells, label }) => [label, ...cells.map(cellText)])
      const heads = part.columns.map(({ footnote, label }) => (footnote === undefined ? label : label + mark(footnote)))
      return markdownTable([groupTitle(group, report), ...heads], lines)
    }),
    grid.footnotes.map((text, i) => `${mark(i + 1)} ${plain(text)}`).join("\n"),
    ...answers(report),
    ...(comparisons.length === 0 ? [notes.join("\n")] : []),
    ...(comparisons.length === 0
      ? []
      : [
          "## What the data support",
          ...comparisonTables(report).map(({ columns, lines }) => markdownTable(columns, lines)),
          comparisons.map(each => `- **${inline(each.row.label)}**: ${inline(verdictText(each))}`).join("\n"),
          report.ties.map(tie => `- ${plain(tieText(tie))}`).join("\n")
        ]),
    ...budgets(report).map(plain),
    ...method(report).map(plain)
  ]
  return `${blocks.filter(block => block !== "").join("\n\n")}\n`
}

/** What is left of right answers as tokens are decoded more at a time, in short. */
const answers = ({ parallelism }: GridReport): ReadonlyArray<string> => {
  if (parallelism === undefined) return []
  const tables = [aupTable(parallelism), sharesTable(parallelism), aupDifferencesTable(parallelism, false)]
  return [
    "## Right answers by tokens per forward pass",
    ...tables.flatMap(({ columns, lines }) => (lines.length === 0 ? [] : [markdownTable(columns, lines)]))
  ]
}

/** Sizes of what was cached, in words. */
export const countsText = (counts: { readonly [name: string]: number }): string =>
  Object.entries(counts)
    .map(([name, value]) => `${count(value)} ${name}`)
    .join(", ")

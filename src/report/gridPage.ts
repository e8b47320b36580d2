/** The report on a grid as a self-contained page. */
import { short } from "../pipeline/Digest.ts"
import { bytes, count } from "../pipeline/units.ts"
import { answersTable, aupDifferencesTable, aupTable, sharesTable, type Table } from "./answers.ts"
import { teacherAlone } from "./parallelism.ts"
import { intervalChart, rowColour, rowMark } from "./charts.ts"
import type { Group } from "./column.ts"
import { answersFigures, budgetFigures, type Chart, speedFigures, textFigures, trainingFigures } from "./figures.ts"
import { type Cell, groupOf, groupsOf } from "./grid.ts"
import { comparisonTables, countsText, groupTitle, verdictText } from "./gridMarkdown.ts"
import { budgets, type GridReport, method } from "./gridReport.ts"
import { escape, htmlPage, htmlTable } from "./html.ts"
import { introduction } from "./introduction.ts"
import { panelsSection, samplesSection } from "./gridTexts.ts"
import { type GridRow, taskNames } from "./rows.ts"
import { tieText } from "./ties.ts"

const style = `.broken { color: var(--warn); font-weight: 600 }
.group { margin-top: 1.5rem } .group + .small { margin-top: 0.6rem } .small + .small { margin-top: 0 }
.text { border-left: 3px solid var(--line); padding-left: 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere; max-width: 48rem }
sup { line-height: 0 }
dt { font-weight: 600; margin-top: 0.6rem } dd { margin: 0; max-width: 48rem }
.panels { grid-template-columns: 1fr } .panels figure { max-width: 60rem } .panels img { width: 100%; background: #fff }
`

export const gridHtml = (report: GridReport): string => {
  const { rows, settings } = report
  const sections: ReadonlyArray<readonly [heading: string, body: string]> = [
    ["", settings.remarks.map(remark => `<p class="remark">${escape(remark)}</p>`).join("\n")],
    ["", opening(report)],
    ["What the data support", verdicts(report)],
    ["The grid", grid(report)],
    ["At equal labels and at equal compute", equal(report)],
    ["Training", figures(rows, trainingFigures(rows))],
    ["Texts by number of denoising steps", figures(rows, textFigures(rows, report.referenceTexts), truth)],
    ["Right answers by tokens per forward pass", answers(report)],
    ["Speed by number of denoising steps", figures(rows, speedFigures(rows))],
    ["Panels", panelsSection(rows)],
    ["Samples", samplesSection(rows, settings.steps)],
    ["What was cached", cached(report)],
    ["Where it comes from", origin(report)],
    ["How the numbers were made", method(report).map(paragraph).join("\n")]
  ]
  const body = sections
    .filter(([, content]) => content !== "")
    .map(([heading, content]) => `${heading === "" ? "" : `<h2>${escape(heading)}</h2>\n`}${content}`)
  return htmlPage({ title: settings.title, body: body.join("\n"), more: style })
}

/** What the page is about, before any verdict. */
const opening = (report: GridReport): string => {
  const { meanings, paragraphs } = introduction(report)
  const list = meanings.map(([name, meaning]) => `<dt>${escape(name)}</dt><dd>${escape(meaning)}</dd>`)
  return [
    ...paragraphs.map(paragraph),
    ...(list.length === 0
      ? []
      : [`<details><summary>What the figures mean</summary><dl>${list.join("\n")}</dl></details>`])
  ].join("\n")
}

const paragraph = (text: string): string => `<p>${escape(text)}</p>`

const key = (row: number): string => `<span class="key" style="color:${rowColour(row)}">${rowMark(row)}</span>`

const keyed = (rows: ReadonlyArray<GridRow>, row: GridRow): string => `${key(rows.indexOf(row))}${escape(row.label)}`

const verdicts = (report: GridReport): string => {
  const { comparisons, rows } = report
  if (comparisons.length === 0) return ""
  const entries = comparisons.flatMap(({ difference, row }) =>
    difference === undefined ? [] : [{ ...difference, name: row.label, row: rows.indexOf(row) }]
  )
  const label = "difference of the held-out bound from that of the row beside, nats per token"
  return [
    `<ul class="plain">${comparisons.map(each => `<li><strong>${keyed(rows, each.row)}</strong>: ${escape(verdictText(each))}</li>`).join("\n")}</ul>`,
    ...(entries.length === 0
      ? []
      : [
          `<figure>${intervalChart("differences", label, { label: "Δ bound, nats/token: left of 0 is better", entries })}</figure>`
        ]),
    ...comparisonTables(report).map(({ columns, lines }) => htmlTable(columns, lines)),
    report.ties.length === 0
      ? ""
      : `<ul class="plain">${report.ties.map(tie => `<li class="${tie.broken ? "broken" : "small"}">${escape(tieText(tie))}</li>`).join("\n")}</ul>`
  ].join("\n")
}

/** The tables of the groups that have columns, equal compute left out. */
const grid = (report: GridReport): string => {
  const { grid: whole, rows } = report
  return [
    ...groupsOf(whole).flatMap(group => (group === "equal compute" ? [] : [groupTable(report, group)])),
    ...rows.flatMap(row =>
      row.note === undefined ? [] : [`<p class="small">${keyed(rows, row)}: ${escape(row.note)}</p>`]
    )
  ].join("\n")
}

/** A group's table, with those footnotes that it needs. */
const groupTable = (report: GridReport, group: Group): string => {
  const { columns, footnotes, lines } = groupOf(report.grid, group)
  const id = (footnote: number) => `${group.replaceAll(" ", "-")}-${footnote}`
  const note = (footnote: number | undefined) =>
    footnote === undefined ? "" : `<sup><a href="#${id(footnote)}">${footnote}</a></sup>`
  const used = new Set([...columns, ...lines.flatMap(({ cells }) => cells)].flatMap(({ footnote }) => footnote ?? []))
  const cell = ({ footnote, interval, text }: Cell) =>
    `<td>${escape(text)}${note(footnote)}${interval === undefined ? "" : ` <span class="interval">${escape(interval)}</span>`}</td>`
  const body = lines.map(({ cells, label, row }) => {
    const first = row === undefined ? escape(label) : keyed(report.rows, row)
    return `<tr><td>${first}</td>${cells.map(cell).join("")}</tr>`
  })
  return [
    `<div class="wide group"><table>`,
    `<thead><tr><th>${escape(groupTitle(group, report))}</th>${columns.map(({ footnote, label }) => `<th>${escape(label)}${note(footnote)}</th>`).join("")}</tr></thead>`,
    `<tbody>\n${body.join("\n")}\n</tbody></table></div>`,
    ...[...used].sort((a, b) => a - b).map(n => `<p class="small" id="${id(n)}">${n} ${escape(footnotes[n - 1]!)}</p>`)
  ].join("\n")
}

const equal = (report: GridReport): string =>
  [
    ...budgets(report).map(paragraph),
    ...(report.budget === undefined ? [] : [groupTable(report, "equal compute")]),
    figures(report.rows, budgetFigures(report.rows))
  ].join("\n")

const answers = ({ parallelism, rows, teacher }: GridReport): string => {
  if (parallelism === undefined) return ""
  const key = [
    ...(teacher.length === 0 ? [] : [`┄ ${teacherAlone}`]),
    "─ in numbers of steps",
    ...(parallelism.shares.some(({ of }) => "threshold" in of) ? ["┈ by thresholds"] : [])
  ]
  const table = ({ columns, lines }: Table) => (lines.length === 0 ? "" : htmlTable(columns, lines))
  const details = [
    answersTable(parallelism),
    ...(parallelism.tasks.length > 1 ? [aupDifferencesTable(parallelism, true)] : [])
  ]
  return [
    table(aupTable(parallelism)),
    table(sharesTable(parallelism)),
    table(aupDifferencesTable(parallelism, false)),
    figures(rows, answersFigures(parallelism), key.map(each => `<li>${escape(each)}</li>`).join("")),
    `<details><summary>Each task and operating point</summary>${details.map(table).join("\n")}</details>`
  ].join("\n")
}

const truth = "<li>┄ the held-out text itself</li>"

/** Charts below a legend of the rows that are in one of them; `more` are entries of it that no row has. */
const figures = (rows: ReadonlyArray<GridRow>, all: ReadonlyArray<Chart>, more = ""): string =>
  all.length === 0
    ? ""
    : `<ul class="plain legend">${rows
        .filter((_, i) => all.some(chart => chart.rows.includes(i)))
        .map(row => `<li>${keyed(rows, row)}</li>`)
        .join("")}${more}</ul>
<div class="figures">
${all.map(({ caption, svg }) => `<figure><figcaption>${escape(caption)}</figcaption>${svg}</figure>`).join("\n")}
</div>`

const cached = ({ cached: sets }: GridReport): string =>
  sets.length === 0
    ? ""
    : htmlTable(
        ["", "kind", "content", "items", "size", "digest"],
        sets.map(set => [
          set.name,
          set.kind,
          countsText(set.counts),
          count(set.items),
          bytes(set.bytes),
          short(set.digest)
        ])
      )

const origin = ({ rows, settings }: GridReport): string => {
  const runs = rows.flatMap(row => row.runs.map(run => ({ row, run })))
  const digest = (given: { readonly digest: string } | undefined) => (given === undefined ? "" : short(given.digest))
  const example = runs.flatMap(({ run }) => run.likelihood ?? run.texts ?? run.benchmark ?? run.model ?? [])[0]
  const tasks = taskNames(rows)
  return [
    `<p>Made by <code>${escape(settings.command)}</code>.</p>`,
    ...(example === undefined
      ? []
      : [
          `<p>A cell comes from a measurement, the model or the log of its row. <code>pipeline lineage ${short(example.digest)}</code>, with a digest of this table, leads back to weights and documents; <code>pipeline show ${short(example.digest)}</code> to the action that made it, with its parameters and code.</p>`
        ]),
    htmlTable(
      [
        "row",
        "weights",
        "likelihood",
        "texts",
        ...tasks.map(name => `task ${name}`),
        "benchmark",
        "log of the training"
      ],
      runs.map(({ row, run }) => [
        row.runs.length === 1 ? row.label : `${row.label}, ${run.name}`,
        digest(run.model),
        digest(run.likelihood),
        digest(run.texts),
        ...tasks.map(name => digest(run.tasks.find(({ content }) => content.task === name))),
        digest(run.benchmark),
        digest(run.log)
      ])
    )
  ].join("\n")
}

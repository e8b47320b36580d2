/** The report on a grid as a self-contained page. */
import { short } from "../pipeline/Digest.ts"
import { bytes, count } from "../pipeline/units.ts"
import { intervalChart, rowColour, rowMark } from "./charts.ts"
import { type Figure, speedFigures, textFigures, trainingFigures } from "./figures.ts"
import { groupOf, groupsOf } from "./grid.ts"
import { countsText, differencesTable, groupTitle } from "./gridMarkdown.ts"
import { type GridReport, method } from "./gridReport.ts"
import { escape, htmlPage, htmlTable } from "./html.ts"
import { panelsSection, samplesSection } from "./gridTexts.ts"
import type { GridRow } from "./rows.ts"
import { tieText } from "./ties.ts"

const style = `.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1.5rem }
figure { margin: 0; max-width: 40rem } figure + .wide { margin-top: 1rem } figcaption { font-size: 0.9rem; font-weight: 600 }
.key { padding-right: 0.4em }
.plain { list-style: none; padding: 0 } .plain li { margin-bottom: 0.5rem }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; font-size: 0.9rem }
.broken { color: var(--warn); font-weight: 600 }
.grid thead tr:first-child th + th { text-align: left; border-left: 1px solid var(--line) }
.text { border-left: 3px solid var(--line); padding-left: 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere; max-width: 48rem }
.prompt { color: var(--text) }
.panels img { width: 100%; background: #fff }
`

export const gridHtml = (report: GridReport): string => {
  const { baseline, rows, settings } = report
  const sections: ReadonlyArray<readonly [heading: string, body: string]> = [
    ["", settings.remarks.map(paragraph).join("\n")],
    [`What the data support, beside ${baseline.label}`, verdicts(report)],
    ["The grid", grid(report)],
    ["Training", figures(rows, trainingFigures(rows))],
    ["Texts by number of denoising steps", figures(rows, textFigures(rows, report.reference))],
    ["Speed by number of denoising steps", figures(rows, speedFigures(rows))],
    ["Panels", panelsSection(rows)],
    ["Samples", samplesSection(rows, settings.textSteps)],
    ["What was cached", cached(report)],
    ["Where it comes from", origin(report)],
    ["How the numbers were made", method(report).map(paragraph).join("\n")]
  ]
  const body = sections
    .filter(([, content]) => content !== "")
    .map(([heading, content]) => `${heading === "" ? "" : `<h2>${escape(heading)}</h2>\n`}${content}`)
  return htmlPage({ title: settings.title, body: body.join("\n"), more: style })
}

const paragraph = (text: string): string => `<p>${escape(text)}</p>`

const key = (row: number): string => `<span class="key" style="color:${rowColour(row)}">${rowMark(row)}</span>`

const keyed = (rows: ReadonlyArray<GridRow>, row: GridRow): string => `${key(rows.indexOf(row))}${escape(row.label)}`

const verdicts = (report: GridReport): string => {
  const { baseline, comparisons, rows } = report
  if (comparisons.length === 0) return ""
  const entries = comparisons.flatMap(({ difference, row }) =>
    difference === undefined ? [] : [{ ...difference, name: row.label, row: rows.indexOf(row) }]
  )
  const label = `difference of the held-out bound from ${baseline.label}, nats per token`
  const table = differencesTable(report)
  return [
    `<ul class="plain">${comparisons.map(({ row, verdict }) => `<li><strong>${keyed(rows, row)}</strong>: ${escape(verdict)}</li>`).join("\n")}</ul>`,
    ...(entries.length === 0
      ? []
      : [
          `<figure>${intervalChart("differences", label, { label: "Δ bound, nats/token: left of 0 is better", entries })}</figure>`,
          htmlTable(table.columns, table.lines)
        ]),
    ...report.ties.map(tie => `<p${tie.broken ? ' class="broken"' : ""}>${escape(tieText(tie))}</p>`)
  ].join("\n")
}

const grid = ({ grid: whole, rows, settings }: GridReport): string => {
  const parts = groupsOf(whole).map(group => ({ group, columns: groupOf(whole, group).columns }))
  const note = (footnote: number | undefined) =>
    footnote === undefined ? "" : `<sup><a href="#footnote-${footnote}">${footnote}</a></sup>`
  const lines = whole.lines.map(({ cells, label, row }) => {
    const first = row === undefined ? escape(label) : keyed(rows, row)
    return `<tr><td>${first}</td>${cells.map(({ footnote, text }) => `<td>${escape(text)}${note(footnote)}</td>`).join("")}</tr>`
  })
  return [
    `<div class="wide grid"><table>`,
    `<thead><tr><th></th>${parts.map(({ columns, group }) => `<th colspan="${columns.length}">${escape(groupTitle(group, settings))}</th>`).join("")}</tr>`,
    `<tr><th>row</th>${whole.columns.map(({ label }) => `<th>${escape(label)}</th>`).join("")}</tr></thead>`,
    `<tbody>\n${lines.join("\n")}\n</tbody></table></div>`,
    ...whole.footnotes.map((text, i) => `<p class="small" id="footnote-${i + 1}">${i + 1} ${escape(text)}</p>`),
    ...rows.flatMap(row =>
      row.note === undefined ? [] : [`<p class="small">${keyed(rows, row)}: ${escape(row.note)}</p>`]
    )
  ].join("\n")
}

const figures = (rows: ReadonlyArray<GridRow>, all: ReadonlyArray<Figure>): string =>
  all.length === 0
    ? ""
    : `<ul class="plain legend">${rows.map(row => `<li>${keyed(rows, row)}</li>`).join("")}</ul>
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
  const example = runs.flatMap(({ run }) => run.evaluation ?? run.benchmark ?? run.model ?? [])[0]
  return [
    `<p>Made by <code>${escape(settings.command)}</code>.</p>`,
    ...(example === undefined
      ? []
      : [
          `<p>A cell comes from the evaluation, the benchmark, the model or the log of its row: <code>pipeline lineage ${short(example.digest)}</code>, with a digest of this table, leads back to weights, configuration, code and documents.</p>`
        ]),
    htmlTable(
      ["row", "weights", "evaluation", "benchmark", "log of the training"],
      runs.map(({ row, run }) => [
        row.runs.length === 1 ? row.label : `${row.label}, ${run.name}`,
        digest(run.model),
        digest(run.evaluation),
        digest(run.benchmark),
        digest(run.log)
      ])
    )
  ].join("\n")
}

/** The report on benchmarks as a self-contained page. */
import { short } from "../pipeline/Digest.ts"
import { rowColour, rowMark } from "./charts.ts"
import { answersChart, answersLine, type Chart } from "./figures.ts"
import { escape, htmlPage, htmlTable } from "./html.ts"
import { type Curve, method, notRun, remarks, type SuiteReport, written } from "./suiteReport.ts"
import { problemsSection } from "./suiteSamples.ts"
import { curvesTable, scoresTables, settingsTable } from "./suiteTables.ts"
import type { Table } from "./answers.ts"

const style = `.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); gap: 0.5rem 1.5rem }
.sides > div, .answer { min-width: 0 } .sides h4 { margin: 0.5rem 0 } .answer p { margin: 0 }
pre { border-left: 3px solid var(--line); padding-left: 0.8rem; margin: 0.2rem 0 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.85rem }
.scores .wide { margin-bottom: 1.5rem } .scores th:first-child { min-width: 9rem }
.problem { margin-left: 0.8rem }
`

export const suiteHtml = (report: SuiteReport): string => {
  const sections: ReadonlyArray<readonly [heading: string, body: string]> = [
    [
      "",
      remarks(report)
        .map(remark => `<p class="remark">${escape(remark)}</p>`)
        .join("\n")
    ],
    ["Scores", `<div class="scores">${scoresTables(report).map(scoresHtml).join("\n")}</div>`],
    ["Right answers by tokens per forward pass", curves(report)],
    ["Problems and answers", written(report).map(problemsSection).join("\n")],
    ["How it was asked", protocols(report)],
    ["What was not run", list(notRun(report))],
    ["Where it comes from", origin(report)],
    ["How the numbers were made", method(report).map(paragraph).join("\n")]
  ]
  const body = sections
    .filter(([, content]) => content !== "")
    .map(([heading, content]) => `${heading === "" ? "" : `<h2>${escape(heading)}</h2>\n`}${content}`)
  return htmlPage({ title: report.settings.title, body: body.join("\n"), more: style })
}

const paragraph = (text: string): string => `<p>${escape(text)}</p>`

const tableHtml = ({ columns, lines }: Table): string => htmlTable(columns, lines)

/** Intervals below their numbers, so that narrow screens show more of them. */
const scoresHtml = (table: Table): string =>
  tableHtml(table).replaceAll(/<td>([^<[]+) (\[[^<\]]*\])<\/td>/g, '<td>$1 <span class="interval">$2</span></td>')

const list = (texts: ReadonlyArray<string>): string =>
  texts.length === 0 ? "" : `<ul>${texts.map(text => `<li>${escape(text)}</li>`).join("\n")}</ul>`

/** AUP, and a chart for each benchmark that was decoded in several ways. */
const curves = (report: SuiteReport): string => {
  const table = curvesTable(report)
  if (table === undefined) return ""
  const labels = [
    ...new Set(
      written(report).flatMap(({ curves: own }) =>
        own.flatMap(({ kind, label }) => (kind === "diffusion" ? [label] : []))
      )
    )
  ]
  const charts = written(report).flatMap(({ curves: own, name }, i): ReadonlyArray<Chart> => {
    if (own.flatMap(({ points }) => points).length < 2) return []
    const of = (kind: Curve["kind"]) => own.filter(curve => curve.kind === kind)
    return [
      answersChart(
        `suite-${i}`,
        `${name}: pass@1, per cent`,
        of("diffusion").map(({ label, points }) => answersLine(labels.indexOf(label), points)),
        {
          levels: of("token by token").flatMap(({ points }) => points),
          marked: of("drafts").flatMap(({ points }) => points)
        }
      )
    ]
  })
  const has = (kind: Curve["kind"]) => written(report).some(({ curves: own }) => own.some(each => each.kind === kind))
  const key = [
    ...labels.map(
      (label, row) =>
        `<li><span class="key" style="color:${rowColour(row)}">${rowMark(row)}</span>${escape(label)}</li>`
    ),
    ...(has("token by token") ? ["<li>┄ token by token</li>"] : []),
    ...(has("drafts") ? ["<li>○ token by token, with drafts</li>"] : [])
  ]
  return `${tableHtml(table)}
<ul class="plain legend">${key.join("")}</ul>
<div class="figures">
${charts.map(({ caption, svg }) => `<figure><figcaption>${escape(caption)}</figcaption>${svg}</figure>`).join("\n")}
</div>`
}

/** Whose protocol each benchmark was asked by, and the settings by name. */
const protocols = (report: SuiteReport): string =>
  report.entries
    .map(entry => {
      const about = "chosen" in entry ? entry.chosen.about : entry.decodings[0]?.result.about
      return `<h3>${escape(entry.name)}</h3>
<p>${escape(about ?? "")}</p>
${
  "chosen" in entry
    ? `<p class="small">${entry.chosen.draws} draws of masks for each choice; weights ${short(entry.chosen.weights)}</p>`
    : tableHtml(settingsTable(entry))
}`
    })
    .join("\n")

const origin = (report: SuiteReport): string => {
  const [example] = report.entries.flatMap(entry =>
    "chosen" in entry ? [entry.digest] : entry.decodings.map(({ digest }) => digest)
  )
  return [
    `<p>Made by <code>${escape(report.settings.command)}</code>.</p>`,
    ...(example === undefined
      ? []
      : [
          `<p>The tables above name the score of each decoding. <code>pipeline lineage ${short(example)}</code>, with one of these digests, leads back to weights and data; <code>pipeline show ${short(example)}</code> to the action that made it, with its parameters and code.</p>`
        ])
  ].join("\n")
}

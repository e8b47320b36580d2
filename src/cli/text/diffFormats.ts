/** Differences between runs as text, Markdown and JSON. */
import { type DiffRow, type RunDiff, type Section, sections } from "../../ledger/Diff.ts"
import { count, duration, sixDigits } from "../../pipeline/units.ts"
import { type Style, table } from "../terminal/style.ts"
import { byWorth } from "./metricOrder.ts"
import { markdownCell } from "../../report/markdown.ts"

/** Rows printed of a section, unless all are asked for. */
const printed = 15
/** Columns of one value on the terminal. */
const valueWidth = 40
/** Labels named in one row. */
const namedLabels = 3

const titles: { readonly [section in Section]: string } = {
  stages: "stages",
  parameters: "parameters",
  code: "code",
  inputs: "inputs",
  metrics: "metrics",
  artifacts: "artifacts"
}

/** `train/a`, or `train/{a, b and 2 more}` where several uses of a stage differ in the same way. */
const label = ({ labels }: DiffRow): string => {
  if (labels.length === 1) return labels[0]!
  const stage = labels[0]!.split("/")[0]!
  const names = labels.map(each => (each === stage ? stage : each.slice(stage.length + 1)))
  return `${stage}/{${
    names.length <= namedLabels
      ? names.join(", ")
      : `${names.slice(0, namedLabels - 1).join(", ")} and ${count(names.length - namedLabels + 1)} more`
  }}`
}

const named = (row: DiffRow): string =>
  row.name === ""
    ? label(row)
    : row.section === "parameters" || row.section === "metrics"
      ? `${label(row)}.${row.name}`
      : `${label(row)}: ${row.name}`

const clip = (text: string): string => (text.length > valueWidth ? `${text.slice(0, valueWidth - 1)}…` : text)

/** Six digits: more are noise to a reader, and --format json has all. */
const valueText = (value: string | number | undefined): string =>
  value === undefined ? "absent" : typeof value === "number" ? sixDigits(value) : value

/** What is known of each run as a whole. */
const heads = ({ durations, runs }: RunDiff): ReadonlyArray<readonly [string, ReadonlyArray<string>]> => {
  const all: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["pipeline", runs.map(run => run.pipeline)],
    ["profile", runs.map(run => run.profile)],
    ["program", runs.map(run => run.program)],
    ["host", runs.map(run => run.host)],
    ["command", runs.map(run => run.command)],
    ["status", runs.map(run => run.status)],
    ["duration", durations.map(ms => (ms === undefined ? "" : duration(ms)))],
    ["executed", runs.map(run => count(run.executed))],
    ["reused", runs.map(run => count(run.reused))],
    ["failed", runs.map(run => count(run.failed))]
  ]
  return all.filter(([, values]) => values.some(value => value !== values[0]))
}

/** `+0.012 (+3.1%)` between the first and the last run. */
const change = ({ section, values }: DiffRow): string => {
  const [first, last] = [values[0], values.at(-1)]
  if (section !== "metrics" || typeof first !== "number" || typeof last !== "number") return ""
  const by = last - first
  if (by === 0) return ""
  const sign = by >= 0 ? "+" : ""
  return `${sign}${Number(by.toPrecision(3))}${first === 0 ? "" : ` (${sign}${((100 * by) / Math.abs(first)).toFixed(1)}%)`}`
}

/** The differences of a section; of metrics, those of quality first. */
const rowsOf = ({ rows }: RunDiff, section: Section): ReadonlyArray<DiffRow> => {
  const own = rows.filter(row => row.section === section)
  return section === "metrics" ? byWorth(own, ({ name }) => name) : own
}

const nothing = "the runs came to the same: same parameters, code, inputs, metrics and artifacts"

export const diffText = (diff: RunDiff, style: Style, all = false): ReadonlyArray<string> => {
  const most = all ? diff.rows.length : printed
  const names = diff.runs.map(run => `run ${run.id}`)
  const lines = [
    table([["", ...names.map(style.bold)], ...heads(diff).map(([name, values]) => [`  ${name}`, ...values.map(clip)])])
  ]
  for (const section of sections) {
    const rows = rowsOf(diff, section)
    if (rows.length === 0) continue
    lines.push(
      style.bold(titles[section]),
      table(
        rows
          .slice(0, most)
          .map(row => [`  ${named(row)}`, ...row.values.map(value => clip(valueText(value))), style.dim(change(row))])
      )
    )
    if (rows.length > most) lines.push(`  … and ${count(rows.length - most)} more; --all prints them`)
  }
  if (diff.rows.length === 0) lines.push(nothing)
  return lines
}

const code = (text: string): string =>
  text === ""
    ? ""
    : `\`${text
        .replaceAll("`", "'")
        .replaceAll("|", "\\|")
        .replaceAll(/\s*\n\s*/g, " ")}\``

export const diffMarkdown = (diff: RunDiff, all = false): ReadonlyArray<string> => {
  const most = all ? diff.rows.length : printed
  const names = diff.runs.map(run => `run ${run.id}`)
  const rule = (columns: ReadonlyArray<string>) => `|${columns.map(() => " --- |").join("")}`
  const row = (columns: ReadonlyArray<string>) => `| ${columns.join(" | ")} |`
  const lines = [
    `### ${names.join(" vs ")} of ${markdownCell([...new Set(diff.runs.map(run => run.pipeline))].join(", "))}`,
    ""
  ]
  const about = heads(diff).filter(([name]) => name !== "pipeline")
  if (about.length > 0) {
    const header = ["", ...names]
    lines.push(
      row(header),
      rule(header),
      ...about.map(([name, values]) => row([name, ...values.map(markdownCell)])),
      ""
    )
  }
  for (const section of sections) {
    const rows = rowsOf(diff, section)
    if (rows.length === 0) continue
    const metrics = section === "metrics"
    const header = [section === "stages" ? "stage" : titles[section], ...names, ...(metrics ? ["change"] : [])]
    const body = rows
      .slice(0, most)
      .map(each =>
        row([
          code(named(each)),
          ...each.values.map(value => markdownCell(clip(valueText(value)))),
          ...(metrics ? [change(each)] : [])
        ])
      )
    const more = rows.length > most ? ["", `… and ${count(rows.length - most)} more`] : []
    lines.push(`#### ${titles[section]}`, "", row(header), rule(header), ...body, ...more, "")
  }
  if (diff.rows.length === 0) lines.push(`${nothing[0]!.toUpperCase()}${nothing.slice(1)}.`, "")
  return lines.slice(0, -1)
}

export const diffJson = ({ durations, rows, runs }: RunDiff) => ({
  runs: runs.map((run, i) => ({
    run: run.id,
    pipeline: run.pipeline,
    profile: run.profile,
    status: run.status,
    command: run.command,
    program: run.program,
    ms: durations[i] ?? null,
    executed: run.executed,
    reused: run.reused,
    failed: run.failed
  })),
  differences: rows.map(({ labels, name, section, values }) => ({
    section,
    labels,
    name,
    values: values.map(value => value ?? null)
  }))
})

/** The report on benchmarks as Markdown: what the terminal shows at the end of a run. */
import { rowMark } from "./charts.ts"
import { markdownTable, plain } from "./markdown.ts"
import { method, notRun, remarks, type SuiteReport, written } from "./suiteReport.ts"
import { curvesTable, scoresTables } from "./suiteTables.ts"
import { textPlot } from "./textPlot.ts"

export const suiteMarkdown = (report: SuiteReport): string => {
  const curves = curvesTable(report)
  const missing = notRun(report)
  const blocks = [
    `# ${plain(report.settings.title)}`,
    ...remarks(report).map(remark => `> **${plain(remark)}**`),
    ...scoresTables(report).map(({ columns, lines }) => markdownTable(columns, lines)),
    ...(curves === undefined
      ? []
      : ["## Right answers by tokens per forward pass", markdownTable(curves.columns, curves.lines), ...plots(report)]),
    ...(missing.length === 0 ? [] : ["## What was not run", missing.map(text => `- ${plain(text)}`).join("\n")]),
    ...method(report).map(plain)
  ]
  return `${blocks.join("\n\n")}\n`
}

/** A plot for each benchmark that was decoded in several ways. */
const plots = (report: SuiteReport): ReadonlyArray<string> =>
  written(report).flatMap(({ curves, name }) => {
    if (curves.flatMap(({ points }) => points).length < 2) return []
    const series = curves.map(({ points }, i) => ({
      mark: rowMark(i),
      points: points.map(({ rate, share }) => [rate.value, 100 * share.value] as const)
    }))
    const legend = curves.map(({ label }, i) => `${rowMark(i)} ${label}`).join("   ")
    return [
      `${plain(name)}, pass@1:`,
      ["```text", textPlot(series, "tokens per forward pass"), "", legend, "```"].join("\n")
    ]
  })

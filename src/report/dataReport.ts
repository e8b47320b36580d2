/** The report on a pipeline's data, as Markdown for the terminal and as a self-contained page. */
import { count } from "../pipeline/units.ts"
import { type Bin, histogram, type LengthSummary } from "./lengths.ts"

export interface CorpusReport {
  readonly name: string
  /** Short digest of the token sequences. */
  readonly digest: string
  readonly documents: number
  readonly tokens: number
  /** Tokens that are learnt. */
  readonly learnt: number
  readonly maxSeqLen: number
  readonly vocabSize: number
  /** Of every sequence, in tokens. */
  readonly lengths: ReadonlyArray<number>
  readonly sequences: LengthSummary
  readonly perDocument: LengthSummary
}

const columns = [
  "data",
  "documents",
  "sequences",
  "tokens",
  "tokens/document",
  "sequence length",
  "max",
  "vocabulary",
  "digest"
] as const

const cells = (corpus: CorpusReport): ReadonlyArray<string> => [
  corpus.name,
  count(corpus.documents),
  count(corpus.sequences.count),
  count(corpus.tokens),
  `${count(Math.round(corpus.perDocument.median))} (${count(corpus.perDocument.shortest)}–${count(corpus.perDocument.longest)})`,
  `${count(Math.round(corpus.sequences.median))} (${count(corpus.sequences.shortest)}–${count(corpus.sequences.longest)})`,
  count(corpus.maxSeqLen),
  count(corpus.vocabSize),
  corpus.digest
]

const footnote = "Lengths in tokens: median (shortest–longest)."

export const dataReportMarkdown = (title: string, corpora: ReadonlyArray<CorpusReport>): string => {
  const rows = [columns, ...corpora.map(cells)]
  const widths = columns.map((_, i) => Math.max(...rows.map(row => [...row[i]!].length)))
  const line = (row: ReadonlyArray<string>) =>
    `| ${row.map((cell, i) => cell + " ".repeat(widths[i]! - [...cell].length)).join(" | ")} |`
  return [
    `# ${title}`,
    "",
    line(columns),
    `| ${widths.map(width => "-".repeat(width)).join(" | ")} |`,
    ...corpora.map(corpus => line(cells(corpus))),
    "",
    footnote,
    ""
  ].join("\n")
}

const escape = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

const chart = { width: 560, height: 120, bins: 28 } as const

/** Bars of a histogram, the x axis in tokens. */
const bars = (bins: ReadonlyArray<Bin>): string => {
  const highest = Math.max(1, ...bins.map(bin => bin.count))
  const width = chart.width / bins.length
  const rects = bins.map((bin, i) => {
    const height = (bin.count / highest) * chart.height
    return `<rect x="${(i * width).toFixed(1)}" y="${(chart.height - height).toFixed(1)}" width="${Math.max(1, width - 2).toFixed(1)}" height="${height.toFixed(1)}"><title>${bin.from}–${bin.to} tokens: ${bin.count}</title></rect>`
  })
  const last = bins.at(-1)!
  return `<svg viewBox="0 0 ${chart.width} ${chart.height + 18}" role="img" aria-label="histogram of sequence lengths">${rects.join("")}<text x="0" y="${chart.height + 14}">0</text><text x="${chart.width}" y="${chart.height + 14}" text-anchor="end">${count(last.to)} tokens</text></svg>`
}

export const dataReportHtml = (title: string, corpora: ReadonlyArray<CorpusReport>): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(title)}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem }
th, td { text-align: right; padding: 0.3rem 0.6rem; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
svg { width: 100%; max-width: 35rem; display: block }
rect { fill: #3b6ea8 } text { font-size: 12px; fill: #555 }
code { font-size: 0.85em }
</style>
<h1>${escape(title)}</h1>
<table>
<tr>${columns.map(column => `<th>${escape(column)}</th>`).join("")}</tr>
${corpora
  .map(
    corpus =>
      `<tr>${cells(corpus)
        .map(cell => `<td>${escape(cell)}</td>`)
        .join("")}</tr>`
  )
  .join("\n")}
</table>
<p>${footnote}</p>
${corpora.map(corpus => `<h2>${escape(corpus.name)}</h2>\n<p>Lengths of ${count(corpus.sequences.count)} sequences; mean ${corpus.sequences.mean.toFixed(1)}, 95 % have at most ${count(corpus.sequences.p95)} tokens.</p>\n${bars(histogram(corpus.lengths, chart.bins))}`).join("\n")}
</html>
`

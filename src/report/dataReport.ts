/** The report on a pipeline's data, as Markdown for the terminal and as a self-contained page. */
import { count } from "../pipeline/units.ts"
import { escape, htmlPage, htmlTable } from "./html.ts"
import { type Bin, histogram, type LengthSummary } from "./lengths.ts"
import { markdownTable, plain } from "./markdown.ts"
import { greatest } from "../pipeline/lists.ts"

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

export const dataReportMarkdown = (title: string, corpora: ReadonlyArray<CorpusReport>): string =>
  [`# ${plain(title)}`, markdownTable(columns, corpora.map(cells)), `${footnote}\n`].join("\n\n")

const chart = { width: 560, height: 120, bins: 28 } as const

/** Bars of a histogram, the x axis in tokens. */
const bars = (bins: ReadonlyArray<Bin>): string => {
  const highest = greatest(
    bins.map(bin => bin.count),
    1
  )
  const width = chart.width / bins.length
  const rects = bins.map((bin, i) => {
    const height = (bin.count / highest) * chart.height
    return `<rect x="${(i * width).toFixed(1)}" y="${(chart.height - height).toFixed(1)}" width="${Math.max(1, width - 2).toFixed(1)}" height="${height.toFixed(1)}"><title>${bin.from}–${bin.to} tokens: ${bin.count}</title></rect>`
  })
  const last = bins.at(-1)!
  return `<svg viewBox="0 0 ${chart.width} ${chart.height + 18}" role="img" aria-label="histogram of sequence lengths">${rects.join("")}<text x="0" y="${chart.height + 14}">0</text><text x="${chart.width}" y="${chart.height + 14}" text-anchor="end">${count(last.to)} tokens</text></svg>`
}

const style = "rect { fill: var(--row-1) } text { font-size: 12px; fill: var(--text) } svg { max-width: 35rem }\n"

export const dataReportHtml = (title: string, corpora: ReadonlyArray<CorpusReport>): string => {
  const lengths = ({ name, sequences, ...corpus }: CorpusReport) =>
    `<h2>${escape(name)}</h2>
<p>Lengths of ${count(sequences.count)} sequences; mean ${sequences.mean.toFixed(1)}, 95 % have at most ${count(sequences.p95)} tokens.</p>
${bars(histogram(corpus.lengths, chart.bins))}`
  const body = [htmlTable(columns, corpora.map(cells)), `<p>${footnote}</p>`, ...corpora.map(lengths)]
  return htmlPage({ title, body: body.join("\n"), more: style })
}

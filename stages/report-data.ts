/** Reports what the data of a pipeline are: documents, tokens, and how long the sequences came out. */
import { Effect, Schema, Stream } from "effect"
import { sequencesOfRecords } from "../src/artifacts/sequences.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import { short } from "../src/pipeline/Digest.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { dataReportHtml, dataReportMarkdown, type CorpusReport } from "../src/report/dataReport.ts"
import { summarise } from "../src/report/lengths.ts"
import { Report, TokenSequences } from "../src/artifacts/kinds.ts"

export const reportData = Stage.make("report-data", {
  inputs: { sequences: Artifact.named(TokenSequences) },
  parameters: Schema.Struct({ title: Schema.String }),
  outputs: { report: Report },
  process: "shared",
  run: Effect.fn("report-data")(function* ({ inputs, metric, outputs, parameters }) {
    const corpora: Array<CorpusReport> = []
    for (const [name, set] of Object.entries(inputs.sequences)) {
      const lengths: Array<number> = []
      const perDocument: Array<number> = []
      yield* Stream.runForEach(sequencesOfRecords(set), sequences =>
        Effect.sync(() => {
          for (const { ids } of sequences) lengths.push(ids.length)
          perDocument.push(sequences.reduce((sum, { ids }) => sum + ids.length, 0))
        })
      )
      const { documents, learnt, maxSeqLen, tokens, vocabSize } = set.metadata
      corpora.push({
        name,
        digest: short(set.digest),
        documents,
        tokens,
        learnt,
        maxSeqLen,
        vocabSize,
        lengths,
        sequences: summarise(lengths),
        perDocument: summarise(perDocument)
      })
      yield* metric(`${name}/documents`, documents)
      yield* metric(`${name}/sequences`, lengths.length)
      yield* metric(`${name}/tokens`, tokens)
    }
    const { report } = outputs
    yield* report.write("report.md", dataReportMarkdown(parameters.title, corpora))
    yield* report.write("report.html", dataReportHtml(parameters.title, corpora))
    yield* report.write(
      "report.json",
      `${JSON.stringify({ title: parameters.title, corpora: corpora.map(withoutLengths) }, null, 2)}\n`
    )
    yield* report.metadata({ title: parameters.title })
  })
})

/** The list of every length is for drawing; whoever reads the JSON wants the summary. */
const withoutLengths = (corpus: CorpusReport): Omit<CorpusReport, "lengths"> => {
  const { lengths: _lengths, ...rest } = corpus
  return rest
}

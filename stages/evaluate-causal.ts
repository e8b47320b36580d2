/** Measures a causal language model on held-out text, beside n-gram models of the text that it was trained on. */
import { Effect, Schema, Stream } from "effect"
import { allSequences, sequencesOfRecords } from "../src/artifacts/sequences.ts"
import { makeEngine } from "../src/engines/make.ts"
import { bitsPerByte, type Likelihood, makeCausalEvaluator, perplexity } from "../src/evaluation/causal.ts"
import { predictedBytes } from "../src/evaluation/bytes.ts"
import { trainNgram } from "../src/evaluation/ngram.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError } from "../src/pipeline/StageError.ts"
import { markdownTable, plain } from "../src/report/markdown.ts"
import { ModelFiles, Report, TokenSequences } from "../src/artifacts/kinds.ts"

const Order = Schema.Int.check(Schema.isGreaterThan(0))

export const evaluateCausal = Stage.make("evaluate-causal", {
  inputs: { model: ModelFiles, heldOut: TokenSequences, training: TokenSequences },
  parameters: Schema.Struct({
    /** Of the n-gram models, trained on `training`. */
    orders: Schema.Array(Order).pipe(Schema.withDecodingDefaultKey(Effect.succeed([1, 3, 5])))
  }),
  outputs: { report: Report },
  engine: true,
  resources: { cpus: 2, memoryMiB: 4096 },
  run: Effect.fn("evaluate-causal")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { config, parameters: weights, tokenizer } = yield* loadModel(engine, yield* filesOf(inputs.model))
      const perDocument = Array.from(yield* Stream.runCollect(sequencesOfRecords(inputs.heldOut)))
      const heldOut = perDocument.flat().map(({ ids }) => ids)
      const bytes = perDocument.reduce((sum, sequences) => sum + predictedBytes(sequences, tokenizer, i => i > 0), 0)
      const rows: Array<Row> = []
      const measured = (name: string, likelihood: Likelihood) =>
        Effect.gen(function* () {
          const row = { name, ...figures(likelihood, bytes) }
          rows.push(row)
          yield* metric(`${name}/perplexity`, row.perplexity)
          yield* metric(`${name}/bits_per_byte`, row.bitsPerByte)
        })

      const { measure } = yield* makeCausalEvaluator(engine, config, weights, {
        rows: 8,
        length: inputs.heldOut.metadata.maxSeqLen,
        pad: tokenizer.padId
      })
      const onRows = (done: number, total: number) => progress({ done, total, unit: "rows" })
      yield* measured("model", yield* measure(heldOut, onRows))

      const training = (yield* allSequences(inputs.training)).map(({ ids }) => ids)
      for (const order of parameters.orders) {
        yield* progress({ done: 0, total: heldOut.length, unit: "sequences", note: `${order}-gram` })
        const ngram = trainNgram(training, { order, vocabSize: tokenizer.vocabSize })
        const nats = -heldOut.reduce((sum, ids) => sum + ngram.logLikelihood([...ids], 1), 0)
        yield* measured(`${order}-gram`, { nats, tokens: heldOut.reduce((sum, { length }) => sum + length - 1, 0) })
      }

      const { report } = outputs
      const title = "Causal language model on held-out text"
      yield* report.write("report.md", markdown(title, rows, inputs.heldOut.metadata))
      yield* report.write("report.json", `${JSON.stringify({ title, bytes, rows }, null, 2)}\n`)
      yield* report.metadata({ title })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})

interface Row {
  readonly name: string
  readonly tokens: number
  readonly loss: number
  readonly perplexity: number
  readonly bitsPerByte: number
}

const figures = (likelihood: Likelihood, bytes: number): Omit<Row, "name"> => ({
  tokens: likelihood.tokens,
  loss: likelihood.nats / likelihood.tokens,
  perplexity: perplexity(likelihood),
  bitsPerByte: bitsPerByte(likelihood, bytes)
})

const markdown = (
  title: string,
  rows: ReadonlyArray<Row>,
  { documents, sequences }: { readonly documents: number; readonly sequences: number }
): string =>
  [
    `# ${plain(title)}`,
    "",
    `${documents} documents in ${sequences} sequences; the first token of a sequence is given, not predicted.`,
    "The n-gram models (modified Kneser-Ney) were trained on the same sequences as the model.",
    "",
    markdownTable(
      ["", "tokens", "nats per token", "perplexity", "bits per byte"],
      rows.map(({ bitsPerByte: bits, loss, name, perplexity: ppl, tokens }) => [
        name,
        String(tokens),
        loss.toFixed(4),
        ppl.toFixed(2),
        bits.toFixed(4)
      ])
    ),
    ""
  ].join("\n")

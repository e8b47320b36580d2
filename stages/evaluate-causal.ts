/** Measures a causal language model on held-out text, domain by domain, beside n-gram models of the text that it was trained on. */
import { Effect, Schema, Stream } from "effect"
import { Documents, ModelFiles, Report, TokenSequences } from "../src/artifacts/kinds.ts"
import { recordsOfArtifact } from "../src/artifacts/records.ts"
import { allSequences, sequencesOfRecords } from "../src/artifacts/sequences.ts"
import { makeEngine } from "../src/engines/make.ts"
import { predictedBytes } from "../src/evaluation/bytes.ts"
import { bitsPerByte, type Likelihood, makeCausalEvaluator, perplexity } from "../src/evaluation/causal.ts"
import { type NgramModel, trainNgram } from "../src/evaluation/ngram.ts"
import { decodeBy } from "../src/formats/records.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { markdownTable, plain } from "../src/report/markdown.ts"

const Order = Schema.Int.check(Schema.isGreaterThan(0))

/** A document of the held-out text, as far as it says where it is from. */
const Source = Schema.Struct({ source: Schema.optionalKey(Schema.String) })

export const evaluateCausal = Stage.make("evaluate-causal", {
  inputs: {
    model: ModelFiles,
    heldOut: TokenSequences,
    /** The held-out text before it was cut; those of one `source` are a domain. */
    documents: Artifact.optional(Documents),
    training: TokenSequences
  },
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
      const sources =
        inputs.documents === undefined
          ? perDocument.map(() => undefined)
          : Array.from(
              yield* Stream.runCollect(recordsOfArtifact(inputs.documents, decodeBy(Source))),
              each => each.source
            )
      if (sources.length !== perDocument.length)
        return yield* permanent(`documents are ${sources.length}, but heldOut was cut from ${perDocument.length}`)
      const domains = [...Map.groupBy(perDocument.keys(), i => sources[i] ?? "text")].map(([name, members]) => {
        const own = members.map(i => perDocument[i]!)
        return {
          name,
          sequences: own.flat().map(({ ids }) => ids),
          bytes: own.reduce((sum, sequences) => sum + predictedBytes(sequences, tokenizer, i => i > 0), 0)
        }
      })
      const bytes = domains.reduce((sum, domain) => sum + domain.bytes, 0)

      const { measure } = yield* makeCausalEvaluator(engine, config, weights, {
        rows: 8,
        length: inputs.heldOut.metadata.maxSeqLen,
        pad: tokenizer.padId
      })
      const training = (yield* allSequences(inputs.training)).map(({ ids }) => ids)
      const rows: Array<Row> = []
      const measured = Effect.fnUntraced(function* <E>(
        name: string,
        likelihood: (sequences: Sequences) => Effect.Effect<Likelihood, E>
      ) {
        yield* progress({ done: rows.length, total: 1 + parameters.orders.length, unit: "models", note: name })
        const found = yield* Effect.forEach(domains, ({ sequences }) => likelihood(sequences))
        const all = found.reduce((sum, { nats, tokens }) => ({ nats: sum.nats + nats, tokens: sum.tokens + tokens }))
        const row: Row = {
          name,
          tokens: all.tokens,
          loss: all.nats / all.tokens,
          perplexity: perplexity(all),
          bitsPerByte: bitsPerByte(all, bytes),
          domains: Object.fromEntries(domains.map((domain, i) => [domain.name, perplexity(found[i]!)]))
        }
        rows.push(row)
        yield* metric(`${name}/perplexity`, row.perplexity)
        yield* metric(`${name}/bits_per_byte`, row.bitsPerByte)
      })
      yield* measured("model", sequences => measure(sequences))
      for (const order of parameters.orders) {
        const ngram = trainNgram(training, { order, vocabSize: tokenizer.vocabSize })
        yield* measured(`${order}-gram`, sequences => Effect.sync(() => likelihoodUnder(ngram, sequences)))
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
type Sequences = ReadonlyArray<Int32Array>

const likelihoodUnder = (ngram: NgramModel, sequences: Sequences): Likelihood => ({
  nats: -sequences.reduce((sum, ids) => sum + ngram.logLikelihood([...ids], 1), 0),
  tokens: sequences.reduce((sum, { length }) => sum + length - 1, 0)
})

interface Row {
  readonly name: string
  readonly tokens: number
  readonly loss: number
  readonly perplexity: number
  readonly bitsPerByte: number
  /** Perplexity by domain. */
  readonly domains: { readonly [name: string]: number }
}

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
    "",
    "Perplexity by domain:",
    "",
    markdownTable(
      ["", ...Object.keys(rows[0]!.domains)],
      rows.map(({ domains, name }) => [name, ...Object.values(domains).map(each => each.toFixed(2))])
    ),
    ""
  ].join("\n")

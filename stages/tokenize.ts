/** Cuts documents into token sequences, the chunks by which every later stage is keyed. */
import { Array as Arr, Effect, Schema, Stream } from "effect"
import { PositiveInt } from "../src/config/setting.ts"
import { type DataRecord, DataType, decodeRecord, recordDigest } from "../src/formats/records.ts"
import { ChatTemplate, LongResponses } from "../src/tokens/sequences.ts"
import { makeTokenizePool } from "../src/tokens/tokenizeWorkers.ts"
import { parseTokenizer } from "../src/tokens/tokenizer.ts"
import type { Digest } from "../src/pipeline/Digest.ts"
import { greatest } from "../src/pipeline/lists.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent, type StageError } from "../src/pipeline/StageError.ts"
import { recordsOfArtifact } from "../src/artifacts/records.ts"
import { tokenizerFiles } from "../src/artifacts/tokenizer.ts"
import { Documents, Tokenizer, TokenSequences } from "../src/artifacts/kinds.ts"

/** Records per message to a thread. */
const batchSize = 32
/** Below this many bytes of text per thread, starting the thread takes longer than it saves. */
const bytesPerThread = 2_000_000

export const tokenize = Stage.make("tokenize", {
  inputs: { corpus: Documents, tokenizer: Tokenizer },
  parameters: Schema.Struct({
    /** Only the first so many documents. */
    documents: Schema.optionalKey(PositiveInt),
    /** Longest sequence, in tokens; a longer document becomes several consecutive sequences. */
    maxSeqLen: PositiveInt,
    /** What a record is: `plaintext`, `prompt_response` or `conversation`. */
    dataType: DataType.pipe(Schema.withDecodingDefaultKey(Effect.succeed("plaintext" as const))),
    /** The field that holds the text or the turns, by default `text`, or `messages`; of a prompt and its response two, by default `prompt,response`. */
    textKey: Schema.optionalKey(Schema.String),
    /** Whether documents and responses end in the end-of-text token; a model that never sees one cannot stop. */
    appendEos: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(true))),
    /** How a conversation is written as text: `default` or `chatml`. */
    chatTemplate: ChatTemplate.pipe(Schema.withDecodingDefaultKey(Effect.succeed("default" as const))),
    /** What becomes of a response that does not fit into `maxSeqLen` behind its prompt: `refuse`, an error that names it, by default; or `cut`, its beginning is learnt. */
    longResponses: Schema.optionalKey(LongResponses)
  }),
  outputs: { sequences: TokenSequences },
  items: {
    inputs: ["tokenizer"],
    parameters: ["maxSeqLen", "dataType", "textKey", "appendEos", "chatTemplate", "longResponses"]
  },
  resources: { cpus: 2, memoryMiB: 1024 },
  run: Effect.fn("tokenize")(function* ({ inputs, metric, outputs, parameters, progress, slots }) {
    const { sequences } = outputs
    const files = yield* tokenizerFiles(inputs.tokenizer)
    const { vocabSize } = yield* Effect.mapError(Effect.fromResult(parseTokenizer(files)), asStageError)
    const records = (): Stream.Stream<DataRecord, StageError> =>
      Stream.take(recordsOfArtifact(inputs.corpus, decodeRecord(parameters)), parameters.documents ?? Infinity)

    // First the keys, then the records that are new: those of a grown corpus are few.
    const order: Array<Digest> = []
    const missing = new Set<Digest>()
    yield* Stream.runForEach(records(), record =>
      Effect.sync(() => {
        const key = sequences.key(recordDigest(record))
        order.push(key)
        if (!sequences.has(key)) missing.add(key)
      })
    )
    if (order.length === 0) return yield* permanent("the corpus holds no documents")

    const total = missing.size
    const threads = Math.min(slots.cpus, Math.floor(inputs.corpus.metadata.bytes / bytesPerThread))
    let tokenized = 0
    const refused: Array<Refused> = []
    if (total > 0) {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* Effect.mapError(
            makeTokenizePool({ workers: threads, tokenizer: files, sequences: parameters }),
            asStageError
          )
          yield* records().pipe(
            Stream.zipWithIndex,
            Stream.filter(([record]) => missing.delete(sequences.key(recordDigest(record)))),
            Stream.grouped(batchSize),
            Stream.mapEffect(
              batch =>
                Effect.map(
                  Effect.mapError(pool.tokenize(batch.map(([record]) => record)), asStageError),
                  results => [batch, results] as const
                ),
              { concurrency: 2 * pool.workers + 1 }
            ),
            Stream.runForEach(([batch, results]) =>
              Effect.gen(function* () {
                for (const [i, { bytes, learnt, sequences: count, tokens, tooLong }] of results.entries()) {
                  const [record, place] = batch[i]!
                  if (tooLong !== undefined) {
                    refused.push({ record, place, ...tooLong })
                    continue
                  }
                  yield* sequences.put(sequences.key(recordDigest(record)), bytes, {
                    sequences: count,
                    tokens,
                    learnt
                  })
                }
                tokenized += results.length
                yield* progress({ done: tokenized, total, unit: "documents" })
              })
            )
          )
        })
      )
    }

    if (Arr.isReadonlyArrayNonEmpty(refused)) return yield* tooLong(refused, parameters.maxSeqLen)

    const sums = { sequences: 0, tokens: 0, learnt: 0 }
    for (const key of order) {
      const note = sequences.note(key) as typeof sums
      sums.sequences += note.sequences
      sums.tokens += note.tokens
      sums.learnt += note.learnt
    }
    yield* metric("documents/new", total)
    yield* metric("documents/reused", order.length - total)
    yield* sequences.finish(order, { documents: order.length, ...sums, vocabSize, maxSeqLen: parameters.maxSeqLen })
  })
})

/** A record that is too long, with its tokens. */
interface Refused {
  readonly record: DataRecord
  /** In the corpus, from 0. */
  readonly place: number
  readonly prompt: number
  readonly response: number
}

const tooLong = (refused: Arr.NonEmptyReadonlyArray<Refused>, maxSeqLen: number): StageError => {
  const [{ place, prompt, record, response }, ...others] = refused
  const idx = record.kind === "prompt_response" && record.idx !== undefined ? ` (idx ${record.idx})` : ""
  const also = others.length === 0 ? "" : `, as ${others.length === 1 ? "one other is" : `${others.length} others are`}`
  const longest = greatest(refused.map(each => each.prompt + each.response))
  return permanent(
    `document ${place + 1} of the corpus${idx} is longer than maxSeqLen, ${maxSeqLen} tokens${also}: its prompt has ${prompt}, its response ${response} with the end of text`,
    `a max_seq_len of ${longest} would hold all; long_responses: cut learns the beginnings`
  )
}

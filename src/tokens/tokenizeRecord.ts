/** Records to the bytes of their sequences: the work that tokenizing threads share with the calling one. */
import type { DataRecord } from "../formats/records.ts"
import { encodeSequences } from "./sequenceCodec.ts"
import { ResponseTooLong, type SequenceContent, type SequenceOptions, sequencesOf } from "./sequences.ts"
import type { Tokenizer, TokenizerFiles, TokenizerOptions } from "./tokenizer.ts"

/** What one record became. */
export interface TokenizedRecord {
  /** Its sequences, as `encodeSequences` writes them. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly sequences: number
  readonly tokens: number
  /** Tokens that are learnt. */
  readonly learnt: number
  /** Tokens of a record that is refused, and has no sequences. */
  readonly tooLong?: { readonly prompt: number; readonly response: number }
}

export const tokenizeRecord = (record: DataRecord, tokenizer: Tokenizer, options: SequenceOptions): TokenizedRecord => {
  const sequences = sequencesOrTooLong(record, tokenizer, options)
  if (sequences instanceof ResponseTooLong) {
    const { prompt, response } = sequences
    return { bytes: new Uint8Array(), sequences: 0, tokens: 0, learnt: 0, tooLong: { prompt, response } }
  }
  let tokens = 0
  let learnt = 0
  for (const { ids, lossMask } of sequences) {
    tokens += ids.length
    for (const bit of lossMask) learnt += bit
  }
  return { bytes: encodeSequences(sequences), sequences: sequences.length, tokens, learnt }
}

/** Other failures are thrown. */
const sequencesOrTooLong = (
  ...given: Parameters<typeof sequencesOf>
): ReadonlyArray<SequenceContent> | ResponseTooLong => {
  try {
    return sequencesOf(...given)
  } catch (cause) {
    if (cause instanceof ResponseTooLong) return cause
    throw cause
  }
}

/** What a thread is started with. */
export interface WorkerSetup {
  readonly tokenizer: TokenizerFiles
  readonly tokenizerOptions: TokenizerOptions
  readonly sequences: SequenceOptions
}

/** What a thread is sent. */
export interface WorkerRequest {
  readonly id: number
  readonly records: ReadonlyArray<DataRecord>
}

/** What a thread sends. */
export type WorkerReply =
  | { readonly type: "ready" }
  | { readonly type: "unusable"; readonly file: string; readonly message: string }
  | { readonly type: "done"; readonly id: number; readonly results: ReadonlyArray<TokenizedRecord> }
  | { readonly type: "failed"; readonly id: number; readonly message: string }

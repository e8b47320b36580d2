/** Token sequences: what a record becomes, chunk by chunk, with the positions that are learnt. */
import { Schema } from "effect"
import { type ConversationRecord, type DataRecord, lossMaskOf, type Message } from "../formats/records.ts"
import type { Tokenizer } from "./tokenizer.ts"

export const ChatTemplate = Schema.Literals(["default", "chatml"])
export type ChatTemplate = typeof ChatTemplate.Type

export interface SequenceOptions {
  /** Longest sequence, in tokens. */
  readonly maxSeqLen: number
  /** Whether a document and a response end in the end-of-text token; a model that never sees one cannot stop. Default true. */
  readonly appendEos?: boolean | undefined
  /** How a conversation is written as text. Default `default`. */
  readonly chatTemplate?: ChatTemplate | undefined
  /** What becomes of a response that does not fit behind its prompt: an error, or its beginning. Default `refuse`. */
  readonly longResponses?: LongResponses | undefined
}

export const LongResponses = Schema.Literals(["refuse", "cut"])
export type LongResponses = typeof LongResponses.Type

/** A prompt and a response that are longer together than a sequence may be. */
export class ResponseTooLong extends Error {
  /** Tokens, the end of text included. */
  readonly prompt: number
  readonly response: number

  constructor(prompt: number, response: number) {
    super(`a prompt of ${prompt} tokens and a response of ${response} are too long together`)
    this.prompt = prompt
    this.response = response
  }
}

/** The content of one training example, without its place in a corpus. */
export interface SequenceContent {
  readonly ids: Int32Array
  /** 1 where the token is learnt (may be masked, counts in the loss), 0 where it is only read. As long as `ids`. */
  readonly lossMask: Uint8Array
  /** How many tokens at the start are only read. */
  readonly promptLength: number
  /** The number that the record gave itself. */
  readonly idx?: number
}

/** One training example. Position 0 has no predecessor to be predicted from; leaving it out is up to the loss. */
export interface Sequence extends SequenceContent {
  /** Which record of the corpus, from 0. */
  readonly document: number
  /** Which chunk of the record, from 0. */
  readonly chunk: number
}

/**
 * The sequences of a record, in order; together they hold every token of it that `maxSeqLen` lets pass. Throws ResponseTooLong.
 *
 * - A document: its tokens and the end of text, cut into consecutive chunks of `maxSeqLen`, the last one shorter. All are learnt. An
 *   empty document has none.
 * - Prompt and response: tokenised apart, so that the border between them is a border of tokens, then joined. What is longer than
 *   `maxSeqLen` is refused, or cut off there: if nothing of the response is left, there is no sequence. The response and its end of text are learnt.
 * - A conversation: turn by turn as the template writes it; the last `maxSeqLen` tokens. The turns with a loss mask are
 *   learnt, whole. If nothing that is learnt is left, there is no sequence.
 */
export const sequencesOf = (
  record: DataRecord,
  tokenizer: Tokenizer,
  options: SequenceOptions
): ReadonlyArray<SequenceContent> => {
  const { appendEos = true, maxSeqLen } = options
  if (!Number.isSafeInteger(maxSeqLen) || maxSeqLen < 1) {
    throw new RangeError(`maxSeqLen must be a whole number from 1, got ${maxSeqLen}`)
  }
  const end = appendEos ? [tokenizer.eosId] : []
  switch (record.kind) {
    case "document": {
      if (record.text === "") return []
      const ids = join([tokenizer.encode(record.text), end])
      const sequences: Array<SequenceContent> = []
      for (let start = 0; start < ids.length; start += maxSeqLen) {
        const chunk = ids.slice(start, start + maxSeqLen)
        sequences.push({ ids: chunk, lossMask: new Uint8Array(chunk.length).fill(1), promptLength: 0 })
      }
      return sequences
    }
    case "prompt_response": {
      const prompt = tokenizer.encode(record.prompt)
      const whole = join([prompt, tokenizer.encode(record.response), end])
      if (whole.length > maxSeqLen && options.longResponses !== "cut")
        throw new ResponseTooLong(prompt.length, whole.length - prompt.length)
      const ids = whole.slice(0, maxSeqLen)
      if (ids.length <= prompt.length) return []
      const lossMask = new Uint8Array(ids.length).fill(1, prompt.length)
      const idx = record.idx === undefined ? {} : { idx: record.idx }
      return [{ ids, lossMask, promptLength: prompt.length, ...idx }]
    }
    case "conversation":
      return conversation(record, tokenizer, options)
  }
}

const conversation = (
  record: ConversationRecord,
  tokenizer: Tokenizer,
  { chatTemplate = "default", maxSeqLen }: SequenceOptions
): ReadonlyArray<SequenceContent> => {
  const turns = record.messages.map(turn => tokenizer.encode(writeTurn(turn, chatTemplate, tokenizer.eosToken)))
  const mask = join(record.messages.map((turn, i) => new Uint8Array(turns[i]?.length ?? 0).fill(lossMaskOf(turn))))
  const ids = join(turns)
  const from = Math.max(0, ids.length - maxSeqLen)
  const lossMask = Uint8Array.from(mask.subarray(from))
  const promptLength = lossMask.indexOf(1)
  return promptLength === -1 ? [] : [{ ids: ids.slice(from), lossMask, promptLength }]
}

/**
 * One turn as text. `default`: `Role: content`, the end of text and a line break. `chatml`: the content between
 * `<|im_start|>role` and `<|im_end|>`, which tokenizers without these two tokens read as ordinary text.
 */
export const writeTurn = (turn: Message, template: ChatTemplate, eosToken: string): string => {
  const content = turn.content.trim()
  switch (template) {
    case "default":
      return `${turn.role.slice(0, 1).toUpperCase()}${turn.role.slice(1)}: ${content}${eosToken}\n`
    case "chatml":
      return `<|im_start|>${turn.role}\n${content}<|im_end|>\n`
  }
}

const join = (parts: ReadonlyArray<ArrayLike<number>>): Int32Array => {
  const whole = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Answers in the shapes of OpenAI's completions and chats, whole and piece by piece. */
import { append } from "../pipeline/lists.ts"
import type { Tokenizer } from "../tokens/tokenizer.ts"
import type { Scored } from "./scores.ts"
import type { Piece } from "./service.ts"
import { type Stopped, TextStream } from "../tokens/textStream.ts"

export interface Head {
  readonly id: string
  readonly object: string
  /** Seconds since 1970. */
  readonly created: number
  readonly model: string
}

/** Tokens, and the forward passes that the texts took together, which is not OpenAI's. */
export interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
  readonly forward_passes: number
}

/** One text, as far as it is. */
export interface Choice {
  text: string
  readonly tokens: Array<number>
  readonly scores: Array<Scored>
  promptScores: ReadonlyArray<Scored>
  finish: "stop" | "length" | null
  /** Of the text in all; 0 until it is finished. */
  completionTokens: number
  forwards: number
}

export const newChoice = (): Choice => ({
  text: "",
  tokens: [],
  scores: [],
  promptScores: [],
  finish: null,
  completionTokens: 0,
  forwards: 0
})

/** Why a text ends, in OpenAI's words. */
export const finishOf = (reason: Stopped): NonNullable<Choice["finish"]> => (reason === "length" ? "length" : "stop")

/** Adds what is new. */
export const extend = (choice: Choice, { finished, promptScores, scores, text, tokens }: Piece): void => {
  choice.text += text
  append(choice.tokens, tokens)
  append(choice.scores, scores)
  if (promptScores !== undefined) choice.promptScores = promptScores
  if (finished === undefined) return
  choice.finish = finishOf(finished.reason)
  choice.completionTokens = finished.tokens
  choice.forwards = finished.forwards
}

export const usageOf = (promptTokens: number, choices: ReadonlyArray<Choice>): Usage => {
  const made = choices.reduce((sum, choice) => sum + choice.completionTokens, 0)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: made,
    total_tokens: promptTokens + made,
    forward_passes: choices.reduce((sum, choice) => sum + choice.forwards, 0)
  }
}

type Decodes = Pick<Tokenizer, "decode">

/** A token as text; what is part of a character only is U+FFFD. */
const spelled = (tokenizer: Decodes, token: number): string => tokenizer.decode([token])

/** Likeliest tokens by their text, the token that is there among them. Of tokens with the same text the likeliest counts. */
const byText = (tokenizer: Decodes, token: number, { alternatives, logprob }: Scored, most: number) => {
  const found: { [text: string]: number } = {}
  for (const each of [...alternatives.slice(0, most), { token, logprob }]) {
    const text = spelled(tokenizer, each.token)
    found[text] = Math.max(found[text] ?? -Infinity, each.logprob)
  }
  return found
}

/** `logprobs` of a completion. `scores`: of each token; undefined where there is nothing before it. `from`: where the first begins in the text. */
export const completionLogprobs = (
  tokenizer: Decodes,
  tokens: ReadonlyArray<number>,
  scores: ReadonlyArray<Scored | undefined>,
  { from = 0, most }: { readonly most: number; readonly from?: number }
) => {
  const stream = new TextStream(tokenizer, [])
  let offset = from
  return {
    tokens: tokens.map(token => spelled(tokenizer, token)),
    token_logprobs: scores.map(score => score?.logprob ?? null),
    top_logprobs: scores.map((score, i) => (score === undefined ? null : byText(tokenizer, tokens[i]!, score, most))),
    text_offset: tokens.map(token => {
      const at = offset
      offset += stream.push([token]).length
      return at
    })
  }
}

const chatToken = (tokenizer: Decodes, token: number, logprob: number) => {
  const text = spelled(tokenizer, token)
  // Of a part of a character the bytes are not known here.
  return { token: text, logprob, bytes: text.includes("\uFFFD") ? null : [...Buffer.from(text)] }
}

/** `logprobs` of a chat. */
export const chatLogprobs = (
  tokenizer: Decodes,
  tokens: ReadonlyArray<number>,
  scores: ReadonlyArray<Scored>,
  most: number
) => ({
  content: tokens.map((token, i) => ({
    ...chatToken(tokenizer, token, scores[i]!.logprob),
    top_logprobs: scores[i]!.alternatives.slice(0, most).map(each => chatToken(tokenizer, each.token, each.logprob))
  }))
})

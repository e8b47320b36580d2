/** What each request means: from its body to what is asked of the model, and from the model's pieces to the answer. */
import { randomUUID } from "node:crypto"
import { Effect, Stream } from "effect"
import type { ConfigError } from "../pipeline/ConfigError.ts"
import { greatest } from "../pipeline/lists.ts"
import type { ChatTemplate } from "../tokens/chatTemplate.ts"
import { takenNames } from "../tokens/chatTemplate.ts"
import type { Tokenizer } from "../tokens/tokenizer.ts"
import { type ApiError, fromConfig, fromServing, invalid } from "./apiError.ts"
import type { Decoding } from "./job.ts"
import { ChatBody, type CommonBody, CompletionBody, decodeBody, stopsOf } from "./requests.ts"
import {
  chatLogprobs,
  type Choice,
  completionLogprobs,
  extend,
  finishOf,
  type Head,
  newChoice,
  usageOf
} from "./responses.ts"
import type { Asked, Piece, Service } from "./service.ts"

/** The model behind the API. */
export interface Served {
  readonly service: Service
  /** What clients call it. */
  readonly name: string
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
  /** Tokens of prompt and answer together, at most. */
  readonly context: number
  /** How it decodes where a request does not say. */
  readonly mode: Decoding["mode"]
  /** Tokens of an answer where a request does not say, at most. */
  readonly defaultNewTokens: number
  /** Why the model cannot decode so; undefined where it can. */
  readonly refusal: (mode: Decoding["mode"]) => string | undefined
  /** The settings that a request's fields, and else the server's own, lead to. */
  readonly decodingOf: (
    mode: Decoding["mode"],
    body: CommonBody,
    newTokens: number
  ) => Effect.Effect<Decoding, ConfigError>
}

/** An answer: as a whole, or the events of a stream. */
export type Answer =
  | { readonly type: "whole"; readonly body: Effect.Effect<unknown, ApiError> }
  | { readonly type: "events"; readonly events: Stream.Stream<unknown, ApiError> }

const checkModel = ({ name }: Served, { model }: CommonBody) =>
  model === undefined || model === name
    ? Effect.void
    : invalid(`the model ${JSON.stringify(model)} is not served here; this is ${JSON.stringify(name)}`, {
        status: 404,
        param: "model",
        code: "model_not_found"
      })

/** How many new tokens are asked for, and whether they fit. */
const roomFor = (served: Served, prompts: ReadonlyArray<Int32Array>, wanted: number | undefined, param: string) =>
  Effect.gen(function* () {
    const { context, defaultNewTokens } = served
    const longest = greatest(prompts.map(({ length }) => length))
    const tooLong = { code: "context_length_exceeded" }
    if (longest > context || (longest === context && wanted !== 0))
      return yield* invalid(
        `the prompt has ${longest} tokens, and the context ${context}: ${longest > context ? "it is too long" : "nothing fits behind it"}`,
        { param: "prompt", ...tooLong }
      )
    const newTokens = wanted ?? Math.min(defaultNewTokens, context - longest)
    if (longest + newTokens > context)
      return yield* invalid(
        `the prompt has ${longest} tokens, and ${newTokens} more are asked for, but the context has ${context}; at most ${context - longest} fit`,
        { param, ...tooLong }
      )
    return newTokens
  })

/** What completions and chats have in common. */
const asked = (
  served: Served,
  body: CommonBody,
  prompts: ReadonlyArray<Int32Array>,
  newTokens: number,
  scored: { readonly prompt: boolean; readonly alternatives: number | undefined }
): Effect.Effect<Asked, ApiError> =>
  Effect.gen(function* () {
    const mode = body.mode ?? served.mode
    const refusal = served.refusal(mode)
    if (refusal !== undefined) return yield* invalid(`mode ${mode}: ${refusal}`, { param: "mode" })
    if (mode === "diffusion" && (scored.prompt || scored.alternatives !== undefined))
      return yield* invalid(
        "logprobs: a diffusion model has no probability of a token given those before it; mode ar has, where the model decodes so",
        { param: "logprobs", code: "unsupported_parameter" }
      )
    const texts = prompts.length * (body.n ?? 1)
    if (texts > served.service.most)
      return yield* invalid(`${texts} texts are asked for, and at most ${served.service.most} can be waited for`, {
        param: body.n === undefined ? "prompt" : "n"
      })
    const decoding = yield* Effect.mapError(served.decodingOf(mode, body, Math.max(1, newTokens)), fromConfig)
    return {
      decoding,
      prompts,
      n: body.n ?? 1,
      newTokens,
      seed: body.seed,
      stops: stopsOf(body),
      scorePrompt: scored.prompt,
      alternatives: scored.alternatives
    }
  })

const pieces = ({ service }: Served, request: Asked): Stream.Stream<Piece, ApiError> =>
  Stream.mapError(service.ask(request), fromServing)

const headOf = ({ name }: Served, prefix: string, object: string): Head => ({
  id: `${prefix}-${randomUUID().replaceAll("-", "")}`,
  object,
  created: Math.floor(Date.now() / 1000),
  model: name
})

interface Shapes {
  readonly head: Head
  readonly chunkObject: string
  /** A choice of a whole answer, and what a piece adds to it in a stream. */
  readonly whole: (choice: Choice, index: number) => unknown
  readonly chunk: (piece: Piece, index: number) => unknown
  /** Before a choice's first piece. */
  readonly opening?: (index: number) => unknown
}

/** The answer to what is asked, in one shape or the other. */
const answer = (served: Served, request: Asked, body: CommonBody, shapes: Shapes): Answer => {
  const count = request.prompts.length * request.n
  const promptTokens = request.prompts.reduce((sum, { length }) => sum + length, 0)
  const choices = Array.from({ length: count }, newChoice)
  const found = Stream.tap(pieces(served, request), piece => Effect.sync(() => extend(choices[piece.index]!, piece)))
  if (body.stream !== true)
    return {
      type: "whole",
      body: Effect.map(Stream.runDrain(found), () => ({
        ...shapes.head,
        choices: choices.map(shapes.whole),
        usage: usageOf(promptTokens, choices)
      }))
    }
  const head = { ...shapes.head, object: shapes.chunkObject }
  const withUsage = body.stream_options?.include_usage === true
  const chunk = (choice: unknown) => ({ ...head, choices: [choice], ...(withUsage ? { usage: null } : {}) })
  const openings = shapes.opening === undefined ? [] : choices.map((_, i) => chunk(shapes.opening!(i)))
  // A client would wait in vain for a choice in a piece without text, scores or end.
  const told = Stream.filter(
    found,
    ({ finished, scores, text }) => text !== "" || scores.length > 0 || finished !== undefined
  )
  const events = Stream.map(told, piece => chunk(shapes.chunk(piece, piece.index)))
  const usage = Stream.suspend(() =>
    Stream.fromIterable(withUsage ? [{ ...head, choices: [], usage: usageOf(promptTokens, choices) }] : [])
  )
  // An opening before anything is known to go well would hide an error that has a status.
  return {
    type: "events",
    events: Stream.concat(
      Stream.flatMap(Stream.zipWithIndex(events), ([event, i]) =>
        Stream.fromIterable(i === 0 ? [...openings, event] : [event])
      ),
      usage
    )
  }
}

/** `POST /v1/completions`. */
export const complete = (served: Served, text: string): Effect.Effect<Answer, ApiError> =>
  Effect.gen(function* () {
    const body = yield* decodeBody(CompletionBody, text)
    yield* checkModel(served, body)
    const { tokenizer } = served
    const { echo = false, logprobs, prompt } = body
    const given = promptsOf(prompt)
    if (given.length === 0) return yield* invalid("prompt is an empty list", { param: "prompt" })
    const vocabulary = tokenizer.vocabSize
    const prompts = given.map(each => (typeof each === "string" ? tokenizer.encode(each) : Int32Array.from(each)))
    if (prompts.some(ids => ids.length === 0))
      return yield* invalid("prompt is empty: a model goes on from a text", { param: "prompt" })
    const wrong = prompts.flatMap(ids => [...ids]).find(id => id >= vocabulary)
    if (wrong !== undefined)
      return yield* invalid(`prompt: there is no token ${wrong}; the tokenizer has ${vocabulary}`, { param: "prompt" })
    if (echo && body.stream === true)
      return yield* invalid("echo does not go with stream", { param: "echo", code: "unsupported_parameter" })
    if (body.max_tokens === 0 && !echo)
      return yield* invalid("max_tokens is 0, which needs echo: true: nothing would be answered", {
        param: "max_tokens"
      })
    const newTokens = yield* roomFor(served, prompts, body.max_tokens, "max_tokens")
    const scorePrompt = echo && logprobs !== undefined
    const request = yield* asked(served, body, prompts, newTokens, { prompt: scorePrompt, alternatives: logprobs })
    if (newTokens === 0 && request.decoding.mode === "diffusion")
      return yield* invalid("max_tokens is 0: diffusion decodes at least one token", { param: "max_tokens" })
    const most = logprobs ?? 0
    return answer(served, request, body, {
      head: headOf(served, "cmpl", "text_completion"),
      chunkObject: "text_completion",
      whole: (choice, index) => {
        const number = Math.floor(index / request.n)
        const [ids, source] = [prompts[number]!, given[number]!]
        const before = echo ? (typeof source === "string" ? source : tokenizer.decode(source)) : ""
        const scores = [...(scorePrompt ? [undefined, ...choice.promptScores] : []), ...choice.scores]
        const tokens = [...(scorePrompt ? ids : []), ...choice.tokens]
        return {
          index,
          text: `${before}${choice.text}`,
          logprobs: logprobs === undefined ? null : completionLogprobs(tokenizer, tokens, scores, { most }),
          finish_reason: choice.finish
        }
      },
      chunk: ({ finished, scores, text: added, tokens }, index) => ({
        index,
        text: added,
        logprobs: logprobs === undefined ? null : completionLogprobs(tokenizer, tokens, scores, { most }),
        finish_reason: finished === undefined ? null : finishOf(finished.reason)
      })
    })
  })

/** Prompts are one text, several, one list of tokens, or several. */
const promptsOf = (prompt: CompletionBody["prompt"]): ReadonlyArray<string | ReadonlyArray<number>> => {
  if (typeof prompt === "string") return [prompt]
  const isOne = prompt.length > 0 && prompt.every(each => typeof each === "number")
  return isOne ? [prompt as ReadonlyArray<number>] : (prompt as ReadonlyArray<string | ReadonlyArray<number>>)
}

/** `POST /v1/chat/completions`. */
export const chat = (served: Served, text: string): Effect.Effect<Answer, ApiError> =>
  Effect.gen(function* () {
    const body = yield* decodeBody(ChatBody, text)
    yield* checkModel(served, body)
    const { template, tokenizer } = served
    const { chat_template_kwargs: variables = {}, logprobs = false, top_logprobs: most } = body
    const taken = Object.keys(variables).find(name => takenNames.has(name))
    if (taken !== undefined)
      return yield* invalid(`chat_template_kwargs.${taken} is given to the template by the server`, {
        param: "chat_template_kwargs"
      })
    if (most !== undefined && !logprobs)
      return yield* invalid("top_logprobs needs logprobs: true", { param: "top_logprobs" })
    const messages = body.messages.map(({ content, role }) => ({
      role,
      content: typeof content === "string" ? content : content.map(part => part.text).join("")
    }))
    const written = yield* Effect.mapError(template.render(messages, variables), ({ message }) =>
      invalid(message, { param: "messages" })
    )
    const prompts = [tokenizer.encode(written)]
    if (prompts[0]!.length === 0)
      return yield* invalid("the chat template makes no text of these messages", { param: "messages" })
    const newTokens = yield* roomFor(served, prompts, body.max_completion_tokens ?? body.max_tokens, "max_tokens")
    const request = yield* asked(served, body, prompts, newTokens, {
      prompt: false,
      alternatives: logprobs ? (most ?? 0) : undefined
    })
    const scoresOf = (tokens: ReadonlyArray<number>, scores: Choice["scores"]) =>
      logprobs ? chatLogprobs(tokenizer, tokens, scores, most ?? 0) : null
    return answer(served, request, body, {
      head: headOf(served, "chatcmpl", "chat.completion"),
      chunkObject: "chat.completion.chunk",
      opening: index => ({
        index,
        delta: { role: "assistant", content: "" },
        logprobs: null,
        finish_reason: null
      }),
      whole: (choice, index) => ({
        index,
        message: { role: "assistant", content: choice.text, refusal: null },
        logprobs: scoresOf(choice.tokens, choice.scores),
        finish_reason: choice.finish
      }),
      chunk: ({ finished, scores, text: added, tokens }, index) => ({
        index,
        delta: added === "" ? {} : { content: added },
        logprobs: scoresOf(tokens, [...scores]),
        finish_reason: finished === undefined ? null : finishOf(finished.reason)
      })
    })
  })

/** `GET /v1/models`, and one of them. */
export const modelCard = ({ context, name }: Served, created: number) => ({
  id: name,
  object: "model",
  created,
  owned_by: "dllm-pipeline",
  /** As other servers call it. */
  max_model_len: context
})

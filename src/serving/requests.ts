/** What clients may ask: the bodies of completions and chats, decoded. What would change a result and is not known is refused by name. */
import { Effect, Result, Schema } from "effect"
import { caches } from "../decoding/accepting.ts"
import { algorithms, schedules } from "../decoding/diffusion.ts"
import { lineAndColumn, parseJson } from "../formats/jsonText.ts"
import { describe } from "../pipeline/Problem.ts"
import { fromIssue } from "../pipeline/SchemaProblem.ts"
import { closest } from "../pipeline/Suggestion.ts"
import { chatRoles } from "../tokens/chatTemplate.ts"
import { stopFault } from "../tokens/textStream.ts"
import { type ApiError, invalid } from "./apiError.ts"
import { mostAlternatives } from "./scores.ts"

const between = (least: number, most: number) =>
  Schema.Int.check(Schema.isGreaterThanOrEqualTo(least), Schema.isLessThanOrEqualTo(most))

/** Stop strings of a request, as OpenAI allows. */
const mostStops = 4
/** Alternatives of a token in a completion, as OpenAI allows. */
const mostOfCompletion = 5
/** Texts for each prompt, at most. */
const mostTexts = 128

const StopString = Schema.String.check(Schema.makeFilter(stopFault))

/** Ways to decode beside OpenAI's, by the names of the flags of `pipeline generate`. */
const decodingFields = {
  mode: Schema.optionalKey(Schema.Literals(["ar", "diffusion"])),
  top_k: Schema.optionalKey(Schema.Int),
  steps: Schema.optionalKey(Schema.Int),
  eps: Schema.optionalKey(Schema.Finite),
  alg: Schema.optionalKey(Schema.Literals(algorithms)),
  alg_temp: Schema.optionalKey(Schema.Finite),
  schedule: Schema.optionalKey(Schema.Literals(schedules)),
  block_length: Schema.optionalKey(Schema.Int),
  threshold: Schema.optionalKey(Schema.Finite),
  factor: Schema.optionalKey(Schema.Finite),
  entropy_threshold: Schema.optionalKey(Schema.Finite),
  entropy_bound: Schema.optionalKey(Schema.Finite),
  block_add_threshold: Schema.optionalKey(Schema.Finite),
  decoded_token_threshold: Schema.optionalKey(Schema.Finite),
  kv_cache: Schema.optionalKey(Schema.Literals(caches)),
  cache_delay_iter: Schema.optionalKey(Schema.Int),
  refresh_interval: Schema.optionalKey(Schema.Int)
}

const commonFields = {
  model: Schema.optionalKey(Schema.String),
  temperature: Schema.optionalKey(Schema.Finite),
  top_p: Schema.optionalKey(Schema.Finite),
  n: Schema.optionalKey(between(1, mostTexts)),
  seed: Schema.optionalKey(between(0, Number.MAX_SAFE_INTEGER)),
  stop: Schema.optionalKey(Schema.Union([StopString, Schema.Array(StopString).check(Schema.isMaxLength(mostStops))])),
  stream: Schema.optionalKey(Schema.Boolean),
  stream_options: Schema.optionalKey(Schema.Struct({ include_usage: Schema.optionalKey(Schema.Boolean) })),
  ...decodingFields
}

const Ids = Schema.Array(between(0, Number.MAX_SAFE_INTEGER))

export const CompletionBody = Schema.Struct({
  ...commonFields,
  /** Texts, or tokens. */
  prompt: Schema.Union([Schema.String, Ids, Schema.Array(Schema.String), Schema.Array(Ids)]),
  max_tokens: Schema.optionalKey(between(0, Number.MAX_SAFE_INTEGER)),
  echo: Schema.optionalKey(Schema.Boolean),
  logprobs: Schema.optionalKey(between(0, mostOfCompletion))
})
export type CompletionBody = typeof CompletionBody.Type

const TextPart = Schema.Struct({ type: Schema.Literal("text"), text: Schema.String })

export const ChatBody = Schema.Struct({
  ...commonFields,
  messages: Schema.Array(
    Schema.Struct({
      role: Schema.Literals(chatRoles),
      content: Schema.Union([Schema.String, Schema.Array(TextPart)]),
      name: Schema.optionalKey(Schema.String)
    })
  ).check(Schema.isMinLength(1)),
  max_tokens: Schema.optionalKey(between(1, Number.MAX_SAFE_INTEGER)),
  max_completion_tokens: Schema.optionalKey(between(1, Number.MAX_SAFE_INTEGER)),
  logprobs: Schema.optionalKey(Schema.Boolean),
  top_logprobs: Schema.optionalKey(between(0, mostAlternatives)),
  /** What else the chat template may ask for, such as enable_thinking. */
  chat_template_kwargs: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
})
export type ChatBody = typeof ChatBody.Type

export type CommonBody = Pick<CompletionBody, keyof typeof commonFields>

type Fields = { readonly [field: string]: unknown }

/** Change nothing of what is answered. */
export const ignoredFields: ReadonlySet<string> = new Set([
  "user",
  "metadata",
  "store",
  "service_tier",
  "parallel_tool_calls",
  "safety_identifier",
  "prompt_cache_key",
  "prompt_cache_retention"
])

const equals =
  (...values: ReadonlyArray<unknown>) =>
  (value: unknown): boolean =>
    values.includes(value)
const isEmpty = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.keys(value).length === 0

/** Fields of OpenAI's, and of other servers, that are taken where they ask for what is done anyway. */
export const neutralFields: { readonly [field: string]: (value: unknown, body: Fields) => boolean } = {
  frequency_penalty: equals(0),
  presence_penalty: equals(0),
  repetition_penalty: equals(1),
  min_p: equals(0),
  best_of: (value, body) => value === (body["n"] ?? 1),
  logit_bias: isEmpty,
  suffix: equals(""),
  tools: isEmpty,
  functions: isEmpty,
  tool_choice: equals("none", "auto"),
  response_format: value => (value as { readonly type?: unknown } | undefined)?.type === "text",
  modalities: value => Array.isArray(value) && value.length === 1 && value[0] === "text",
  add_generation_prompt: equals(true),
  skip_special_tokens: equals(true)
}

/** A body as it came, or why it is none. A field that is null counts as left out. */
export const decodeBody = <S extends Schema.Struct<Schema.Struct.Fields>>(
  schema: S,
  text: string
): Effect.Effect<S["Type"], ApiError> =>
  Effect.gen(function* () {
    const parsed = parseJson(text)
    if (Result.isFailure(parsed)) {
      const { column, line } = lineAndColumn(text, parsed.failure.offset)
      return yield* invalid(`the body is no JSON: line ${line}, column ${column}: ${parsed.failure.what}`)
    }
    const value = parsed.success
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return yield* invalid(`the body must be a JSON object, got ${describe(value)}`)
    const body = Object.fromEntries(Object.entries(value).filter(([, given]) => given !== null))
    const known = Object.keys(schema.fields)
    for (const [field, given] of Object.entries(body)) {
      if (known.includes(field) || ignoredFields.has(field)) continue
      const isNeutral = Object.hasOwn(neutralFields, field) ? neutralFields[field] : undefined
      if (isNeutral?.(given, body) === true) continue
      const meant = closest(field, known)
      yield* invalid(
        isNeutral === undefined
          ? `${field} is no field of this request${meant === undefined ? "" : `; did you mean ${meant}?`}`
          : `${field} is not supported here, but for the value that changes nothing; got ${describe(given)}`,
        { param: field, code: "unsupported_parameter" }
      )
    }
    const own = Object.fromEntries(Object.entries(body).filter(([field]) => known.includes(field)))
    const decoded = Schema.decodeUnknownResult(schema as unknown as Schema.Codec<S["Type"], unknown>, {
      errors: "all",
      onExcessProperty: "error"
    })(own)
    if (Result.isSuccess(decoded)) return decoded.success
    const [problem] = fromIssue(decoded.failure.issue, own, "")
    const param = String(problem!.path[0] ?? "")
    return yield* invalid(
      `${problem!.message}${problem!.advice === undefined ? "" : `; ${problem!.advice}`}`,
      param === "" ? {} : { param }
    )
  })

/** Stop strings, each once. */
export const stopsOf = ({ stop = [] }: CommonBody): ReadonlyArray<string> => [
  ...new Set(typeof stop === "string" ? [stop] : stop)
]

/**
 * Conversations as the text that a model was trained on: by the template that comes with its tokenizer (Jinja, as Hugging Face writes it), or, where there is none, in the plain form that training data
 * without a template have.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja"
import { Effect, Option, Schema } from "effect"
import { readText } from "../formats/textFile.ts"
import { messageOf } from "../pipeline/Problem.ts"
import { writeTurn } from "./sequences.ts"
import { TooLong, within } from "./timeBound.ts"
import type { Tokenizer } from "./tokenizer.ts"

export const chatRoles = ["system", "developer", "user", "assistant", "tool"] as const

export interface ChatMessage {
  readonly role: (typeof chatRoles)[number]
  readonly content: string
}

/** A template that cannot be used, or that refuses a conversation. */
export class ChatTemplateError extends Schema.TaggedError<ChatTemplateError>()("ChatTemplateError", {
  message: Schema.String
}) {}

export interface ChatTemplate {
  /** Where it was found; undefined for the plain form. */
  readonly source: string | undefined
  /** The text of a conversation, up to where the assistant speaks. `variables`: what else the template may ask for. */
  readonly render: (
    messages: ReadonlyArray<ChatMessage>,
    variables?: { readonly [name: string]: unknown }
  ) => Effect.Effect<string, ChatTemplateError>
}

/** Milliseconds that a template may take: published ones take a few. */
const patience = 2000
/** Numbers that `range` gives, at most: the library's own has no bound. */
const mostNumbers = 100_000
export const templateFile = "chat_template.jinja"
const configFile = "tokenizer_config.json"

/** Special tokens that templates write, by their names in `tokenizer_config.json`. */
const specialTokens = ["bos_token", "eos_token", "pad_token", "unk_token"] as const
const isFields = (value: unknown): value is { readonly [field: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** A token is written as it is, or as the `content` of an object. */
const tokenOf = (value: unknown): string | undefined => {
  const content = isFields(value) ? value["content"] : value
  return typeof content === "string" ? content : undefined
}

/** The template of `tokenizer_config.json`: a text, or the one of several that is called `default`. */
const templateIn = (config: { readonly [field: string]: unknown }): string | undefined => {
  const given = config["chat_template"]
  if (typeof given === "string") return given
  const named = Array.isArray(given) ? (given as ReadonlyArray<unknown>).filter(isFields) : []
  return tokenOf({ content: named.find(each => each["name"] === "default")?.["template"] })
}

const boundedRange = (start: number, stop?: number, step?: number): ReadonlyArray<number> => {
  const [from, to] = typeof stop === "number" ? [start, stop] : [0, start]
  const by = typeof step === "number" ? step : 1
  const count = Math.max(0, Math.ceil((to - from) / by))
  if (!(count <= mostNumbers)) throw new Error(`range() of more than ${mostNumbers} numbers`)
  return Array.from({ length: count }, (_, i) => from + i * by)
}

/** Today's date by the codes of C's strftime that templates use. */
const strftimeNow = (format: string): string => {
  const now = new Date()
  const part = (options: Intl.DateTimeFormatOptions) => now.toLocaleDateString("en-US", options)
  const two = (value: number) => String(value).padStart(2, "0")
  const parts: { readonly [code: string]: string } = {
    Y: String(now.getFullYear()),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    H: two(now.getHours()),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    a: part({ weekday: "short" }),
    A: part({ weekday: "long" }),
    b: part({ month: "short" }),
    B: part({ month: "long" }),
    "%": "%"
  }
  return format.replace(/%(.)/g, (code, letter: string) => parts[letter] ?? code)
}

/** What every template may call: as in the library, but that `range` has a bound. */
const globals = {
  false: false,
  true: true,
  none: null,
  False: false,
  True: true,
  None: null,
  range: boundedRange,
  strftime_now: strftimeNow,
  raise_exception: (message: string): never => {
    throw new Error(message)
  }
} as const

/** What a template finds under these names is given here. */
export const takenNames: ReadonlySet<string> = new Set([
  ...Object.keys(globals),
  ...specialTokens,
  "messages",
  "add_generation_prompt",
  "namespace"
])

/** As Hugging Face sets Jinja up. */
const blockSpace = { lstrip_blocks: true, trim_blocks: true } as const

/** `template`: its text. `tokens`: of the tokenizer's configuration, by their names there. */
export const jinjaTemplate = (
  template: string,
  source: string,
  tokens: { readonly [name: string]: string }
): Effect.Effect<ChatTemplate, ChatTemplateError> => {
  const failed = (cause: unknown) =>
    new ChatTemplateError({
      message:
        cause instanceof TooLong
          ? `the chat template of ${source} takes more than ${patience} ms`
          : `the chat template of ${source}: ${messageOf(cause)}`
    })
  return Effect.map(
    Effect.try({ try: () => within(patience, () => parse(tokenize(template, blockSpace))), catch: failed }),
    (parsed): ChatTemplate => ({
      source,
      render: (messages, variables = {}) =>
        Effect.try({
          try: () => {
            const environment = new Environment()
            const given = { ...variables, ...tokens, ...globals, messages, add_generation_prompt: true }
            for (const [name, value] of Object.entries(given)) environment.set(name, value)
            const written: unknown = within(patience, () => new Interpreter(environment).run(parsed).value)
            return typeof written === "string" ? written : ""
          },
          catch: failed
        })
    })
  )
}

/** The form of conversations in training data without a template: `Role: content`, an end of text and a line break for each turn. */
export const plainTemplate = ({ eosToken }: Pick<Tokenizer, "eosToken">): ChatTemplate => ({
  source: undefined,
  render: messages =>
    Effect.succeed(
      `${messages
        .map(({ content, role }) =>
          writeTurn({ role: role === "developer" ? "system" : role, content }, "default", eosToken)
        )
        .join("")}Assistant:`
    )
})

/** The template among a model's files; none where they have none. A file of its own comes before the tokenizer's configuration. */
export const findChatTemplate = Effect.fnUntraced(function* (
  files: ReadonlyArray<{ readonly name: string; readonly path: string }>
) {
  const read = (name: string) => {
    const file = files.find(each => each.name === name)
    return file === undefined
      ? Effect.succeed(undefined)
      : Effect.mapError(readText(file.path, name), ({ message }) => new ChatTemplateError({ message }))
  }
  const configText = yield* read(configFile)
  const config = yield* Effect.try({
    try: (): unknown => JSON.parse((configText ?? "{}").replace(/^\uFEFF/, "")),
    catch: cause => new ChatTemplateError({ message: `${configFile}: ${messageOf(cause)}` })
  })
  const fields = isFields(config) ? config : {}
  const apart = yield* read(templateFile)
  const text = apart ?? templateIn(fields)
  if (text === undefined) return Option.none<ChatTemplate>()
  const tokens = specialTokens.flatMap(name => {
    const token = tokenOf(fields[name])
    return token === undefined ? [] : [[name, token] as const]
  })
  return Option.some(
    yield* jinjaTemplate(text, apart === undefined ? configFile : templateFile, Object.fromEntries(tokens))
  )
})

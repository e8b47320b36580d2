/** `pipeline generate --chat`: a conversation, turn by turn, by the model's chat template. */
import { Effect, Option, Stream } from "effect"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type ChatMessage, findChatTemplate, plainTemplate } from "../../../tokens/chatTemplate.ts"
import { styleOf } from "../../terminal/style.ts"
import { printData, printJson } from "../../terminal/terminal.ts"
import { decodingOf, makeAnswering } from "./answering.ts"
import type { openNamed } from "./opened.ts"
import { type DecodingFlags, defaultNewTokens, diffusionOf, type Mode } from "./settings.ts"
import { type Passes, statisticsLine } from "./statistics.ts"
import type { Steps } from "./steps.ts"
import { diffusion, type Made } from "./texts.ts"

/** Forgets the conversation. */
const forget = "clear"

export interface ChatArgs extends DecodingFlags {
  readonly system: Option.Option<string>
  readonly maxNewTokens: Option.Option<number>
  readonly seed: number
  /** Strings before the first of which a reply ends. */
  readonly stop: ReadonlyArray<string>
  readonly json: boolean
}

interface Reply {
  readonly text: string
  readonly tokens: number
  readonly stopped: Made["stopped"]
  readonly forwards: number
}

type Opened = Effect.Success<ReturnType<typeof openNamed>>

/** Starts a conversation; what it returns answers a line of the user. `watchers`: of a diffusion, for a line. */
export const makeChat = Effect.fnUntraced(function* (
  opened: Opened,
  mode: Mode,
  args: ChatArgs,
  watchers: (line: string) => ReadonlyArray<Steps>
) {
  const { files, model, name } = opened
  const { tokenizer } = model
  const found = yield* findChatTemplate(files)
  const template = Option.getOrElse(found, () => plainTemplate(tokenizer))
  const { dim } = styleOf(process.stderr)
  if (Option.isNone(found))
    process.stderr.write(
      dim(`${name} has no chat template: turns are written as "Role: text", as in training data without one\n`)
    )
  // One conversation needs one row.
  const { context, service } = yield* makeAnswering(opened, { rows: 1, most: 1, context: Option.none() })
  const first: ReadonlyArray<ChatMessage> = Option.toArray(args.system).map(content => ({ role: "system", content }))
  let messages = first
  let turn = 0

  const roomFor = (prompt: number) => {
    const room = context - prompt
    const wanted = Option.getOrElse(args.maxNewTokens, () => Math.min(defaultNewTokens, room))
    return wanted >= 1 && wanted <= room
      ? Effect.succeed(wanted)
      : Effect.fail(
          new ConfigError({
            at: "conversation",
            message: `has ${prompt} tokens, and the context ${context}: ${room < 1 ? "nothing fits" : `at most ${room} tokens fit`} behind it`,
            advice: `${forget} forgets it, and begins a new one`
          })
        )
  }

  /** Prints the reply as it is made, without the space that some begin with. */
  const printer = () => {
    let begun = false
    return (piece: string) => {
      const text = begun ? piece : piece.trimStart()
      begun ||= text !== ""
      if (!args.json) printData(text)
    }
  }

  const tokenByToken = (prompt: Int32Array, newTokens: number, seed: number) =>
    Effect.gen(function* () {
      const print = printer()
      const decoding = yield* decodingOf(args, opened)("ar", {}, newTokens)
      const asked = { decoding, prompts: [prompt], n: 1, newTokens, seed, stops: args.stop }
      let reply: Reply = { text: "", tokens: 0, stopped: "length", forwards: 0 }
      yield* Stream.runForEach(
        service.ask({ ...asked, scorePrompt: false, alternatives: undefined }),
        ({ finished, text }) =>
          Effect.sync(() => {
            print(text)
            reply = {
              text: reply.text + text,
              tokens: finished?.tokens ?? 0,
              stopped: finished?.reason ?? "length",
              forwards: finished?.forwards ?? 0
            }
          })
      )
      return { reply }
    })

  const fromMasks = (prompt: Int32Array, newTokens: number, seed: number, line: string) =>
    Effect.gen(function* () {
      const settings = yield* diffusionOf(args, newTokens, opened.method.blockLength?.(opened.model))
      const { texts, ...passes } = yield* diffusion(
        { ...opened, prompts: [prompt], newTokens, seed, stops: args.stop },
        settings,
        watchers(line)
      )
      const { stopped, text, tokens } = texts[0]!
      printer()(text)
      const reply: Reply = { text, tokens: tokens.length, stopped, forwards: passes.forwards }
      return { reply, passes }
    }).pipe(Effect.scoped)

  return (line: string) =>
    Effect.gen(function* () {
      if (line.trim() === forget) {
        messages = first
        return
      }
      const asked = [...messages, { role: "user", content: line } as const]
      const written = yield* Effect.mapError(
        template.render(asked),
        ({ message }) => new ConfigError({ at: "--chat", message })
      )
      const prompt = tokenizer.encode(written)
      const newTokens = yield* roomFor(prompt.length)
      const seed = args.seed + turn
      const begun = performance.now()
      const { passes, reply }: { readonly reply: Reply; readonly passes?: Passes } = yield* mode === "ar"
        ? tokenByToken(prompt, newTokens, seed)
        : fromMasks(prompt, newTokens, seed, line)
      const seconds = (performance.now() - begun) / 1000
      const { forwards, stopped, tokens } = reply
      const content = reply.text.trim()
      messages = [...asked, { role: "assistant", content }]
      turn++
      if (args.json) return printJson({ role: "assistant", content, tokens, stopped, seconds, forwards })
      printData("\n")
      const told = statisticsLine({
        name,
        texts: 1,
        tokens,
        stopped,
        seconds,
        seed,
        ...(passes === undefined ? {} : { passes })
      })
      process.stderr.write(dim(`${told}\n`))
    })
})

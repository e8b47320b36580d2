/** `pipeline generate`: text from a model. */
import { availableParallelism } from "node:os"
import { Effect, Option, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { makeDecoder } from "../decoding/autoregressive.ts"
import { makeEngine } from "../engines/make.ts"
import { numericClass } from "../engines/names.ts"
import { openModel } from "../models/artifact.ts"
import { parameterAliases, parameterSpecs } from "../models/config.ts"
import { allocateParameters } from "../models/parameters.ts"
import { loadWeights } from "../models/weights.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import * as flags from "./flags.ts"
import { printJson } from "./look.ts"
import { findModel } from "./modelSource.ts"
import { styleOf } from "./style.ts"

const defaultModel = "embedded:teacher"
/** Where neither the user nor the model's configuration sets a limit. */
const defaultNewTokens = 128
const defaultPositions = 2048

const number = (name: string, description: string) => Flag.Finite(name).pipe(Flag.withDescription(description))
const whole = (name: string, description: string) =>
  Flag.Int(name).pipe(Flag.withDescription(description), Flag.withMetavar("N"))

export const command = Command.make(
  "generate",
  {
    prompt: Argument.String("prompt").pipe(Argument.withDescription("The text to go on from; - reads standard input")),
    mode: Flag.Literals("mode", ["ar"]).pipe(
      Flag.withDescription("How to decode: ar, token by token"),
      Flag.withDefault("ar" as const)
    ),
    model: Flag.String("model").pipe(
      Flag.withAlias("m"),
      Flag.withDescription(
        `embedded:NAME, a directory in Hugging Face layout, or what a run made: an action (pretrain-teacher/pretrain) or digits of a digest (default: ${defaultModel})`
      ),
      Flag.withMetavar("REF"),
      Flag.withDefault(defaultModel)
    ),
    maxNewTokens: whole(
      "max-new-tokens",
      `Tokens to make at most (default: ${defaultNewTokens}, or as many as the model has room for)`
    ).pipe(Flag.withAlias("n"), Flag.optional),
    temperature: number("temperature", "Higher is more varied; 0 takes the most likely token (default: 0.8)").pipe(
      Flag.withAlias("t"),
      Flag.withDefault(0.8)
    ),
    topP: number(
      "top-p",
      "Draws from the most likely tokens that together reach this probability (default: 0.95)"
    ).pipe(Flag.withDefault(0.95)),
    topK: whole("top-k", "Draws from so many of the most likely tokens only").pipe(Flag.optional),
    seed: whole("seed", "The same seed gives the same text (default: 0)").pipe(Flag.withDefault(0)),
    engine: flags.engine,
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("generate")(function* (args) {
    const sampling = yield* samplingOf(args)
    const { files, name } = yield* findModel(args.model, args.cache)
    const { config, json, tensors, tokenizer } = yield* openModel(files)
    const text = args.prompt === "-" ? yield* standardInput : args.prompt
    const prompt = tokenizer.encode(text)
    if (prompt.length === 0)
      return yield* new ConfigError({ at: "prompt", message: "is empty", advice: "a model goes on from a text" })
    const maxNewTokens = yield* roomFor(prompt.length, json["max_position_embeddings"], args.maxNewTokens)

    const engine = yield* makeEngine(numericClass(args.engine), { threads: availableParallelism() })
    const buffers = yield* allocateParameters(engine, parameterSpecs(config))
    yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
    const decoder = yield* makeDecoder(engine, config, buffers.views, prompt.length + maxNewTokens)

    const begun = performance.now()
    const ids: Array<number> = []
    let shown = ""
    yield* Stream.runForEach(
      decoder.generate({
        prompt,
        maxNewTokens,
        sampling,
        seed: args.seed,
        stop: tokenizer.eosId,
        suppressed: [tokenizer.maskId]
      }),
      id =>
        Effect.sync(() => {
          ids.push(id)
          // A character may need several tokens; until then it decodes to U+FFFD.
          const whole = tokenizer.decode(ids).replace(/\uFFFD+$/, "")
          if (!args.json) process.stdout.write(whole.slice(shown.length))
          shown = whole
        })
    )
    const seconds = (performance.now() - begun) / 1000
    const stopped = ids.length < maxNewTokens ? "end of text" : "length"
    if (args.json)
      return printJson({ model: name, prompt: text, text: shown, tokens: ids, seed: args.seed, stopped, seconds })
    process.stdout.write("\n")
    const { dim } = styleOf(process.stderr)
    process.stderr.write(
      dim(`${name}, ${ids.length} tokens (${stopped}), ${(ids.length / seconds).toFixed(0)} tok/s, seed ${args.seed}\n`)
    )
  }, Effect.scoped)
).pipe(
  Command.withDescription("Print a continuation of a text by a trained model"),
  Command.withExamples([
    {
      command: 'pipeline generate --mode ar "The people of the"',
      description: "From the model that ships with the program"
    },
    {
      command: 'pipeline generate -m pretrain-teacher/pretrain -n 40 -t 0 "In the beginning"',
      description: "From a model that a run trained, always the most likely token"
    },
    {
      command: "pipeline generate -m ./Qwen3-0.6B - < prompt.txt",
      description: "From a directory in Hugging Face layout"
    }
  ])
)

const samplingOf = (args: {
  readonly temperature: number
  readonly topP: number
  readonly topK: Option.Option<number>
}) => {
  const wrong = (flag: string, expected: string) =>
    Effect.fail(new ConfigError({ at: `--${flag}`, message: `must be ${expected}` }))
  const topK = Option.getOrUndefined(args.topK)
  if (!(args.temperature >= 0 && Number.isFinite(args.temperature))) return wrong("temperature", "a number from 0 on")
  if (!(args.topP > 0 && args.topP <= 1)) return wrong("top-p", "a number above 0, and at most 1")
  if (topK !== undefined && topK < 1) return wrong("top-k", "a whole number from 1 on")
  return Effect.succeed({
    temperature: args.temperature,
    topP: args.topP,
    ...(topK === undefined ? {} : { topK })
  })
}

/** How many tokens to make behind a prompt, for a model that knows so many positions. */
const roomFor = (prompt: number, positions: unknown, wanted: Option.Option<number>) => {
  const limit = typeof positions === "number" ? positions : defaultPositions
  const room = limit - prompt
  const asked = Option.getOrElse(wanted, () => Math.min(defaultNewTokens, room))
  if (asked < 1 && Option.isSome(wanted))
    return Effect.fail(new ConfigError({ at: "--max-new-tokens", message: "must be a whole number from 1 on" }))
  return asked <= room && room > 0
    ? Effect.succeed(asked)
    : Effect.fail(
        new ConfigError({
          at: Option.isSome(wanted) && room > 0 ? `--max-new-tokens ${asked}` : "prompt",
          message: `the prompt has ${prompt} tokens; the model knows ${limit} positions`,
          advice: room > 0 ? `at most ${room} new tokens fit` : "shorten the prompt"
        })
      )
}

const standardInput = Effect.promise(async () => {
  let text = ""
  process.stdin.setEncoding("utf8")
  for await (const piece of process.stdin) text += String(piece)
  return text.replace(/\n$/, "")
})

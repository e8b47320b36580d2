/** `pipeline generate`: text from a model. */
import { appendFileSync, writeFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { Effect, Option, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { Tokenizer } from "../data/tokenizer.ts"
import { makeDecoder } from "../decoding/autoregressive.ts"
import { makeDenoiser } from "../decoding/denoiser.ts"
import { algorithms, diffusionGenerate, schedules } from "../decoding/diffusion.ts"
import type { Sampling } from "../decoding/sampling.ts"
import type { Buffers, Engine } from "../engines/Engine.ts"
import { makeEngine } from "../engines/make.ts"
import { openModel } from "../models/artifact.ts"
import { type ModelConfig, parameterAliases, parameterSpecs } from "../models/config.ts"
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
    mode: Flag.Literals("mode", ["ar", "diffusion"]).pipe(
      Flag.withDescription(
        "How to decode: ar, token by token; diffusion, from masks (default: what the model was trained for)"
      ),
      Flag.optional
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
    steps: whole("steps", "diffusion: denoising steps (default: a quarter of the new tokens)").pipe(Flag.optional),
    alg: Flag.Literals("alg", algorithms).pipe(
      Flag.withDescription("diffusion: which masks are revealed first (default: entropy)"),
      Flag.withDefault("entropy" as const)
    ),
    algTemp: number(
      "alg-temp",
      "diffusion: above 0, positions are drawn at random by their confidence (default: 0)"
    ).pipe(Flag.withDefault(0)),
    schedule: Flag.Literals("schedule", schedules).pipe(
      Flag.withDescription("diffusion: how many masks a step reveals (default: quota)"),
      Flag.withDefault("quota" as const)
    ),
    watch: Flag.Boolean("watch").pipe(
      Flag.withDescription("diffusion: show the text after every step on stderr"),
      Flag.withDefault(false)
    ),
    history: Flag.String("history").pipe(
      Flag.withDescription("diffusion: write the tokens after every step to this file, as JSON Lines"),
      Flag.withMetavar("FILE"),
      Flag.optional
    ),
    seed: whole("seed", "The same seed gives the same text (default: 0)").pipe(Flag.withDefault(0)),
    engine: flags.engine,
    precision: flags.precision,
    python: flags.python,
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

    const engine = yield* makeEngine(yield* flags.engineClass(args), { threads: availableParallelism() })
    const buffers = yield* allocateParameters(engine, parameterSpecs(config))
    yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
    const mode = Option.getOrElse(args.mode, () => (json["token_shift"] === undefined ? "ar" : "diffusion"))
    const task: Task = {
      engine,
      config,
      parameters: buffers.views,
      tokenizer,
      prompt,
      maxNewTokens,
      sampling,
      seed: args.seed,
      quiet: args.json
    }
    const begun = performance.now()
    const made = yield* mode === "ar" ? autoregressive(task) : diffusion(task, args)
    const seconds = (performance.now() - begun) / 1000
    const end = made.tokens.indexOf(tokenizer.eosId)
    const stopped = end >= 0 || made.tokens.length < maxNewTokens ? "end of text" : "length"
    if (args.json) return printJson({ model: name, mode, prompt: text, seed: args.seed, stopped, seconds, ...made })
    process.stdout.write("\n")
    const { dim } = styleOf(process.stderr)
    const speed = `${(made.tokens.length / seconds).toFixed(0)} tok/s`
    const passes = made.forwards === undefined ? "" : `, ${made.forwards} forward passes`
    process.stderr.write(
      dim(`${name}, ${made.tokens.length} tokens (${stopped})${passes}, ${speed}, seed ${args.seed}\n`)
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

interface Task {
  readonly engine: Engine
  readonly config: ModelConfig
  readonly parameters: Buffers
  readonly tokenizer: Tokenizer
  readonly prompt: Int32Array
  readonly maxNewTokens: number
  readonly sampling: Sampling
  readonly seed: number
  /** Prints nothing: the caller will. */
  readonly quiet: boolean
}

interface Made {
  readonly text: string
  readonly tokens: ReadonlyArray<number>
  readonly forwards?: number
}

/** Prints tokens as they come. */
const autoregressive = ({ config, engine, maxNewTokens, parameters, prompt, quiet, sampling, seed, tokenizer }: Task) =>
  Effect.gen(function* () {
    const decoder = yield* makeDecoder(engine, config, parameters, prompt.length + maxNewTokens)
    const tokens: Array<number> = []
    let text = ""
    yield* Stream.runForEach(
      decoder.generate({
        prompt,
        maxNewTokens,
        sampling,
        seed,
        stop: tokenizer.eosId,
        suppressed: [tokenizer.maskId]
      }),
      id =>
        Effect.sync(() => {
          tokens.push(id)
          // A character may need several tokens; until then it decodes to U+FFFD.
          const whole = tokenizer.decode(tokens).replace(/\uFFFD+$/, "")
          if (!quiet) process.stdout.write(whole.slice(text.length))
          text = whole
        })
    )
    return { text, tokens } satisfies Made as Made
  })

interface DiffusionFlags {
  readonly steps: Option.Option<number>
  readonly alg: (typeof algorithms)[number]
  readonly algTemp: number
  readonly schedule: (typeof schedules)[number]
  readonly watch: boolean
  readonly history: Option.Option<string>
}

/** How a mask is shown while the text is made. */
const maskSign = "░"

const diffusion = (task: Task, chosen: DiffusionFlags) =>
  Effect.gen(function* () {
    const { config, engine, maxNewTokens, parameters, prompt, quiet, sampling, seed, tokenizer } = task
    const steps = Option.getOrElse(chosen.steps, () => Math.max(1, Math.ceil(maxNewTokens / 4)))
    if (steps < 1) return yield* new ConfigError({ at: "--steps", message: "must be a whole number from 1 on" })
    if (!(chosen.algTemp >= 0))
      return yield* new ConfigError({ at: "--alg-temp", message: "must be a number from 0 on" })
    const denoiser = yield* makeDenoiser(engine, config, parameters, {
      rows: 1,
      length: prompt.length + maxNewTokens,
      wanted: maxNewTokens
    })
    const { alg, algTemp, schedule } = chosen
    const { dim } = styleOf(process.stderr)
    const history = Option.getOrUndefined(chosen.history)
    if (history !== undefined) writeFileSync(history, "")
    const { forwards, sequences } = yield* diffusionGenerate(denoiser, {
      prompts: [prompt],
      maxNewTokens,
      mask: tokenizer.maskId,
      pad: tokenizer.padId,
      seed,
      settings: { ...sampling, steps, eps: 1e-3, alg, algTemp, schedule },
      onStep: (step, [row]) =>
        Effect.sync(() => {
          const ids = row!.subarray(prompt.length)
          if (history !== undefined) appendFileSync(history, `${JSON.stringify({ step, tokens: [...ids] })}\n`)
          if (!chosen.watch) return
          const shown = tokenizer.decode(ids).replaceAll(tokenizer.maskToken, maskSign).replace(/\s+/g, " ")
          process.stderr.write(`${dim(String(step).padStart(4))} ${shown}\n`)
        })
    })
    const all = [...sequences[0]!.subarray(prompt.length)]
    const end = all.indexOf(tokenizer.eosId)
    const tokens = end < 0 ? all : all.slice(0, end)
    const text = tokenizer.decode(tokens)
    if (!quiet) process.stdout.write(text)
    return { text, tokens: all, forwards } satisfies Made as Made
  })

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

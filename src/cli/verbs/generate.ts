/** `pipeline generate`: text from a model. */
import { availableParallelism } from "node:os"
import { Effect, Option, Stream } from "effect"
import { Argument, Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { algorithms, schedules } from "../../decoding/diffusion.ts"
import { caches } from "../../decoding/accepting.ts"
import { makeEngine } from "../../engines/make.ts"
import { loadWhole } from "../../methods/Method.ts"
import { openModel } from "../../models/artifact.ts"
import { positionsOf } from "../../models/families.ts"
import { ConfigError, render } from "../../pipeline/ConfigError.ts"
import * as flags from "../flags.ts"
import { promptLines, standardInput } from "./generate/prompts.ts"
import { defaultNewTokens, diffusionOf, roomFor, samplingOf } from "./generate/settings.ts"
import { speculationOf } from "./generate/speculation.ts"
import { history, listed, redrawn } from "./generate/steps.ts"
import { autoregressive, diffusion, type Task } from "./generate/texts.ts"
import { findModel } from "../modelSource.ts"
import { redraws, styleOf } from "../terminal/style.ts"
import { greatest } from "../../pipeline/lists.ts"
import { endWithReader } from "../ending.ts"
import { printData, printJson } from "../terminal/terminal.ts"

const defaultModel = "embedded:teacher"

const number = (name: string, description: string) =>
  Flag.Finite(name).pipe(Flag.withDescription(description), Flag.optional)

export const command = verb("generate", {
  about: "Print continuations of texts by a trained model",
  examples: {
    'pipeline generate --mode ar "The people of the"': "From the model that ships with the program",
    'pipeline generate -m compare-50x/train/no_align -n 64 --steps 16 "The people of the"':
      "By diffusion, from a model that a run trained; the terminal shows the masks give way",
    'pipeline generate --mode diffusion --alg entropy --alg-temp 0 -t 0 --history-out steps.jsonl "The" "In"':
      "Two texts at once, always the most likely tokens; every step is kept",
    "pipeline generate -m ./Qwen3-0.6B - < prompt.txt": "From a directory in Hugging Face layout; the prompt is a file",
    'pipeline generate -m ./adapter --base ./Qwen3-0.6B "The people of the"':
      "An adapter as PEFT keeps it, over the model that it was trained for",
    'pipeline generate --drafter compare-50x/train/no_align --draft-tokens 4 "The people of the"':
      "The teacher's own text, drafted by a diffusion model that a run made of it",
    "pipeline generate -m pretrain-teacher/pretrain": "Asks for prompts, until exit"
  },
  takes: {
    prompts: flags
      .argument(
        "prompt",
        "Texts to go on from, together; - reads one from standard input. Without any, every line of standard input is one, until exit"
      )
      .pipe(Argument.variadic({ min: 0 })),
    mode: flags.optionalChoice(
      "mode",
      ["ar", "diffusion"],
      "How to decode: ar, token by token; diffusion, from masks (default: what the model was trained for)"
    ),
    model: flags
      .text(
        "model",
        "REF",
        `embedded:NAME, a directory in Hugging Face layout, or what a run made: an action (pretrain-teacher/pretrain) or digits of a digest (default: ${defaultModel})`
      )
      .pipe(Flag.withAlias("m"), Flag.withDefault(defaultModel)),
    base: flags.base,
    maxNewTokens: flags
      .whole(
        "max-new-tokens",
        "N",
        `Tokens to make at most (default: ${defaultNewTokens}, or as many as the model has room for)`
      )
      .pipe(Flag.withAlias("n"), Flag.optional),
    numReturnSequences: flags
      .whole("num-return-sequences", "N", "Texts for each prompt (default: 1)")
      .pipe(Flag.withDefault(1)),
    temperature: number(
      "temperature",
      "Higher is more varied; 0 takes the most likely token (default: ar 0.8, diffusion 0.5)"
    ).pipe(Flag.withAlias("t")),
    topP: number(
      "top-p",
      "Draws from the most likely tokens that together reach this probability (default: ar 0.95, diffusion none)"
    ),
    topK: flags
      .whole("top-k", "N", "Draws from so many of the most likely tokens only (default: ar none, diffusion 200)")
      .pipe(Flag.optional),
    steps: flags.whole("steps", "N", "diffusion: denoising steps (default: as many as new tokens)").pipe(Flag.optional),
    eps: number("eps", "diffusion: last value of the time, for origin and the schedule floor (default: 0.001)"),
    alg: flags.optionalChoice(
      "alg",
      algorithms,
      "diffusion: which masks are revealed first (default: p2, in blocks and with a threshold maskgit_plus)"
    ),
    algTemp: number(
      "alg-temp",
      "diffusion: above 0, positions are drawn at random by their confidence (default: 0.5, in blocks and with a threshold 0)"
    ),
    schedule: flags.optionalChoice("schedule", schedules, "diffusion: how many masks a step reveals (default: quota)"),
    blockLength: flags
      .whole(
        "block-length",
        "N",
        "diffusion: tokens of a block; one block is revealed after the other (default: all tokens, with bd3lm the blocks of its training)"
      )
      .pipe(Flag.optional),
    threshold: number(
      "threshold",
      "diffusion: a step reveals every token of at least this probability, and the surest one at least (default: none)"
    ),
    factor: number("factor", "diffusion: instead of --threshold, Fast-dLLM's factor: more at once the surer all are"),
    entropyThreshold: number(
      "entropy-threshold",
      "diffusion: instead of --threshold, a step reveals every token whose distribution has less entropy than this, nats"
    ),
    entropyBound: number(
      "entropy-bound",
      "diffusion: instead of --threshold, a step reveals tokens until their entropies add up to this, nats"
    ),
    blockAddThreshold: number(
      "block-add-threshold",
      "diffusion: the next block begins when this share of the last one is revealed (default: 1)"
    ),
    decodedTokenThreshold: number(
      "decoded-token-threshold",
      "diffusion: with several blocks, one must advance in every step when this share of the one before it is revealed (default: 1)"
    ),
    kvCache: flags.optionalChoice(
      "kv-cache",
      caches,
      "diffusion: what passes do not read again: prefix, the blocks that are done; dual, also those that have not begun (default: none)"
    ),
    cacheDelayIter: flags
      .whole("cache-delay-iter", "N", "diffusion: with a cache, whole passes over a block that is done (default: 1)")
      .pipe(Flag.optional),
    refreshInterval: flags
      .whole("refresh-interval", "N", "diffusion: with a cache, every so many passes one reads all (default: never)")
      .pipe(Flag.optional),
    draftTokens: flags
      .whole(
        "draft-tokens",
        "N",
        "ar: so many tokens are drafted at once by diffusion and verified; the text is the same (default: none)"
      )
      .pipe(Flag.optional),
    drafter: flags.optionalText(
      "drafter",
      "REF",
      "ar: the model that drafts, named as --model (default: the model itself)"
    ),
    verbose: flags.toggle(
      "verbose",
      "diffusion: print the text after every step on stderr, also where it is no terminal"
    ),
    historyOut: flags.optionalText(
      "history-out",
      "FILE",
      "diffusion: write every step to this file as JSON Lines: step, prompt, ids, text"
    ),
    seed: flags.whole("seed", "N", "The same seed gives the same text (default: 0)").pipe(Flag.withDefault(0)),
    engine: flags.engine,
    precision: flags.precision,
    python: flags.python,
    ...flags.ofCache
  },
  run: Effect.fn("generate")(function* (args) {
    if (args.numReturnSequences < 1)
      return yield* new ConfigError({ at: "--num-return-sequences", message: "must be a whole number from 1 on" })
    // Wrong numbers are refused before a model is read.
    yield* Effect.all([samplingOf(args, "ar"), diffusionOf(args, 1)])
    endWithReader()
    const { files, name } = yield* findModel(args.model, args.cache, args.base)
    const engine = yield* makeEngine(yield* flags.engineClass(args), { threads: availableParallelism() })
    const opened = yield* openModel(files)
    const { method, model } = yield* loadWhole(engine, opened)
    const mode = Option.getOrElse(args.mode, () => (model.diffusion ? "diffusion" : "ar"))
    if (mode === "ar" && !model.tokenShift)
      return yield* new ConfigError({
        at: "--mode ar",
        message: "the model predicts every token at its own place (token_shift is false in its config.json)",
        advice: "it decodes by --mode diffusion"
      })
    const { config, tokenizer } = model
    if (mode === "diffusion" && tokenizer.maskId >= config.vocabSize)
      return yield* new ConfigError({
        at: "--mode diffusion",
        message: `the mask token has id ${tokenizer.maskId}, but the model's embedding has ${config.vocabSize} rows`,
        advice: "it decodes by --mode ar"
      })
    const { dim } = styleOf(process.stderr)
    const kept = Option.isNone(args.historyOut) ? [] : [yield* history(tokenizer, args.historyOut.value)]

    const answer = (texts: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const asked = texts.flatMap(text => Array<string>(args.numReturnSequences).fill(text))
        const prompts = asked.map(tokenizer.encode)
        if (prompts.some(({ length }) => length === 0))
          return yield* new ConfigError({ at: "prompt", message: "is empty", advice: "a model goes on from a text" })
        const longest = greatest(prompts.map(({ length }) => length))
        const newTokens = yield* roomFor(longest, positionsOf(model.json), args.maxNewTokens)
        const task: Task = { engine, method, model, prompts, newTokens, seed: args.seed }
        const begun = performance.now()
        const made = yield* mode === "ar"
          ? autoregressive(task, yield* samplingOf(args, mode), {
              speculation: yield* speculationOf(args, { engine, model, newTokens }),
              ...(args.json ? {} : { print: printData })
            })
          : diffusion(task, yield* diffusionOf(args, newTokens, method.blockLength?.(model)), [
              ...(redraws(process.stderr) && !args.json && !args.verbose ? [redrawn(tokenizer, process.stderr)] : []),
              ...(args.verbose ? [listed(tokenizer, process.stderr, prompts.length)] : []),
              ...kept
            ])
        const seconds = (performance.now() - begun) / 1000
        if (args.json) {
          const results = made.texts.map((text, i) => ({ prompt: asked[i]!, ...text }))
          return printJson({ model: name, mode, seed: args.seed, seconds, forwards: made.forwards, texts: results })
        }
        if (mode === "diffusion") for (const { text } of made.texts) printData(`${text}\n`)
        const tokens = made.texts.reduce((sum, text) => sum + text.tokens.length, 0)
        const passes =
          made.forwards === undefined ? "" : `, ${made.forwards} forward ${made.forwards === 1 ? "pass" : "passes"}`
        const speed = `${(tokens / seconds).toFixed(0)} tok/s`
        const stopped = made.texts.length === 1 ? ` (${made.texts[0]!.stopped})` : ` in ${made.texts.length} texts`
        process.stderr.write(dim(`${name}, ${tokens} tokens${stopped}${passes}, ${speed}, seed ${args.seed}\n`))
      }).pipe(Effect.scoped)

    if (args.prompts.length > 0)
      return yield* answer(
        yield* Effect.forEach(args.prompts, text => (text === "-" ? standardInput : Effect.succeed(text)))
      )
    // Somebody at a terminal tries again; a script wants to know.
    const orSay = <E, R>(effect: Effect.Effect<void, E, R>) =>
      process.stdin.isTTY
        ? Effect.catchIf(
            effect,
            error => error instanceof ConfigError,
            error => Effect.sync(() => void process.stderr.write(`${render(error)}\n`))
          )
        : effect
    yield* Stream.runForEach(promptLines, line => orSay(answer([line])))
  }, Effect.scoped)
})

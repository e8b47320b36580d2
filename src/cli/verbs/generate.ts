/** `pipeline generate`: text from a model. */
import { Effect, Option, Stream } from "effect"
import { Argument, Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { positionsOf } from "../../models/families.ts"
import { ConfigError, render } from "../../pipeline/ConfigError.ts"
import * as flags from "../flags.ts"
import { decodingFlags, modelFlags } from "./generate/decodingFlags.ts"
import { modeOf, openNamed } from "./generate/opened.ts"
import { makeChat } from "./generate/chat.ts"
import { promptLines, standardInput } from "./generate/prompts.ts"
import { checkStops, diffusionOf, maskSettingsOf, roomFor, samplingOf } from "./generate/settings.ts"
import { speculationOf } from "./generate/speculation.ts"
import { type Passes, statisticsLine, tokensPerPass } from "./generate/statistics.ts"
import { beginHistory, history, listed, redrawn } from "./generate/steps.ts"
import { autoregressive, diffusion, type Made, type Task } from "./generate/texts.ts"
import { checkDecoding } from "./generate/unread.ts"
import { redraws, styleOf } from "../terminal/style.ts"
import { greatest } from "../../pipeline/lists.ts"
import { endWithReader } from "../ending.ts"
import { printData, printJson } from "../terminal/terminal.ts"

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
    "pipeline generate --stop . --stop '!' \"The people of the\"": "Up to the end of a sentence",
    "pipeline generate -m pretrain-teacher/pretrain": "Asks for prompts, until exit",
    "pipeline generate --chat -m ./Qwen3-0.6B": "A conversation; clear begins a new one, exit ends"
  },
  takes: {
    prompts: flags
      .argument(
        "prompt",
        "Texts to go on from, together; - reads one from standard input. Without any, every line of standard input is one, until exit"
      )
      .pipe(Argument.variadic({ min: 0 })),
    ...modelFlags,
    chat: flags.toggle(
      "chat",
      "Converse by the model's chat template: every text is a turn, to which the model replies; clear begins anew, exit ends"
    ),
    system: flags.optionalText("system", "TEXT", "With --chat: what the model is told before the first turn"),
    numReturnSequences: flags
      .whole("num-return-sequences", "N", "Texts for each prompt (default: 1)")
      .pipe(Flag.withDefault(1)),
    stop: flags
      .text(
        "stop",
        "TEXT",
        "A text ends before it, and takes no passes for what is behind; may be repeated (default: none)"
      )
      .pipe(flags.repeated),
    ...decodingFlags,
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
      "diffusion: keep every step in this file: FILE.jsonl as JSON Lines (step, prompt, ids, text), FILE.svg as an animated picture"
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
    if (args.chat && args.numReturnSequences > 1)
      return yield* new ConfigError({ at: "--num-return-sequences", message: "a turn of --chat has one reply" })
    // Wrong values are refused before a model is looked for, and what nobody would read before it is loaded.
    yield* Effect.all([samplingOf(args, "ar"), maskSettingsOf(args, 1), checkStops(args.stop)])
    const { chat: chats, draftTokens } = args
    const opened = yield* openNamed(args, described =>
      Effect.gen(function* () {
        const mode = yield* modeOf(args.mode, described.model)
        yield* checkDecoding(args, args, { ...described, mode, chat: chats, drafts: Option.isSome(draftTokens) })
        if (Option.isSome(args.historyOut)) yield* beginHistory(args.historyOut.value)
      })
    )
    endWithReader()
    const { engine, method, model, name } = opened
    const mode = yield* modeOf(args.mode, model)
    const speculation = mode === "ar" ? yield* speculationOf(args, { engine, model }) : undefined
    const { tokenizer } = model
    const { dim } = styleOf(process.stderr)

    const watchers = (texts: ReadonlyArray<string>) => [
      ...(redraws(process.stderr) && !args.json && !args.verbose ? [redrawn(tokenizer, process.stderr)] : []),
      ...(args.verbose ? [listed(tokenizer, process.stderr, texts.length)] : []),
      ...Option.toArray(args.historyOut).map(file => history(tokenizer, file, texts, `${name} denoises`))
    ]

    const answer = (texts: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const asked = texts.flatMap(text => Array<string>(args.numReturnSequences).fill(text))
        const prompts = asked.map(tokenizer.encode)
        if (prompts.some(({ length }) => length === 0))
          return yield* new ConfigError({ at: "prompt", message: "is empty", advice: "a model goes on from a text" })
        const longest = greatest(prompts.map(({ length }) => length))
        const newTokens = yield* roomFor(longest, positionsOf(model.json), args.maxNewTokens)
        const settings = yield* diffusionOf(args, newTokens, method.blockLength?.(model))
        const task: Task = { engine, method, model, prompts, newTokens, seed: args.seed, stops: args.stop }
        const begun = performance.now()
        const {
          texts: made,
          ...passes
        }: { readonly texts: ReadonlyArray<Made> } & Pick<Passes, "ofTexts"> & Partial<Passes> = yield* mode === "ar"
          ? autoregressive(task, yield* samplingOf(args, mode), {
              speculation,
              ...(args.json ? {} : { print: printData })
            })
          : diffusion(task, settings, watchers(asked))
        const seconds = (performance.now() - begun) / 1000
        const tokens = made.reduce((sum, text) => sum + text.tokens.length, 0)
        if (args.json) {
          const results = made.map((text, i) => ({ prompt: asked[i]!, ...text }))
          const { forwards, ofTexts } = passes
          const perPass = forwards === undefined ? {} : { forwards, tokensPerPass: tokensPerPass(tokens, ofTexts) }
          return printJson({ model: name, mode, seed: args.seed, seconds, ...perPass, texts: results })
        }
        if (mode === "diffusion") for (const { text } of made) printData(`${text}\n`)
        const line = statisticsLine({
          name,
          texts: made.length,
          tokens,
          stopped: made[0]!.stopped,
          seconds,
          seed: args.seed,
          ...(passes.forwards === undefined ? {} : { passes: { ...passes, forwards: passes.forwards } })
        })
        process.stderr.write(dim(`${line}\n`))
      }).pipe(Effect.scoped)

    const chat = args.chat ? yield* makeChat(opened, mode, args, line => watchers([line])) : undefined
    const reply = Effect.fnUntraced(function* (line: string) {
      return yield* chat === undefined ? answer([line]) : chat(line)
    })
    if (args.prompts.length > 0) {
      const texts = yield* Effect.forEach(args.prompts, text => (text === "-" ? standardInput : Effect.succeed(text)))
      return yield* chat === undefined ? answer(texts) : Effect.forEach(texts, reply, { discard: true })
    }
    // Somebody at a terminal tries again; a script wants to know.
    const orSay = <E, R>(effect: Effect.Effect<void, E, R>) =>
      process.stdin.isTTY
        ? Effect.catchIf(
            effect,
            error => error instanceof ConfigError,
            error => Effect.sync(() => void process.stderr.write(`${render(error)}\n`))
          )
        : effect
    yield* Stream.runForEach(promptLines, line => orSay(reply(line)))
  }, Effect.scoped)
})

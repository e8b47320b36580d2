/** `pipeline generate`: text from a model. */
import { Effect, Option, Stream } from "effect"
import { Argument, Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { positionsOf } from "../../models/families.ts"
import { ConfigError, render } from "../../pipeline/ConfigError.ts"
import * as flags from "../flags.ts"
import { decodingFlags, modelFlags } from "./generate/decodingFlags.ts"
import { modeRefusal, openNamed } from "./generate/opened.ts"
import { promptLines, standardInput } from "./generate/prompts.ts"
import { diffusionOf, roomFor, samplingOf } from "./generate/settings.ts"
import { beginHistory, history, listed, redrawn } from "./generate/steps.ts"
import { autoregressive, diffusion, type Task } from "./generate/texts.ts"
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
    "pipeline generate -m pretrain-teacher/pretrain": "Asks for prompts, until exit"
  },
  takes: {
    prompts: flags
      .argument(
        "prompt",
        "Texts to go on from, together; - reads one from standard input. Without any, every line of standard input is one, until exit"
      )
      .pipe(Argument.variadic({ min: 0 })),
    ...modelFlags,
    numReturnSequences: flags
      .whole("num-return-sequences", "N", "Texts for each prompt (default: 1)")
      .pipe(Flag.withDefault(1)),
    ...decodingFlags,
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
    // Wrong numbers are refused before a model is read.
    yield* Effect.all([samplingOf(args, "ar"), diffusionOf(args, 1)])
    if (Option.isSome(args.historyOut)) yield* beginHistory(args.historyOut.value)
    endWithReader()
    const { engine, method, model, name } = yield* openNamed(args)
    const mode = Option.getOrElse(args.mode, () => (model.diffusion ? "diffusion" : "ar"))
    const refusal = modeRefusal(model, mode)
    if (refusal !== undefined) return yield* new ConfigError({ at: `--mode ${mode}`, ...refusal })
    const { tokenizer } = model
    const { dim } = styleOf(process.stderr)

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
          ? autoregressive(task, yield* samplingOf(args, mode), piece => {
              if (!args.json) printData(piece)
            })
          : diffusion(task, yield* diffusionOf(args, newTokens), [
              ...(redraws(process.stderr) && !args.json && !args.verbose ? [redrawn(tokenizer, process.stderr)] : []),
              ...(args.verbose ? [listed(tokenizer, process.stderr, prompts.length)] : []),
              ...Option.toArray(args.historyOut).map(file => history(tokenizer, file, asked, `${name} denoises`))
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

/** `pipeline serve`: a model behind an endpoint that OpenAI's clients talk to. */
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { isLoopback } from "../../serving/gate.ts"
import { listen } from "../../serving/http.ts"
import { findChatTemplate, plainTemplate } from "../../tokens/chatTemplate.ts"
import * as flags from "../flags.ts"
import { untilStopped } from "../interruption.ts"
import { warn } from "../look.ts"
import { styleOf } from "../terminal/style.ts"
import { printJson } from "../terminal/terminal.ts"
import { verb } from "../verb.ts"
import { decodingOf, makeAnswering } from "./generate/answering.ts"
import { decodingFlags, decodingNames, modelFlags } from "./generate/decodingFlags.ts"
import { modeOf, modeRefusal, openNamed } from "./generate/opened.ts"
import { defaultNewTokens, maskSettingsOf, samplingOf } from "./generate/settings.ts"
import { checkDecoding } from "./generate/unread.ts"

/** Where the token is looked for when no flag has it: other users of a machine see its command lines. */
const keyVariable = "PIPELINE_API_KEY"

export const command = verb("serve", {
  about: "Answer requests of OpenAI's clients with a trained model, over HTTP",
  examples: {
    "pipeline serve": "The model that ships with the program, at http://127.0.0.1:8000/v1",
    "pipeline serve -m compare-50x/train/no_align --block-length 32 --threshold 0.9":
      "A diffusion model that a run trained, block by block; a request may ask for other settings",
    "PIPELINE_API_KEY=$(cat token) pipeline serve -m ./Qwen3-0.6B --host 0.0.0.0 --port 8080":
      "For other machines, which must send the token",
    'curl http://127.0.0.1:8000/v1/completions -H \'Content-Type: application/json\' -d \'{"prompt": "The people", "max_tokens": 16}\'':
      "Asks for a text; docs/serving.md has what else can be asked"
  },
  takes: {
    ...modelFlags,
    host: flags
      .text("host", "HOST", "Address to listen on; another than this machine's own needs a token (default: 127.0.0.1)")
      .pipe(Flag.withDefault("127.0.0.1")),
    port: flags
      .whole("port", "N", "Port to listen on; 0 takes one that is free (default: 8000)")
      .pipe(Flag.withDefault(8000)),
    apiKey: flags.optionalText(
      "api-key",
      "TOKEN",
      `Token that every request must send (default: $${keyVariable}, which others do not see in the list of processes)`
    ),
    allowOrigin: flags
      .text(
        "allow-origin",
        "ORIGIN",
        "Lets pages of this origin ask, such as http://localhost:3000; * lets all; may be repeated"
      )
      .pipe(flags.repeated),
    servedName: flags.optionalText("served-name", "NAME", "What clients call the model (default: as -m names it)"),
    rows: flags
      .whole("rows", "N", "Texts that are decoded together, at most (default: 8)")
      .pipe(flags.atLeast(1), Flag.withDefault(8)),
    queue: flags
      .whole(
        "queue",
        "N",
        "Texts that may be waited for at once; beyond, requests are told to come again (default: 256)"
      )
      .pipe(flags.atLeast(1), Flag.withDefault(256)),
    context: flags.optionalWhole(
      "context",
      "N",
      "Tokens of prompt and answer together, at most; memory is kept for as many in each row (default: 2048, or as many positions as the model knows)",
      2
    ),
    grace: flags
      .whole("grace", "SECONDS", "How long requests may take to be finished when the server stops (default: 10)")
      .pipe(flags.atLeast(0), Flag.withDefault(10)),
    ...decodingFlags,
    verbose: flags.toggle("verbose", "Print a line for every request on stderr"),
    engine: flags.engine,
    precision: flags.precision,
    python: flags.python,
    ...flags.ofCache
  },
  run: Effect.fn("serve")(function* (args) {
    // Wrong numbers are refused before a model is looked for.
    yield* Effect.all([samplingOf(args, "ar"), maskSettingsOf(args, 1)])
    const defaultTokens = Option.getOrElse(args.maxNewTokens, () => defaultNewTokens)
    if (defaultTokens < 1)
      return yield* new ConfigError({ at: "--max-new-tokens", message: "must be a whole number from 1 on" })
    if (args.port < 0 || args.port > 65535)
      return yield* new ConfigError({ at: `--port ${args.port}`, message: "must be a port, from 0 to 65535" })
    const apiKey = Option.getOrUndefined(args.apiKey) ?? process.env[keyVariable]
    const loopback = isLoopback(args.host)
    if (apiKey === "")
      return yield* new ConfigError({
        at: "--api-key",
        message: "is empty",
        advice: `leave it and ${keyVariable} out for none`
      })
    if (!loopback && apiKey === undefined)
      return yield* new ConfigError({
        at: `--host ${args.host}`,
        message: "other machines could ask",
        advice: `set a token that they must send: ${keyVariable}, or --api-key`
      })
    const given = Object.fromEntries(decodingNames.map(flag => [flag, args[flag]]))
    const opened = yield* openNamed(args, described =>
      Effect.gen(function* () {
        yield* modeOf(args.mode, described.model)
        // A request may ask for the other mode: flags are read by whoever does.
        const diffuses = modeRefusal(described.model, "diffusion") === undefined
        yield* checkDecoding(args, given, { ...described, mode: diffuses ? "diffusion" : "ar" })
      })
    )
    const { files, model, name } = opened
    const mode = yield* modeOf(args.mode, model)
    const template = Option.getOrUndefined(yield* findChatTemplate(files))
    if (template === undefined)
      warn(`${name} has no chat template: /v1/chat/completions writes turns in the plain form of docs/serving.md`)
    const { context, service } = yield* makeAnswering(opened, {
      rows: args.rows,
      most: args.queue,
      context: args.context
    })
    const { dim } = styleOf(process.stderr)
    const served = {
      service,
      name: Option.getOrElse(args.servedName, () => args.model),
      tokenizer: model.tokenizer,
      template: template ?? plainTemplate(model.tokenizer),
      context,
      mode,
      defaultNewTokens: defaultTokens,
      refusal: (asked: typeof mode) => modeRefusal(model, asked)?.message,
      decodingOf: decodingOf(args, opened)
    }
    const { stop, url } = yield* listen(served, {
      host: args.host,
      port: args.port,
      apiKey,
      origins: args.allowOrigin,
      loopback,
      grace: args.grace,
      ...(args.verbose
        ? {
            onRequest: ({ method, ms, path, status }) =>
              void process.stderr.write(dim(`${method} ${path} ${status} ${ms.toFixed(0)} ms\n`))
          }
        : {})
    })
    if (args.json) printJson({ url: `${url}/v1`, model: served.name, mode, context, rows: args.rows })
    else process.stderr.write(`${served.name} (${mode}) answers at ${url}/v1; Ctrl-C stops it\n`)
    yield* untilStopped
    process.stderr.write("stopping: requests under way are finished; press Ctrl-C again to end at once\n")
    yield* stop
  }, Effect.scoped)
})

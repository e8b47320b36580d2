/**
 * Decoders beside each other, turn by turn in one run: plain masked diffusion, blocks without a cache and with each, blocks of a model that attends by blocks, and token by token, here and by
 * transformers (PyTorch).
 *
 *     node bench/decoders.ts [--rounds N] [--models 3.6M,29M] [--threads N] [--tokens N]
 *     node bench/decoders.ts --model DIRECTORY [--problems N]
 *
 * The first: 512 tokens by random weights, always four of a block in a pass, so that decoders do the same work. The second: a trained diffusion model answers problems of the shipped tasks by
 * thresholds; how many are right stands beside the speed. PyTorch is that of the environment that `npm run test:interop` makes; `INTEROP_PYTHON` names another.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect, type Scope } from "effect"
import { table } from "../src/cli/terminal/style.ts"
import type { MaskDecoding } from "../src/decoding/blockSettings.ts"
import type { Engine, EngineError } from "../src/engines/Engine.ts"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { matmulPeak } from "../src/engines/matmulPeak.ts"
import { exactMatch } from "../src/evaluation/tasks/exactMatch.ts"
import { promptedTasks } from "../src/evaluation/tasks/tasks.ts"
import type { Prompted } from "../src/evaluation/tasks/Task.ts"
import { evenly } from "../src/evaluation/selection.ts"
import { quantile } from "../src/evaluation/timing.ts"
import { loadWhole } from "../src/methods/Method.ts"
import { openModel } from "../src/models/artifact.ts"
import { countParameters, type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { encodeModelConfig } from "../src/models/families.ts"
import { allocateParameters, initialise } from "../src/models/parameters.ts"
import { causalGenerator } from "../src/sessions/autoregressive.ts"
import { type GeneratedTexts, type Generator, maskedGenerator } from "../src/sessions/generator.ts"
import type { StageError } from "../src/pipeline/StageError.ts"
import { base, smallModels } from "./models.ts"
import { startPython } from "./python.ts"

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    models: { type: "string", default: "3.6M,29M" },
    threads: { type: "string", default: "2" },
    tokens: { type: "string", default: "512" },
    model: { type: "string" },
    problems: { type: "string", default: "100" }
  }
})
const [rounds, threads, newTokens] = [flags.rounds, flags.threads, flags.tokens].map(Number) as [number, number, number]
/** Tokens of a block, and those that a pass reveals. */
const [block, atOnce] = [32, 4]
const promptIds = Array.from({ length: 16 }, (_, k) => 300 + 31 * k)

const greedy = { temperature: 0, alg: "maskgit_plus", algTemp: 0, schedule: "quota", eps: 1e-3 } as const
const inBlocks = { ...greedy, blockLength: block } as const

type Made = Pick<GeneratedTexts, "forwards" | "flops"> & { readonly ms: number }

interface Contender {
  readonly name: string
  readonly turn: () => Promise<Made>
}

const byTransformers = async (config: ModelConfig): Promise<Contender & { readonly end: () => void }> => {
  const { end, next, send } = startPython("decoders.py")
  send({ config: encodeModelConfig(config), threads, prompt: promptIds, new_tokens: newTokens })
  const { parameters, torch } = await next<{ readonly torch: string; readonly parameters: number }>()
  if (parameters !== countParameters(config))
    throw new Error(`PyTorch's model has ${parameters} parameters, ours ${countParameters(config)}`)
  const turn = async () => {
    send("a turn")
    return { ms: await next<number>(), forwards: [newTokens], flops: 0 }
  }
  return { name: `token by token, transformers (PyTorch ${torch})`, turn, end }
}

/** Decoders of random weights. */
const speeds = (name: string, config: ModelConfig) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads })
      const parameters = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, parameters, 1)
      const shape = { prompts: 1, promptTokens: promptIds.length, newTokens }
      // No text ends by itself.
      const tokenizer = { maskId: base.vocab_size - 1, padId: 0, eosId: -1, ends: new Set<number>() }
      const model = { config, parameters: parameters.views, tokenShift: true, tokenizer }
      const prompts = [Int32Array.from(promptIds)]
      const contender = (
        called: string,
        generator: Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope>
      ): Effect.Effect<Contender, EngineError | StageError, Scope.Scope> =>
        Effect.map(generator, ({ generate }) => ({
          name: called,
          turn: async () => {
            const begun = performance.now()
            const { flops, forwards } = await Effect.runPromise(
              generate({ prompts, steps: newTokens / atOnce, seed: 1 })
            )
            return { ms: performance.now() - begun, forwards, flops }
          }
        }))
      const masked = (decoding: MaskDecoding, changes: Partial<ModelConfig> = {}) =>
        maskedGenerator(engine, { ...model, config: { ...config, ...changes } }, shape, decoding)
      const contenders: Array<Contender> = yield* Effect.all([
        contender("plain", masked(greedy)),
        contender("blocks", masked(inBlocks)),
        contender("blocks, prefix cache", masked({ ...inBlocks, cache: "prefix" })),
        contender("blocks, dual cache", masked({ ...inBlocks, cache: "dual" })),
        contender("blocks of attention, cache", masked(inBlocks, { attentionBlockSize: block })),
        contender("token by token", causalGenerator(engine, model, shape, { temperature: 0 }))
      ])
      const other = yield* Effect.promise(() => byTransformers(config))
      contenders.push(other)
      const { perSecond } = yield* matmulPeak(engine)
      const made = new Map<string, Array<Made>>(contenders.map(each => [each.name, []]))
      yield* Effect.promise(async () => {
        // The first turn compiles, and does not count.
        for (let round = 0; round <= rounds; round++)
          for (const each of contenders) {
            const turn = await each.turn()
            if (round > 0) made.get(each.name)!.push(turn)
          }
        other.end()
      })
      return contenders.map(each => {
        const turns = made.get(each.name)!
        const ms = quantile(
          turns.map(turn => turn.ms).toSorted((a, b) => a - b),
          0.5
        )
        const [{ flops, forwards }] = turns as [Made]
        const passes = forwards[0]!
        return {
          model: name,
          parameters: countParameters(config),
          decoder: each.name,
          passes,
          tokensPerForward: newTokens / passes,
          msPerPass: ms / passes,
          tokensPerSecond: (1000 * newTokens) / ms,
          gflop: flops / 1e9,
          shareOfPeak: flops / (ms / 1000) / perSecond
        }
      })
    })
  )

const answerTokens = 64
const thresholds = [0.5, 0.7, 0.9]
const taskNames = ["sort", "order", "sudoku"] as const

/** Answers of a trained model. */
const answers = (directory: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine: Engine = yield* makeOrt({ threads })
      const files = readdirSync(directory).map(name => ({ name, path: join(directory, name) }))
      const { method, model } = yield* loadWhole(engine, yield* openModel(files))
      const decoders: { readonly [name: string]: Partial<MaskDecoding> } = {
        "one block": { blockLength: answerTokens },
        blocks: { blockLength: 16 },
        "blocks, prefix cache": { blockLength: 16, cache: "prefix" },
        "blocks, dual cache": { blockLength: 16, cache: "dual" },
        "several blocks": { blockLength: 16, blockAddThreshold: 0.1, decodedTokenThreshold: 0.95 },
        "several blocks, dual cache": {
          blockLength: 16,
          blockAddThreshold: 0.1,
          decodedTokenThreshold: 0.95,
          cache: "dual",
          cacheDelayIter: 2
        }
      }
      const found = []
      for (const [decoder, settings] of Object.entries(decoders))
        for (const threshold of thresholds) {
          let [right, tokens, forwards, ms, problems] = [0, 0, 0, 0, 0]
          for (const task of taskNames) {
            const rows = readFileSync(join(import.meta.dirname, "..", "assets", task, "problems.jsonl"), "utf8")
            const all = rows
              .trim()
              .split("\n")
              .map(line => JSON.parse(line) as Prompted)
            const chosen = evenly(all, Number(flags.problems)) as unknown as readonly [Prompted, ...Array<Prompted>]
            const { answers: given } = yield* exactMatch(
              {
                task: promptedTasks[task],
                problems: chosen,
                tokenizer: model.tokenizer,
                points: [{ threshold }],
                seed: 0
              },
              size =>
                Effect.map(
                  method.generator(engine, model, { ...size, newTokens: answerTokens }, {
                    ...greedy,
                    ...settings
                  } as MaskDecoding),
                  generator => ({
                    ...generator,
                    generate: request =>
                      Effect.gen(function* () {
                        // Compiles.
                        yield* generator.generate({ ...request, prompts: request.prompts.slice(0, 20) })
                        const begun = performance.now()
                        const texts = yield* generator.generate(request)
                        ms += performance.now() - begun
                        return texts
                      })
                  })
                )
            )
            for (const { forwards: own, outcome, tokens: written } of given[0].responses) {
              problems++
              right += outcome === "right" ? 1 : 0
              tokens += written
              forwards += own
            }
          }
          found.push({
            decoder,
            threshold,
            right: right / problems,
            tokensPerForward: tokens / forwards,
            tokensPerSecond: (1000 * tokens) / ms
          })
        }
      return found
    })
  )

const keep = (file: string, results: object) => {
  const folder = join(import.meta.dirname, "results")
  mkdirSync(folder, { recursive: true })
  const where = { date: new Date().toISOString().slice(0, 10), processor: cpus()[0]?.model, node: process.version }
  writeFileSync(join(folder, file), `${JSON.stringify({ ...where, threads, results }, null, 2)}\n`)
}
const print = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>) =>
  process.stdout.write(`${table([head, ...rows], new Set(head.map((_, i) => i).slice(1)))}\n`)

if (flags.model === undefined)
  for (const name of flags.models.split(",")) {
    const config = smallModels[name]
    if (config === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(smallModels).join(", ")}`)
    const found = await Effect.runPromise(speeds(name, config))
    keep(`decoders-${name}.json`, found)
    print(
      [`${name}, ${newTokens} tokens`, "passes", "tok/pass", "ms/pass", "tok/s", "to plain", "GFLOP", "of peak"],
      found.map(each => [
        each.decoder,
        String(each.passes),
        each.tokensPerForward.toFixed(1),
        each.msPerPass.toFixed(2),
        each.tokensPerSecond.toFixed(0),
        `${(each.tokensPerSecond / found[0]!.tokensPerSecond).toFixed(2)} x`,
        each.gflop === 0 ? "" : each.gflop.toFixed(0),
        each.gflop === 0 ? "" : `${(100 * each.shareOfPeak).toFixed(0)} %`
      ])
    )
  }
else {
  const found = await Effect.runPromise(answers(flags.model))
  keep("decoders-answers.json", found)
  print(
    ["decoder", "threshold", "right", "tok/pass", "tok/s"],
    found.map(each => [
      each.decoder,
      String(each.threshold),
      `${(100 * each.right).toFixed(1)} %`,
      each.tokensPerForward.toFixed(2),
      each.tokensPerSecond.toFixed(0)
    ])
  )
}

/** Texts that a model writes while it learns: token by token, as the autoregressive model that it was, and from masks. */
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { PositiveInt, setting } from "../../config/setting.ts"
import type { FileError } from "../../formats/fileError.ts"
import type { Tokenizer } from "../../tokens/tokenizer.ts"
import { DiffusionDecoding, mdmDefaults } from "../../decoding/diffusion.ts"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import { causalGenerator } from "../../sessions/autoregressive.ts"
import { untilEnd, type Writer } from "../../sessions/generator.ts"
import { maskedGenerator } from "../../sessions/maskedGenerator.ts"
import type { ModelConfig } from "../../models/config.ts"
import { lineFile } from "../../training/log.ts"
import type { Observer } from "../../training/loop.ts"

export const ProbeSettings = Schema.Struct({
  /** Steps between two samples of text, written token by token and from masks; 0: none */
  genSampleEverySteps: setting(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), 0),
  /** What the samples continue */
  genSamplePrompts: setting(Schema.Array(Schema.NonEmptyString), ["The meaning of life is", "def fibonacci(n):"]),
  /** New tokens of a sample */
  genSampleTokens: setting(PositiveInt, 64),
  /** Denoising steps of a sample from masks */
  genSampleSteps: setting(PositiveInt, 16)
})
export type ProbeSettings = typeof ProbeSettings.Type

export interface ProbeData {
  readonly seed: number
  readonly tokenizer: Tokenizer
  /** Tokens of the blocks in which texts are written from masks. Left out: all are one. */
  readonly blockSize?: number | undefined
}

/** One line for each prompt and look. */
export const generationsFile = "generations.jsonl"

const decoding = Schema.decodeUnknownSync(DiffusionDecoding)(mdmDefaults)

export const generationProbe = (
  engine: Engine,
  config: ModelConfig,
  settings: ProbeSettings,
  { blockSize, seed, tokenizer }: ProbeData
): Observer<EngineError | FileError> => ({
  every: settings.genSampleEverySteps,
  prepare: ({ frozen, parameters }, directory) =>
    Effect.gen(function* () {
      const { genSampleSteps: wanted, genSampleTokens: newTokens } = settings
      const { ends } = tokenizer
      const views = { ...frozen.views, ...parameters.views }
      const prompts = settings.genSamplePrompts
        .map(text => ({ text, ids: tokenizer.encode(text) }))
        .filter(({ ids }) => ids.length > 0)
      const length = newTokens + prompts.reduce((most, { ids }) => Math.max(most, ids.length), 0)
      const model = { config, parameters: views, tokenShift: true, tokenizer }
      const shape = { prompts: 1, promptTokens: length - newTokens, newTokens }
      const append = lineFile(join(directory, generationsFile))
      const byTokens = yield* causalGenerator(engine, model, shape, decoding)
      const inBlocks = blockSize === undefined ? {} : { blockLength: blockSize }
      // Only a cache could be refused.
      const byMasks = yield* Effect.catchTag(
        maskedGenerator(engine, model, shape, { ...decoding, ...inBlocks }),
        "StageError",
        Effect.die
      )
      // At least a step for each block: fewer would make blocks larger.
      const steps = blockSize === undefined ? wanted : Math.max(wanted, Math.ceil(newTokens / blockSize))
      const written = (generator: Writer<EngineError>) => (prompt: Int32Array) =>
        Effect.map(generator.generate({ prompts: [prompt], steps, seed }), ({ sequences: [ids] }) => [
          ...untilEnd(ids!.subarray(prompt.length), ends)
        ])
      const [autoregressive, fromMasks] = [written(byTokens), written(byMasks)]
      return (step: number) =>
        Effect.gen(function* () {
          const lines: Array<{ readonly step: number; readonly [field: string]: unknown }> = []
          const totals = { ar: { tokens: 0, seconds: 0 }, diff: { tokens: 0, seconds: 0 } }
          for (const { ids, text } of prompts) {
            const ar = yield* timed(autoregressive(ids))
            const diff = yield* timed(fromMasks(ids))
            for (const [total, { seconds, tokens }] of [
              [totals.ar, ar],
              [totals.diff, diff]
            ] as const) {
              total.tokens += tokens.length
              total.seconds += seconds
            }
            lines.push({
              step,
              prompt: text,
              ar_text: tokenizer.decode(ar.tokens),
              diffusion_text: tokenizer.decode(diff.tokens),
              ar_tok_per_sec: ar.tokens.length / ar.seconds,
              diff_tok_per_sec: diff.tokens.length / diff.seconds
            })
          }
          yield* append(step, lines)
          return {
            "inference/ar_tok_per_sec": totals.ar.tokens / totals.ar.seconds,
            "inference/diff_tok_per_sec": totals.diff.tokens / totals.diff.seconds
          }
        })
    })
})

/** Tokens before the end of the text, and the seconds that they took. */
const timed = <E>(make: Effect.Effect<ReadonlyArray<number>, E>) =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(make, tokens => ({ tokens, seconds: (performance.now() - start) / 1000 }))
  })

import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeCausalWriter } from "../../src/sessions/autoregressive.ts"
import { textKey } from "../../src/decoding/draws.ts"
import { sampleToken } from "../../src/decoding/sampling.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { subkey, uniformAt } from "../../src/tensor/random.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { expertsConfig, hybridConfig, modelConfig } from "../support/tinyModel.ts"

const configs: { readonly [name: string]: ModelConfig } = {
  Qwen3: modelConfig({ heads: 4, keyValueHeads: 2, vocabSize: 23, initializerRange: 0.6 }),
  "Qwen3.5": hybridConfig({ vocab_size: 23, initializer_range: 0.6 }),
  "Qwen3.5 with experts": expertsConfig({ vocab_size: 23, initializer_range: 0.6 })
}

/** Decodes without a cache: all of the text again for every token, from the equations. */
const byHand = (
  config: ModelConfig,
  prompt: ReadonlyArray<number>,
  n: number,
  {
    seed,
    suppressed,
    temperature
  }: { readonly seed: number; readonly suppressed: number; readonly temperature: number }
): ReadonlyArray<number> => {
  const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 4)]))
  const ids = [...prompt]
  for (let made = 0; made < n; made++) {
    const { logits } = bruteForward(config, name => values.get(name)!, ids, true)
    const row = [...logits.at(-1)!].with(suppressed, -Infinity)
    ids.push(sampleToken(row, { temperature }, uniformAt(subkey(textKey(seed, prompt), "tokens"), made)).token)
  }
  return ids.slice(prompt.length)
}

const suppressed = 22
const decoding = <A, E>(
  config: ModelConfig,
  use: (
    generate: (
      prompt: ReadonlyArray<number>,
      n: number,
      seed: number,
      temperature: number,
      stop?: number
    ) => Effect.Effect<ReadonlyArray<number>, E>
  ) => Effect.Effect<A, E>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads: 1 })
      const buffers = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, buffers, 4)
      const writerFor = (eosId: number) => {
        const model = {
          config,
          parameters: buffers.views,
          tokenizer: { ends: new Set([eosId]), maskId: suppressed, padId: 0 }
        }
        return makeCausalWriter(engine, model, { rows: 1, length: 80 })
      }
      const endless = yield* writerFor(-1)
      return yield* use(
        (prompt, newTokens, seed, temperature, stop) =>
          Effect.gen(function* () {
            const { write } = stop === undefined ? endless : yield* writerFor(stop)
            const told: Array<number> = []
            const onTokens = (_: number, tokens: ReadonlyArray<number>) => Effect.sync(() => void told.push(...tokens))
            const { texts } = yield* write({ prompts: [prompt], newTokens, sampling: { temperature }, seed, onTokens })
            expect(told).toEqual([...texts[0]!.tokens])
            return told
          }).pipe(Effect.scoped) as never
      )
    })
  )

describe.each(Object.entries(configs))("decoding token by token: %s", (_name, config) => {
  it.live(
    "with a cache gives what reading the whole text again gives, for prompts of any length, one after the other",
    () =>
      decoding(config, generate =>
        Effect.gen(function* () {
          for (const [length, n] of [
            [1, 12],
            [31, 5],
            [32, 4],
            [33, 20],
            [60, 20],
            [3, 8]
          ] as const) {
            const prompt = Array.from({ length }, (_, i) => (i * i + 3 * length) % 22)
            for (const temperature of [0, 1]) {
              const expected = byHand(config, prompt, n, { seed: length, suppressed, temperature })
              expect(yield* generate(prompt, n, length, temperature), `${length} tokens`).toEqual(expected)
            }
          }
        })
      )
  )

  it.live("ends before the token that ends a text, and never draws what is suppressed", () =>
    decoding(config, generate =>
      Effect.gen(function* () {
        const whole = yield* generate([5, 6], 40, 1, 1.5)
        expect(whole).toHaveLength(40)
        expect(whole).not.toContain(suppressed)
        const stop = whole[17]!
        expect(yield* generate([5, 6], 40, 1, 1.5, stop)).toEqual(whole.slice(0, whole.indexOf(stop)))
      })
    )
  )

  it.live("refuses an empty prompt and a text that is too long", () =>
    decoding(config, generate =>
      Effect.gen(function* () {
        const exits = [yield* Effect.exit(generate([], 1, 0, 0)), yield* Effect.exit(generate([1, 2], 95, 0, 0))]
        expect(String(exits[0])).toMatch(/a prompt needs at least one token/)
        expect(String(exits[1])).toMatch(/2 \+ 95 tokens do not fit into 80/)
      })
    )
  )
})

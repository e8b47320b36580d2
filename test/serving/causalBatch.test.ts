import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { type CausalBatch, makeCausalBatch, scoreOf } from "../../src/serving/causalBatch.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { expertsConfig, hybridConfig, modelConfig } from "../support/tinyModel.ts"

const configs: { readonly [name: string]: ModelConfig } = {
  Qwen3: modelConfig({ heads: 4, keyValueHeads: 2, vocabSize: 23, initializerRange: 0.6 }),
  "Qwen3.5": hybridConfig({ vocab_size: 23, initializer_range: 0.6 }),
  "Qwen3.5 with experts": expertsConfig({ vocab_size: 23, initializer_range: 0.6 })
}

const withBatch = (
  config: ModelConfig,
  use: (
    batch: CausalBatch,
    truth: (ids: ReadonlyArray<number>) => ReadonlyArray<ReadonlyArray<number>>
  ) => Effect.Effect<void, unknown>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads: 1 })
      const buffers = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, buffers, 4)
      const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 4)]))
      const batch = yield* makeCausalBatch(engine, config, buffers.views, { rows: 3, most: 70 })
      yield* use(batch, ids => bruteForward(config, name => values.get(name)!, [...ids], true).logits)
    })
  )

const close = (found: ArrayLike<number>, expected: ReadonlyArray<number>, tolerance = 1e-4) => {
  expect(found.length).toBe(expected.length)
  for (const [i, value] of expected.entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(tolerance)
}

const logSoftmax = (row: ReadonlyArray<number>): ReadonlyArray<number> => {
  const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0))
  return row.map(value => value - total)
}

const text = (length: number, from: number) => Int32Array.from({ length }, (_, i) => (7 * i + 3 * from + i * i) % 22)

describe("a causal batch", () => {
  for (const [name, config] of Object.entries(configs))
    it.effect(`gives every row the logits of its own text alone, whatever the others do: ${name}`, () =>
      withBatch(config, (batch, truth) =>
        Effect.gen(function* () {
          expect(batch.capacity).toBe(70)
          /** Prompts shorter and longer than a chunk; rows are used again, and pause. */
          const texts: Array<Array<number> | undefined> = [undefined, undefined, undefined]
          const read = (slot: number, prompt: Int32Array) =>
            Effect.map(batch.read(slot, prompt, { scored: false }), ({ next, scores }) => {
              expect(scores).toEqual([])
              texts[slot] = [...prompt]
              close(next, truth([...prompt]).at(-1)!)
            })
          const step = (...slots: ReadonlyArray<number>) =>
            Effect.gen(function* () {
              const tokens = slots.map(slot => {
                const token = (5 * slot + texts[slot]!.length) % 22
                texts[slot]!.push(token)
                return { slot, token, position: texts[slot]!.length - 1 }
              })
              const found = yield* batch.step(tokens)
              for (const [i, slot] of slots.entries()) close(found[i]!, truth(texts[slot]!).at(-1)!)
            })
          yield* read(0, text(3, 1))
          yield* step(0)
          yield* read(1, text(40, 2))
          yield* step(0, 1)
          yield* step(1)
          yield* read(2, text(32, 3))
          yield* step(0, 1, 2)
          yield* step(2)
          yield* read(1, text(5, 4))
          yield* step(0, 1, 2)
          yield* step(1)
        })
      )
    )

  it.effect("scores the tokens of a prompt, each under the tokens before it", () =>
    withBatch(configs["Qwen3"]!, (batch, truth) =>
      Effect.gen(function* () {
        const prompt = text(45, 2)
        const { next, scores } = yield* batch.read(1, prompt, { scored: true })
        const expected = truth([...prompt]).map(logSoftmax)
        expect(scores).toHaveLength(44)
        for (const [i, { alternatives, logprob }] of scores.entries()) {
          expect(Math.abs(logprob - expected[i]![prompt[i + 1]!]!)).toBeLessThan(1e-4)
          const sorted = expected[i]!.map((value, token) => ({ token, logprob: value })).sort(
            (a, b) => b.logprob - a.logprob
          )
          expect(alternatives).toHaveLength(20)
          for (const [j, alternative] of alternatives.entries()) {
            expect(Math.abs(alternative.logprob - sorted[j]!.logprob)).toBeLessThan(1e-4)
            expect(Math.abs(alternative.logprob - expected[i]![alternative.token]!)).toBeLessThan(1e-4)
          }
        }
        const last = logSoftmax(truth([...prompt]).at(-1)!)
        const found = scoreOf(next, 4, 3)
        expect(Math.abs(found.logprob - last[4]!)).toBeLessThan(1e-4)
        const best = last.map((value, token) => ({ token, value })).sort((a, b) => b.value - a.value)
        expect(found.alternatives.map(({ token }) => token)).toEqual(best.slice(0, 3).map(({ token }) => token))
        expect(scoreOf(next, 4, 0).alternatives).toEqual([])
      })
    )
  )
})

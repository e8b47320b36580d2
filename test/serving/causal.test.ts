/** Jobs of a causal model that come and go: each has the text and the scores that it has alone, in as many passes as the schedule says. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Queue } from "effect"
import { textKey } from "../../src/decoding/draws.ts"
import { sampleToken } from "../../src/decoding/sampling.ts"
import type { TextPass, TextReader } from "../../src/decoding/textPass.ts"
import type { EngineError } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { makeCausalDecoder } from "../../src/serving/causal.ts"
import type { Decoder, Job, JobEvent } from "../../src/serving/job.ts"
import { type Scored, scoreOf } from "../../src/serving/scores.ts"
import { causalReader } from "../../src/sessions/autoregressive.ts"
import { subkey, uniformAt } from "../../src/tensor/random.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { expertsConfig, hybridConfig, modelConfig } from "../support/tinyModel.ts"

const [mask, end] = [22, 21]
const rows = 3
const configs: { readonly [name: string]: ModelConfig } = {
  Qwen3: modelConfig({ heads: 4, keyValueHeads: 2, vocabSize: 23, initializerRange: 0.6 }),
  "Qwen3.5": hybridConfig({ vocab_size: 23, initializer_range: 0.6 }),
  "Qwen3.5 with experts": expertsConfig({ vocab_size: 23, initializer_range: 0.6 })
}

interface Asked {
  readonly prompt: Int32Array
  readonly newTokens: number
  readonly temperature?: number
  readonly scorePrompt?: boolean
  readonly alternatives?: number
}

interface Answer {
  readonly tokens: ReadonlyArray<number>
  readonly scores: ReadonlyArray<Scored>
  readonly promptScores: ReadonlyArray<Scored>
  readonly ended: boolean
  readonly forwards: number
}

type Truth = (ids: ReadonlyArray<number>) => ReadonlyArray<ReadonlyArray<number>>

/** A decoder of three rows, what it reads, and the equations. */
const serving = (
  config: ModelConfig,
  use: (decoder: Decoder, passes: ReadonlyArray<ReadonlyArray<TextPass>>, truth: Truth) => Effect.Effect<void, unknown>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads: 1 })
      const buffers = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, buffers, 4)
      const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 4)]))
      const passes: Array<ReadonlyArray<TextPass>> = []
      const reader = Effect.map(
        causalReader(engine, config, buffers.views, { rows, length: 70 }),
        (own): TextReader<EngineError> => ({
          ...own,
          read: asked => {
            passes.push(asked)
            return own.read(asked)
          }
        })
      )
      const decoder = yield* makeCausalDecoder(reader, { rows, mask, ends: new Set([end]) })
      yield* use(decoder, passes, ids => bruteForward(config, name => values.get(name)!, [...ids], true).logits)
    })
  )

/** Asks for a text; `onEvent` may ask for others, or leave. */
const ask = (decoder: Decoder, asked: Asked, onEvent: (event: JobEvent, leave: () => void) => void = () => {}) => {
  const queue = Effect.runSync(Queue.unbounded<JobEvent>())
  let gone = false
  const { alternatives, newTokens, prompt, scorePrompt = false, temperature = 1 } = asked
  const job: Job = {
    prompt,
    newTokens,
    key: textKey(3, prompt),
    scorePrompt,
    alternatives,
    tell: event => {
      Queue.offerUnsafe(queue, event)
      onEvent(event, () => {
        gone = true
        decoder.look()
      })
    },
    gone: () => gone
  }
  decoder.submit({ mode: "ar", sampling: { temperature } }, [job])
  return Effect.gen(function* () {
    const answer = { tokens: [] as Array<number>, scores: [] as Array<Scored>, promptScores: [] as Array<Scored> }
    for (;;) {
      const event = yield* Queue.take(queue)
      if (event.type === "failed") return yield* event.error
      if (event.type === "prompt") answer.promptScores.push(...event.scores)
      if (event.type === "tokens") {
        answer.tokens.push(...event.tokens)
        answer.scores.push(...event.scores)
      }
      if (event.type === "done")
        return { ...answer, ended: event.ended, forwards: event.forwards } satisfies Answer as Answer
    }
  })
}

const text = (length: number, from: number) => Int32Array.from({ length }, (_, i) => (7 * i + 3 * from + i * i) % 21)

/** The text by the equations, all of it read again for every token. */
const byHand = (truth: Truth, { newTokens, prompt, temperature = 1 }: Asked) => {
  const ids = [...prompt]
  const key = subkey(textKey(3, prompt), "tokens")
  for (let made = 0; made < newTokens; made++) {
    const row = truth(ids).at(-1)!.with(mask, -Infinity)
    const { token } = sampleToken(row, { temperature }, uniformAt(key, made))
    if (token === end) return { tokens: ids.slice(prompt.length), ended: true }
    ids.push(token)
  }
  return { tokens: ids.slice(prompt.length), ended: false }
}

const logSoftmax = (row: ReadonlyArray<number>): ReadonlyArray<number> => {
  const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0))
  return row.map(value => value - total)
}

const closeTo = (found: Scored, row: ReadonlyArray<number>, token: number, alternatives: number) => {
  expect(Math.abs(found.logprob - row[token]!)).toBeLessThan(1e-4)
  const falling = row.map((logprob, id) => ({ id, logprob })).sort((a, b) => b.logprob - a.logprob)
  expect(found.alternatives).toHaveLength(alternatives)
  for (const [i, { logprob, token: id }] of found.alternatives.entries()) {
    expect(Math.abs(logprob - falling[i]!.logprob)).toBeLessThan(1e-4)
    expect(Math.abs(logprob - row[id]!)).toBeLessThan(1e-4)
  }
}

describe("a causal model that is served", () => {
  for (const [name, config] of Object.entries(configs))
    it.live(`gives texts that come and go those of the equations, whatever the others do: ${name}`, () =>
      serving(config, (decoder, passes, truth) =>
        Effect.gen(function* () {
          /** Prompts shorter and longer than what is read at once; more than there are rows. */
          const all: ReadonlyArray<Asked> = [
            { prompt: text(3, 1), newTokens: 12 },
            { prompt: text(40, 2), newTokens: 6 },
            { prompt: text(33, 3), newTokens: 3, temperature: 0 },
            { prompt: text(5, 4), newTokens: 9 },
            { prompt: text(1, 5), newTokens: 1 }
          ]
          // The others come when the first has its second token.
          let told = 0
          const later: Array<ReturnType<typeof ask>> = []
          const first = yield* ask(decoder, all[0]!, () => {
            if (++told === 2) for (const asked of all.slice(1)) later.push(ask(decoder, asked))
          })
          const found = [first, ...(yield* Effect.all(later))]
          for (const [i, asked] of all.entries()) {
            const { ended, forwards, tokens } = found[i]!
            expect({ ended, tokens }).toEqual(byHand(truth, asked))
            // The prompt in parts of 32 tokens, the last of which gives the first token, as each pass behind it gives one.
            const parts = Math.ceil(asked.prompt.length / 32)
            expect(forwards).toBe(parts - 1 + tokens.length + Number(ended))
          }
          // The first alone for two passes; then each that waits takes the row that is free first.
          const free = [found[0]!.forwards, 2, 2]
          for (const { forwards } of found.slice(1)) free[free.indexOf(Math.min(...free))]! += forwards
          expect(passes).toHaveLength(Math.max(...free))
          for (const open of passes) expect(new Set(open.map(({ row }) => row)).size).toBe(open.length)
        })
      )
    )

  it.live("frees the row of a text that nobody waits for, and none of its passes is made any more", () =>
    serving(configs["Qwen3"]!, (decoder, passes, truth) =>
      Effect.gen(function* () {
        const long: Asked = { prompt: text(4, 1), newTokens: 60 }
        let waits: ReturnType<typeof ask> | undefined
        const next: Asked = { prompt: text(6, 2), newTokens: 4 }
        const kept: Asked = { prompt: text(5, 7), newTokens: 30 }
        for (let i = 0; i < rows - 1; i++)
          ask(decoder, { ...long, prompt: text(4 + i, 9) }, (event, leave) => {
            if (event.type !== "tokens") return
            if (i === 0) waits ??= ask(decoder, next)
            leave()
          })
        const one = yield* ask(decoder, kept)
        expect(one.tokens).toEqual(byHand(truth, kept).tokens)
        expect((yield* waits!).tokens).toEqual(byHand(truth, next).tokens)
        expect(passes).toHaveLength(one.forwards)
      })
    )
  )

  it.live("fails one text alone, where its logits cannot be drawn from", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const vocabSize = 23
        const reader: TextReader<EngineError> = {
          vocabSize,
          length: 20,
          read: asked =>
            Effect.succeed(
              Float32Array.from(asked.flatMap(({ ids }) => Array<number>(vocabSize).fill(ids[0] === 13 ? NaN : 0)))
            )
        }
        const decoder = yield* makeCausalDecoder(Effect.succeed(reader), { rows, mask, ends: new Set([end]) })
        const asked = (first: number) => ask(decoder, { prompt: Int32Array.of(first), newTokens: 4 })
        const [good, bad] = [asked(1), asked(13)]
        expect((yield* good).forwards).toBeGreaterThan(0)
        expect(String(yield* Effect.flip(bad))).toMatch(/not all numbers/)
        expect((yield* asked(2)).forwards).toBeGreaterThan(0)
      })
    )
  )

  it.live("scores the tokens of a prompt, each under the tokens before it, and those that are drawn", () =>
    serving(configs["Qwen3"]!, (decoder, _, truth) =>
      Effect.gen(function* () {
        const prompt = text(45, 2)
        const [scored, alone] = yield* Effect.all([
          ask(decoder, { prompt, newTokens: 3, scorePrompt: true, alternatives: 2 }),
          ask(decoder, { prompt, newTokens: 0, scorePrompt: true, alternatives: 2 })
        ])
        const ids = [...prompt, ...scored.tokens]
        const rowsOf = truth(ids).map(logSoftmax)
        expect(scored.promptScores).toHaveLength(44)
        for (const [i, score] of scored.promptScores.entries()) closeTo(score, rowsOf[i]!, prompt[i + 1]!, 20)
        expect(scored.scores).toHaveLength(scored.tokens.length)
        for (const [i, score] of scored.scores.entries()) closeTo(score, rowsOf[44 + i]!, scored.tokens[i]!, 2)
        expect(alone.tokens).toEqual([])
        for (const [i, score] of alone.promptScores.entries()) closeTo(score, rowsOf[i]!, prompt[i + 1]!, 20)
        expect(alone.promptScores).toHaveLength(44)
        expect(alone.ended).toBe(false)
        expect(scoreOf(Float32Array.of(1, 2, 3), 1, 0).alternatives).toEqual([])
      })
    )
  )
})

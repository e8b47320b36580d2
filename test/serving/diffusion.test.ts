/** Jobs of a diffusion model that come and go: each has the text that it has alone, in as many passes as the schedule says. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Queue } from "effect"
import type { MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { textKey } from "../../src/decoding/draws.ts"
import type { OpenBatch, WrittenText } from "../../src/decoding/openBatch.ts"
import type { EngineError } from "../../src/engines/Engine.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import * as masked from "../../src/methods/masked/method.ts"
import type { Decoding as Method } from "../../src/methods/Method.ts"
import type { LoadedModel } from "../../src/models/artifact.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { makeDiffusionDecoder } from "../../src/serving/diffusion.ts"
import type { Decoder, Job, JobEvent } from "../../src/serving/job.ts"
import { untilEnd } from "../../src/sessions/generator.ts"
import { modelConfig } from "../support/tinyModel.ts"

const [vocabSize, mask, pad, eosId] = [20, 19, 0, 18]
const rows = 2
const newTokens = 6
type Settings = MaskDecoding & { readonly steps: number }
const base = { temperature: 1, algTemp: 0, schedule: "quota", eps: 1e-3 } as const
const whole: Settings = { ...base, alg: "entropy", steps: 6 }
const p2: Settings = { ...base, alg: "p2", algTemp: 0.5, steps: 4 }
const blocks: Settings = { ...base, alg: "maskgit_plus", threshold: 0.4, blockLength: 2, steps: 6 }

const kinds: { readonly [name: string]: Settings } = { "whole texts": whole, "whole texts by p2": p2, blocks }

/** A decoder of two rows, and the batches that it opened. */
const serving = (
  use: (
    decoder: Decoder,
    batches: ReadonlyArray<OpenBatch<WrittenText, EngineError>>,
    alone: (
      prompt: Int32Array,
      settings: Settings
    ) => Effect.Effect<{ readonly tokens: ReadonlyArray<number>; readonly forwards: number }, unknown>
  ) => Effect.Effect<void, unknown>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const config = modelConfig({ vocabSize, initializerRange: 0.5 })
      const engine = makeReference()
      const parameters = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, parameters, 4)
      const tokenizer = { ends: new Set([eosId]), maskId: mask, padId: pad }
      const model = { config, parameters: parameters.views, tokenShift: true, tokenizer } as unknown as LoadedModel
      const batches: Array<OpenBatch<WrittenText, EngineError>> = []
      const method: Method = {
        generator: (...given) =>
          Effect.map(masked.generator(...given), generator => ({
            ...generator,
            open: options => {
              const opened = generator.open(options)
              batches.push(opened.batch)
              return opened
            }
          }))
      }
      const decoder = yield* makeDiffusionDecoder({ engine, method, model, rows })
      yield* use(decoder, batches, (prompt, { steps, ...decoding }) =>
        Effect.scoped(
          Effect.gen(function* () {
            const shape = { prompts: 1, promptTokens: prompt.length, newTokens }
            const generator = yield* masked.generator(engine, model, shape, decoding)
            const { forwards, sequences } = yield* generator.generate({ prompts: [prompt], steps, seed: 3 })
            return {
              tokens: [...untilEnd(sequences[0]!.subarray(prompt.length), new Set([eosId]))],
              forwards: forwards[0]!
            }
          })
        )
      )
    })
  )

const ask = (
  decoder: Decoder,
  prompt: Int32Array,
  settings: Settings,
  onEvent: (event: JobEvent, leave: () => void) => void = () => {}
) => {
  const queue = Effect.runSync(Queue.unbounded<JobEvent>())
  let gone = false
  const job: Job = {
    prompt,
    newTokens,
    key: textKey(3, prompt),
    scorePrompt: false,
    alternatives: undefined,
    tell: event => {
      Queue.offerUnsafe(queue, event)
      onEvent(event, () => {
        gone = true
        decoder.look()
      })
    },
    gone: () => gone
  }
  decoder.submit({ mode: "diffusion", settings }, [job])
  return Effect.gen(function* () {
    const tokens: Array<number> = []
    for (;;) {
      const event = yield* Queue.take(queue)
      if (event.type === "failed") return yield* event.error
      if (event.type === "tokens") tokens.push(...event.tokens)
      if (event.type === "done") return { tokens, forwards: event.forwards }
    }
  })
}

const prompts = [[1, 2, 3], [4], [5, 6, 7, 8], [9, 1], [3, 3, 3]].map(ids => Int32Array.from(ids))

describe("a diffusion model that is served", () => {
  it.live.each(Object.keys(kinds))("gives texts that come in the middle those that they have alone: %s", name =>
    serving((decoder, batches, alone) =>
      Effect.gen(function* () {
        const settings = kinds[name]!
        const later: Array<ReturnType<typeof ask>> = []
        let told = 0
        const first = yield* ask(decoder, prompts[0]!, settings, () => {
          // By p2 nothing is told before the end.
          if (++told === 1) for (const prompt of prompts.slice(1)) later.push(ask(decoder, prompt, settings))
        })
        const found = [first, ...(yield* Effect.all(later))]
        let passes = 0
        for (const [i, prompt] of prompts.entries()) {
          const expected = yield* alone(prompt, settings)
          expect(found[i]!.tokens).toEqual(expected.tokens)
          // A text of a whole canvas may go on behind its end, where nobody waits for it.
          expect(found[i]!.forwards).toBeLessThanOrEqual(expected.forwards)
          passes += found[i]!.forwards
        }
        // One after the other would take as many passes as all together; two rows share them.
        expect(batches).toHaveLength(1)
        expect(batches[0]!.spent.passes).toBeLessThan(passes)
        expect(batches[0]!.spent.passes).toBeGreaterThanOrEqual(Math.ceil(passes / rows))
      })
    )
  )

  it.live("serves settings beside each other, and keeps the texts of each apart", () =>
    serving((decoder, batches, alone) =>
      Effect.gen(function* () {
        const asked = prompts.flatMap(prompt => [whole, p2, blocks].map(settings => ({ prompt, settings })))
        const found = yield* Effect.all(asked.map(({ prompt, settings }) => ask(decoder, prompt, settings)))
        for (const [i, { prompt, settings }] of asked.entries())
          expect(found[i]!.tokens).toEqual((yield* alone(prompt, settings)).tokens)
        expect(batches).toHaveLength(3)
        // Steps are a text's own.
        const few = { ...whole, steps: 2 }
        const [slow, quick] = yield* Effect.all([ask(decoder, prompts[0]!, whole), ask(decoder, prompts[0]!, few)])
        expect([quick.tokens, quick.forwards]).toEqual([(yield* alone(prompts[0]!, few)).tokens, 2])
        expect(slow.tokens).toEqual((yield* alone(prompts[0]!, whole)).tokens)
        expect(batches).toHaveLength(3)
      })
    )
  )

  it.live("fails what it cannot decode, and goes on", () =>
    serving((decoder, _, alone) =>
      Effect.gen(function* () {
        const wrong = [ask(decoder, prompts[0]!, undefined as never), ask(decoder, new Int32Array(), whole)]
        for (const each of wrong) expect((yield* Effect.flip(each))._tag).toBe("ServingError")
        const { tokens } = yield* ask(decoder, prompts[1]!, whole)
        expect(tokens).toEqual((yield* alone(prompts[1]!, whole)).tokens)
      })
    )
  )

  it.live("frees the row of a text that nobody waits for", () =>
    serving((decoder, batches, alone) =>
      Effect.gen(function* () {
        for (let i = 0; i < rows; i++)
          ask(decoder, Int32Array.of(i + 1, 7), blocks, (event, leave) => {
            if (event.type === "tokens") leave()
          })
        const { tokens } = yield* ask(decoder, prompts[2]!, blocks)
        expect(tokens).toEqual((yield* alone(prompts[2]!, blocks)).tokens)
        expect(batches[0]!.free).toBe(rows)
      })
    )
  )

  it.live("waits with more settings than are served at once, and forgets those that nobody asks for", () =>
    serving((decoder, batches, alone) =>
      Effect.gen(function* () {
        const all = Array.from({ length: 7 }, (_, i): Settings => ({ ...whole, temperature: 1 + i / 10 }))
        const found = yield* Effect.all(all.map(settings => ask(decoder, prompts[0]!, settings)))
        for (const [i, settings] of all.entries())
          expect(found[i]!.tokens).toEqual((yield* alone(prompts[0]!, settings)).tokens)
        expect(batches).toHaveLength(7)
      })
    )
  )
})

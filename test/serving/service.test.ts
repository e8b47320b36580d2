/** The service over decoders of both kinds with models that say what chance says, so that passes can be counted. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { Denoiser } from "../../src/decoding/diffusion.ts"
import { blocksOf, type MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { BlockRow } from "../../src/decoding/blockRow.ts"
import { maskStep } from "../../src/decoding/maskStep.ts"
import { OpenBatch } from "../../src/decoding/openBatch.ts"
import { type TextPass, type TextReader, wholeReader } from "../../src/decoding/textPass.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import type { LoadedModel } from "../../src/models/artifact.ts"
import { makeCausalDecoder } from "../../src/serving/causal.ts"
import { makeDiffusionDecoder } from "../../src/serving/diffusion.ts"
import type { Decoder, Decoding } from "../../src/serving/job.ts"
import { type Asked, makeService, type Piece } from "../../src/serving/service.ts"
import { generatorOf } from "../../src/sessions/generator.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"

const [vocabSize, eos, pad, mask] = [13, 10, 11, 12]
const ends = new Set([eos])
/** Token i is a letter; 10 to 12 are never in a text here. */
const tokenizer = {
  decode: (ids: Iterable<number>) => [...ids].map(id => String.fromCharCode(97 + id)).join("")
}
const logitsAfter = (seed: number, ids: Iterable<number>): Float32Array => {
  const own = randomKey(seed, "logits", ...ids)
  return Float32Array.from({ length: vocabSize }, (_, id) => (id >= eos ? -99 : 4 * uniformAt(own, id)))
}

/** The greedy continuation. */
const written = (prompt: ReadonlyArray<number>, n: number): string => {
  const all = [...prompt]
  while (all.length < prompt.length + n) {
    const row = logitsAfter(1, all)
    all.push(row.indexOf(Math.max(...row)))
  }
  return tokenizer.decode(all.slice(prompt.length))
}

const textsOf = (pieces: ReadonlyArray<Piece>, count: number) =>
  Array.from({ length: count }, (_, i) => {
    const own = pieces.filter(({ index }) => index === i)
    return {
      text: own.map(({ text }) => text).join(""),
      ...own.find(({ finished }) => finished !== undefined)!.finished!
    }
  })

const ask = (decoder: Decoder, asked: Partial<Asked> & Pick<Asked, "decoding" | "prompts" | "newTokens" | "stops">) =>
  makeService({ tokenizer, most: 99, decoderOf: () => Effect.succeed(decoder) })
    .ask({ n: 1, seed: 0, scorePrompt: false, alternatives: undefined, ...asked })
    .pipe(Stream.runCollect, Effect.map(Array.from<Piece>))

const greedy: Decoding = { mode: "ar", sampling: { temperature: 0 } }

describe("a service ends a text at its stop string", () => {
  it.effect("token by token: its row takes no further pass and goes to who waits", () =>
    Effect.gen(function* () {
      const prompts = [[1, 2], [3], [4, 5, 6]].map(ids => Int32Array.from(ids))
      const whole = prompts.map(prompt => written([...prompt], 20))
      // Two letters that are first together in the middle of the first text.
      const stop = whole[0]!.slice(6, 8)
      const at = whole.map(text => text.indexOf(stop))
      expect(at[0]).toBeGreaterThan(1)
      for (const rows of [1, 2, 3]) {
        const steps: Array<ReadonlyArray<TextPass>> = []
        /** Tokens of each row that were read. */
        const read = Array<number>(rows).fill(0)
        const model: TextReader<never> = {
          vocabSize,
          length: 64,
          read: passes =>
            Effect.sync(() => {
              steps.push(passes)
              return Float32Array.from(
                passes.flatMap(({ from, ids, places, row, to }) => {
                  if (from > 0) expect(read[row]).toBe(from)
                  read[row] = to
                  expect(places).toEqual([to])
                  return [...logitsAfter(1, ids.subarray(0, to))]
                })
              )
            })
        }
        const decoder = yield* makeCausalDecoder(Effect.succeed(model), { rows, mask, ends })
        const texts = textsOf(yield* ask(decoder, { decoding: greedy, prompts, newTokens: 20, stops: [stop] }), 3)
        const made = whole.map((text, i) => (at[i]! < 0 ? text.length : at[i]! + stop.length))
        expect(texts).toEqual(
          whole.map((text, i) => ({
            text: at[i]! < 0 ? text : text.slice(0, at[i]),
            reason: at[i]! < 0 ? "length" : "stop string",
            tokens: made[i],
            forwards: made[i]
          }))
        )
        expect(steps.flat().filter(({ from }) => from === 0)).toHaveLength(3)
        // The first token comes from the pass over the prompt.
        expect(steps.flat()).toHaveLength(made.reduce((sum, own) => sum + own, 0))
        const taken = Array<number>(rows).fill(0)
        for (const own of made) taken[taken.indexOf(Math.min(...taken))]! += own
        expect(steps).toHaveLength(Math.max(...taken))
      }
    })
  )

  it.effect("from masks, block by block: no pass asks about what is behind it", () =>
    Effect.gen(function* () {
      const [length, newTokens] = [34, 30]
      const settings = {
        temperature: 0,
        alg: "maskgit_plus",
        algTemp: 0,
        schedule: "quota",
        eps: 1e-3,
        blockLength: 5,
        steps: newTokens
      } as const
      const prompts = [
        [1, 2],
        [3, 0, 4, 5]
      ].map(ids => Int32Array.from(ids))
      let passes = 0
      /** Says of each place what chance says of it and of its row. */
      const model: Denoiser<never> = {
        vocabSize,
        length,
        logits: (canvas, _pads, places) =>
          Effect.sync(() => {
            passes++
            return Float32Array.from(
              places.flatMap(place => {
                const row = canvas.subarray(place - (place % length), place - (place % length) + length)
                return [...logitsAfter(place % length, row)]
              })
            )
          })
      }
      const method = {
        generator: (_engine: Engine, _model: LoadedModel, _shape: unknown, decoding: MaskDecoding) =>
          Effect.succeed(
            generatorOf<never>({
              newTokens,
              stepsThatCount: steps => steps,
              flops: () => 0,
              open: () => ({
                batch: new OpenBatch<BlockRow, never>(2, maskStep(wholeReader(model, pad))),
                begin: ({ key, prompt: ids, steps }) =>
                  new BlockRow(
                    { ids, newTokens, key },
                    { mask, ends, tokenShift: true, settings: blocksOf(decoding, { newTokens, steps }) }
                  )
              })
            })
          )
      }
      const decoder = yield* makeDiffusionDecoder({
        engine: {} as Engine,
        method: method as never,
        model: { tokenizer: { ends: ends as ReadonlySet<number>, maskId: mask } } as LoadedModel,
        rows: 2
      })
      const decoding: Decoding = { mode: "diffusion", settings }
      const run = (stops: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          passes = 0
          const texts = textsOf(yield* ask(decoder, { decoding, prompts, newTokens, stops }), 2)
          return { texts, passes }
        })
      const whole = yield* run([])
      expect(whole).toMatchObject({ passes: newTokens, texts: [{ forwards: newTokens }, { forwards: newTokens }] })
      // Both texts have one, so that the batch ends with the later.
      const stops = [whole.texts[0]!.text.slice(7, 9), whole.texts[1]!.text.slice(11, 13)]
      const found = yield* run(stops)
      for (const [i, { forwards, reason, text, tokens }] of found.texts.entries()) {
        const all = whole.texts[i]!.text
        const first = Math.min(...stops.map(stop => all.indexOf(stop)).filter(place => place >= 0))
        expect([text, reason, tokens]).toEqual([all.slice(0, first), "stop string", first + 2])
        // A token a pass: those of the blocks until the one that the stop string ends in.
        expect(forwards).toBeGreaterThanOrEqual(first + 2)
        expect(forwards).toBeLessThanOrEqual(5 * Math.ceil((first + 2) / 5))
      }
      expect(found.passes).toBe(Math.max(...found.texts.map(({ forwards }) => forwards)))
    })
  )
})

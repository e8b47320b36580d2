/** Block decoding: beside a plain decoder with a forward pass in float64, and what holds of every text whatever the model says. */
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { BlockDecoding, blocksOf } from "../../src/decoding/blockSettings.ts"
import type { BlockPrompt } from "../../src/decoding/blockRow.ts"
import { decodeBlocks } from "../../src/decoding/blocks.ts"
import type { Denoiser, TextAt } from "../../src/decoding/diffusion.ts"
import { wholeReader } from "../../src/decoding/textPass.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"
import { decodePlainly } from "../support/plainBlocks.ts"

const [vocabSize, eos, pad, mask] = [13, 10, 11, 12]
type Settings = Partial<BlockDecoding>
const settingsOf = ({ threshold, ...settings }: Settings): BlockDecoding => ({
  ...Schema.decodeUnknownSync(BlockDecoding)(settings),
  ...(threshold === undefined ? {} : { threshold })
})
const reading = { ends: new Set([eos]), mask, tokenShift: true } as const
const greedy = { temperature: 0, alg: "entropy", algTemp: 0, schedule: "quota", eps: 1e-3 } as const
const key = randomKey(1, "prompt")

/** A model that says of each place what chance says of it and of the ids of its row. */
const chance = (
  length: number,
  seed: number,
  onCanvas?: (canvas: Int32Array, texts: ReadonlyArray<TextAt>, places: ReadonlyArray<number>) => void,
  never?: number
): Denoiser<never> => ({
  vocabSize,
  length,
  logits: (canvas, _pads, places, texts = []) =>
    Effect.sync(() => {
      onCanvas?.(canvas.slice(), texts, places)
      return Float32Array.from(
        places.flatMap(place => {
          const row = canvas.subarray(place - (place % length), place - (place % length) + length)
          const own = randomKey(seed, "logits", place % length, ...row)
          return Array.from({ length: vocabSize }, (_, id) => (id === never ? -9 : 4 * uniformAt(own, id)))
        })
      )
    })
})

const promptOf = (size: number, newTokens: number): BlockPrompt => ({
  ids: Array.from({ length: size }, (_, i) => i % 9),
  newTokens,
  key
})
const asked = fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 11 })), {
  minLength: 1,
  maxLength: 6
})
const bySteps = fc.record({
  blockSize: fc.integer({ min: 1, max: 6 }),
  stepsPerBlock: fc.integer({ min: 1, max: 6 }),
  temperature: fc.constantFrom(0, 1),
  alg: fc.constantFrom("entropy" as const, "maskgit_plus" as const, "topk_margin" as const)
})
/** Likeliest tokens of these logits have probabilities about 0.25. */
const byThreshold = fc.record({
  blockSize: fc.integer({ min: 1, max: 11 }),
  stepsPerBlock: fc.integer({ min: 1, max: 11 }),
  temperature: fc.constantFrom(0, 1),
  alg: fc.constant("maskgit_plus" as const),
  threshold: fc.double({ min: 0.1, max: 0.5, noNaN: true })
})
const blocks: fc.Arbitrary<Settings & { readonly blockSize: number }> = fc.oneof(bySteps, byThreshold)
const rows = fc.integer({ min: 1, max: 4 })

const isDone = (tokens: ReadonlyArray<number>): boolean => {
  const end = tokens.indexOf(eos)
  return !(end < 0 ? tokens : tokens.slice(0, end)).includes(mask)
}

describe("decodeBlocks", () => {
  it.each([
    ["by steps", { blockSize: 4, stepsPerBlock: 3 }],
    ["by a threshold", { blockSize: 4, stepsPerBlock: 4, alg: "maskgit_plus", threshold: 0.08 }]
  ] as const)("writes %s what a plain decoder writes for each prompt by itself", async (_name, decoding) => {
    const config = modelConfig({ vocabSize })
    const weights = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 5)]))
    const prompts = [promptOf(3, 10), promptOf(5, 7), promptOf(1, 4), promptOf(2, 9), promptOf(4, 3)]
    const { texts } = await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const engine = makeReference()
          const parameters = yield* allocateParameters(engine, parameterSpecs(config))
          yield* initialise(engine, parameters, 5)
          const denoiser = yield* makeDenoiser(engine, config, parameters.views, { rows: 2, length: 13, places: 8 })
          return yield* decodeBlocks(wholeReader(denoiser, pad), prompts, {
            ...reading,
            rows: 2,
            settings: settingsOf(decoding)
          })
        })
      )
    )
    let atOnce = false
    for (const [r, { ids, newTokens }] of prompts.entries()) {
      const plain = decodePlainly(
        canvas => bruteForward(config, name => weights.get(name)!, canvas, false).logits,
        Array.from(ids),
        { ...decoding, newTokens, mask, eos }
      )
      const { forwards, revealedAt, tokens } = texts[r]!
      assert.deepStrictEqual({ forwards, revealedAt, tokens: [...tokens] }, plain, `prompt ${r}`)
      atOnce ||= forwards < tokens.length
    }
    assert.isTrue(atOnce)
  })

  it("writes what a plain decoder writes, whatever the model says, and passes that it does not need are none", () => {
    const decodings = fc.oneof(
      fc.record({ blockSize: fc.integer({ min: 1, max: 11 }), stepsPerBlock: fc.integer({ min: 1, max: 11 }) }),
      byThreshold.map(decoding => ({ ...decoding, temperature: 0 }))
    )
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 11 }), decodings, fc.nat(), (newTokens, decoding, seed) => {
        const prompt = promptOf(2, newTokens)
        const model = chance(2 + newTokens, seed)
        const plain = decodePlainly(
          ids => {
            const places = ids.map((_, i) => i).slice(1)
            const found = Effect.runSync(model.logits(Int32Array.from(ids), [0], places))
            return places.map((_, i) => [...found.subarray(i * vocabSize, (i + 1) * vocabSize)])
          },
          Array.from(prompt.ids),
          { ...decoding, newTokens, mask, eos }
        )
        const settings = settingsOf(decoding)
        const { passes, texts } = Effect.runSync(
          decodeBlocks(wholeReader(model, pad), [prompt], { ...reading, rows: 1, settings })
        )
        const { forwards, revealedAt, tokens } = texts[0]!
        assert.deepStrictEqual({ forwards, revealedAt, tokens: [...tokens] }, plain)
        assert.strictEqual(passes, forwards)
      })
    )
  })

  it("compares a threshold with the model's own probability, though a filter leaves one token, which it makes sure", () => {
    fc.assert(
      fc.property(byThreshold, fc.constantFrom({ topK: 1 }, { topP: 0.1 }), fc.nat(), (decoding, filter, seed) => {
        const { blockSize, threshold } = decoding
        const settings = settingsOf({ ...decoding, stepsPerBlock: blockSize, temperature: 0, ...filter })
        /** How many tokens each step must reveal: those that are likely enough, and the first, as the filter makes all equally sure. */
        const expected: Array<number> = []
        const model = chance(13, seed)
        const watching: Denoiser<never> = {
          ...model,
          logits: (canvas, pads, places, texts) =>
            Effect.map(model.logits(canvas, pads, places, texts), logits => {
              const likely = places.filter((_, i) => {
                const weights = Array.from(logits.subarray(i * vocabSize, i * vocabSize + mask), Math.exp)
                return Math.max(...weights) / weights.reduce((sum, x) => sum + x, 0) >= threshold
              })
              expected.push(new Set([places[0], ...likely]).size)
              return logits
            })
        }
        const revealed: Array<number> = []
        let masks = 11
        Effect.runSync(
          decodeBlocks(wholeReader(watching, pad), [promptOf(2, 11)], {
            ...reading,
            rows: 1,
            settings,
            onStep: (_number, _step, tokens) =>
              Effect.sync(() => {
                const left = tokens.filter(id => id === mask).length
                revealed.push(masks - left)
                masks = left
              })
          })
        )
        assert.deepStrictEqual(revealed, expected)
      })
    )
  })

  it("with threshold 1 writes what a step for each token writes", () => {
    fc.assert(
      fc.property(asked, fc.integer({ min: 1, max: 11 }), fc.nat(), (asks, blockSize, seed) => {
        const prompts = asks.map(([size, newTokens]) => promptOf(size, newTokens))
        const decode = (settings: Settings) =>
          Effect.runSync(
            decodeBlocks(wholeReader(chance(15, seed), pad), prompts, {
              ...reading,
              rows: 3,
              settings: settingsOf({ alg: "maskgit_plus", blockSize, stepsPerBlock: blockSize, ...settings })
            })
          )
        const one = decode({ threshold: 1 })
        assert.deepStrictEqual(one, decode({}))
        for (const { revealedAt, tokens } of one.texts) assert.strictEqual(new Set(revealedAt).size, tokens.length)
      })
    )
  })

  it("never changes a token, reveals a block before it begins the next, and ends with the first end of text", () => {
    fc.assert(
      fc.property(asked, blocks, rows, fc.nat(), (asks, decoding, most, seed) => {
        const prompts = asks.map(([size, newTokens], i) => ({
          ...promptOf(size, newTokens),
          key: randomKey(i, "prompt")
        }))
        const length = Math.max(...asks.map(([size, newTokens]) => size + newTokens))
        /** Of each text what was there before each of its passes. */
        const seen = prompts.map((): Array<ReadonlyArray<number>> => [])
        const shown = prompts.map((): Array<ReadonlyArray<number>> => [])
        const { texts } = Effect.runSync(
          decodeBlocks(
            wholeReader(
              chance(length, seed, (canvas, at, places) => {
                assert.isAtMost(at.length, most)
                for (const [r, { key: own, pass }] of at.entries()) {
                  const number = prompts.findIndex(prompt => prompt.key === own)
                  // What is done stays where it is, if there is no other prompt, but is not asked about.
                  if (places.some(place => Math.floor(place / length) === r))
                    assert.strictEqual(seen[number]!.push([...canvas.subarray(r * length, (r + 1) * length)]), pass + 1)
                }
              }),
              pad
            ),
            prompts,
            {
              ...reading,
              rows: most,
              settings: settingsOf(decoding),
              onStep: (number, step, tokens) =>
                Effect.sync(() => {
                  assert.strictEqual(shown[number]!.push([...tokens]), step)
                })
            }
          )
        )
        assert.lengthOf(texts, prompts.length)
        for (const [r, { forwards, revealedAt, tokens }] of texts.entries()) {
          const [size, newTokens] = asks[r]!
          const canvases = seen[r]!
          const before = canvases.map(row => row.slice(length - newTokens))
          const states = [before[0]!, ...shown[r]!]
          assert.lengthOf(canvases, forwards)
          assert.deepStrictEqual(before, states.slice(0, -1))
          for (const state of before) assert.isFalse(isDone(state))
          assert.isTrue(isDone(states.at(-1)!))
          for (const [s, state] of states.entries())
            for (const [i, id] of state.entries()) {
              const earlier = states[s - 1]?.[i] ?? mask
              if (earlier !== mask) assert.strictEqual(id, earlier)
              // All that comes before its block is there.
              const block = Math.floor(i / decoding.blockSize) * decoding.blockSize
              if (id !== mask) assert.isFalse(state.slice(0, block).includes(mask))
            }
          assert.isFalse(tokens.includes(mask))
          const end = tokens.indexOf(eos)
          if (end >= 0) assert.strictEqual(end, tokens.length - 1)
          else assert.strictEqual(tokens.length, newTokens)
          // The prompt stays, behind its padding.
          for (const row of canvases)
            assert.deepStrictEqual(row.slice(0, length - newTokens), [
              ...Array<number>(length - newTokens - size).fill(pad),
              ...Array.from(prompts[r]!.ids)
            ])
          // Steps are numbered from 1 on without gaps, from block to block.
          assert.strictEqual(revealedAt.length, tokens.length)
          const steps = [...new Set(revealedAt)].sort((a, b) => a - b)
          assert.deepStrictEqual(
            steps,
            steps.map((_, i) => i + 1)
          )
          for (let start = decoding.blockSize; start < tokens.length; start += decoding.blockSize)
            assert.isBelow(
              Math.max(...revealedAt.slice(start - decoding.blockSize, start)),
              Math.min(...revealedAt.slice(start, start + decoding.blockSize))
            )
        }
      })
    )
  })

  it("writes the same for a prompt in any place and company, and gives its row to the next when it is done", () => {
    fc.assert(
      fc.property(asked, blocks, rows, fc.nat(), (sizes, decoding, most, seed) => {
        const prompts = sizes.map(([size, newTokens]) => promptOf(size, newTokens))
        const decode = (some: ReadonlyArray<BlockPrompt>) =>
          Effect.runSync(
            decodeBlocks(wholeReader(chance(15, seed), pad), some, {
              ...reading,
              rows: most,
              settings: settingsOf(decoding)
            })
          )
        const { passes, texts } = decode(prompts)
        assert.deepStrictEqual(
          texts,
          prompts.flatMap(prompt => decode([prompt]).texts)
        )
        // Each prompt goes to the row that is free first: a queue with so many servers.
        const free = Array.from({ length: Math.min(most, prompts.length) }, () => 0)
        for (const { forwards } of texts) {
          const soonest = free.indexOf(Math.min(...free))
          free[soonest]! += forwards
        }
        assert.strictEqual(passes, Math.max(...free))
      })
    )
  })

  it("of a model with blocks of its own takes as many steps as are allowed, one for each block at least, wherever a prompt ends", () => {
    const size = fc.integer({ min: 1, max: 20 })
    fc.assert(
      fc.property(
        size,
        size,
        size,
        fc.integer({ min: 2, max: 6 }),
        fc.nat(),
        (prompt, newTokens, steps, align, seed) => {
          const settings = blocksOf({ ...greedy, blockLength: align }, { newTokens, steps, align })
          const model = chance(prompt + newTokens, seed, undefined, eos)
          const { texts } = Effect.runSync(
            decodeBlocks(wholeReader(model, pad), [promptOf(prompt, newTokens)], {
              ...reading,
              rows: 1,
              settings,
              attentionBlockSize: align
            })
          )
          const blockSize = settings.blockSize
          const count = Math.ceil(((prompt % blockSize) + newTokens) / blockSize)
          const { forwards, tokens } = texts[0]!
          assert.lengthOf(tokens, newTokens)
          assert.isAtMost(forwards, Math.max(Math.min(steps, newTokens) + count - 1, count))
          assert.isAtLeast(forwards, count)
          if (steps >= newTokens) assert.strictEqual(forwards, newTokens)
        }
      )
    )
  })

  it("leaves a prompt as it is, whatever its ids", () => {
    const prompt = { ids: [1, mask, 2, mask], newTokens: 6, key }
    const shown: Array<ReadonlyArray<number>> = []
    const model = chance(10, 3, canvas => void shown.push([...canvas.subarray(0, 4)]))
    const settings = settingsOf({ blockSize: 2, stepsPerBlock: 2, alg: "maskgit_plus", threshold: 0.1 })
    Effect.runSync(decodeBlocks(wholeReader(model, pad), [prompt], { ...reading, rows: 1, settings }))
    for (const ids of shown) assert.deepStrictEqual(ids, [1, mask, 2, mask])
    assert.isAbove(shown.length, 0)
  })

  it("takes no pass behind an end that is asked for, and writes up to it what it writes without", () => {
    const several = fc.record({
      blockSize: fc.integer({ min: 1, max: 5 }),
      stepsPerBlock: fc.integer({ min: 1, max: 5 }),
      blockAddThreshold: fc.constantFrom(0.3, 1),
      decodedTokenThreshold: fc.constantFrom(0.5, 1)
    })
    /** Ids whose texts one after the other end a text. */
    const wanted = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 2 })
    let [ended, saved] = [0, 0]
    fc.assert(
      fc.property(asked, fc.oneof(blocks, several), rows, fc.nat(), wanted, (asks, decoding, most, seed, sought) => {
        const prompts = asks.map(([size, newTokens]) => promptOf(size, newTokens))
        const settledOf = (tokens: ArrayLike<number>) => {
          const all = Array.from(tokens)
          const end = all.findIndex(token => token === mask || token === eos)
          return end < 0 ? all : all.slice(0, end)
        }
        /** The tokens until those that are sought, by looking everywhere. */
        const wholeOf = (settled: ReadonlyArray<number>): number | undefined => {
          const at = settled.findIndex((_, i) => sought.every((token, k) => settled[i + k] === token))
          return at < 0 ? undefined : at + sought.length
        }
        const decode = (more: Partial<Parameters<typeof decodeBlocks<never>>[2]>) =>
          Effect.runSync(
            decodeBlocks(wholeReader(chance(15, seed), pad), prompts, {
              ...reading,
              rows: most,
              settings: settingsOf(decoding),
              ...more
            })
          )
        const states = prompts.map((): Array<ReadonlyArray<number>> => [])
        const plain = decode({
          onStep: (number, _step, tokens) => Effect.sync(() => void states[number]!.push([...tokens]))
        })
        const { passes, texts } = decode({
          ending: (_number, settled) => {
            const tokens = [...settled]
            assert.deepStrictEqual(tokens, settledOf(tokens))
            return wholeOf(tokens)
          }
        })
        for (const [r, { forwards, revealedAt, tokens }] of texts.entries()) {
          const at = states[r]!.findIndex(state => wholeOf(settledOf(state)) !== undefined)
          const expected = plain.texts[r]!
          if (at < 0) {
            assert.deepStrictEqual(texts[r], expected)
            continue
          }
          ended++
          saved += expected.forwards - forwards
          assert.strictEqual(forwards, at + 1)
          assert.deepStrictEqual([...tokens], [...expected.tokens.subarray(0, wholeOf([...expected.tokens]))])
          assert.lengthOf(revealedAt, tokens.length)
        }
        const free = Array.from({ length: Math.min(most, prompts.length) }, () => 0)
        for (const { forwards } of texts) free[free.indexOf(Math.min(...free))]! += forwards
        assert.strictEqual(passes, Math.max(...free))
      })
    )
    assert.isAbove(ended, 10)
    assert.isAbove(saved, 10)
  })
})

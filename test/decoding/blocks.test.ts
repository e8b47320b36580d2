/** Block decoding: beside a plain decoder with a forward pass in float64, and what holds of every text whatever the model says. */
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { BlockDecoding, type BlockPrompt, decodeBlocks } from "../../src/decoding/blocks.ts"
import type { Denoiser } from "../../src/decoding/diffusion.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { makeDenoiser } from "../../src/sessions/query.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"
import { decodePlainly } from "../support/plainBlocks.ts"

const [vocabSize, eos, pad, mask] = [13, 10, 11, 12]
const settingsOf = (settings: Partial<BlockDecoding>) => Schema.decodeUnknownSync(BlockDecoding)(settings)
const key = randomKey(1, "prompt")

/** A model that says of each place what chance says of it and of the ids of its row. */
const chance = (length: number, seed: number, onCanvas?: (canvas: Int32Array) => void): Denoiser<never> => ({
  vocabSize,
  length,
  logits: (canvas, _pads, places) =>
    Effect.sync(() => {
      onCanvas?.(canvas.slice())
      return Float32Array.from(
        places.flatMap(place => {
          const row = canvas.subarray(place - (place % length), place - (place % length) + length)
          const own = randomKey(seed, "logits", place % length, ...row)
          return Array.from({ length: vocabSize }, (_, id) => 4 * uniformAt(own, id))
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
  maxLength: 3
})
const blocks = fc.record({
  blockSize: fc.integer({ min: 1, max: 6 }),
  stepsPerBlock: fc.integer({ min: 1, max: 6 }),
  temperature: fc.constantFrom(0, 1),
  alg: fc.constantFrom("entropy" as const, "maskgit_plus" as const, "topk_margin" as const)
})

describe("decodeBlocks", () => {
  it("writes what a plain decoder writes for each prompt by itself, in the same order", async () => {
    const config = modelConfig({ vocabSize })
    const weights = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 5)]))
    const decoding = { blockSize: 4, stepsPerBlock: 3 }
    const prompts = [promptOf(3, 10), promptOf(5, 7), promptOf(1, 4)]
    const texts = await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const engine = makeReference()
          const parameters = yield* allocateParameters(engine, parameterSpecs(config))
          yield* initialise(engine, parameters, 5)
          const denoiser = yield* makeDenoiser(engine, config, parameters.views, { rows: 3, length: 13, places: 12 })
          return yield* decodeBlocks(denoiser, prompts, { eos, mask, pad, settings: settingsOf(decoding) })
        })
      )
    )
    for (const [r, { ids, newTokens }] of prompts.entries()) {
      const plain = decodePlainly(
        canvas => bruteForward(config, name => weights.get(name)!, canvas, false).logits,
        Array.from(ids),
        { ...decoding, newTokens, mask, eos }
      )
      const { forwards, revealedAt, tokens } = texts[r]!
      assert.deepStrictEqual({ forwards, revealedAt, tokens: [...tokens] }, plain, `prompt ${r}`)
    }
  })

  it("never changes a token, reveals a block before it begins the next, and ends with the first end of text", () => {
    fc.assert(
      fc.property(asked, blocks, fc.nat(), (asks, decoding, seed) => {
        const prompts = asks.map(([size, newTokens]) => promptOf(size, newTokens))
        const length = Math.max(...asks.map(([size, newTokens]) => size + newTokens))
        const seen: Array<Int32Array> = []
        const texts = Effect.runSync(
          decodeBlocks(
            chance(length, seed, canvas => seen.push(canvas)),
            prompts,
            { eos, mask, pad, settings: settingsOf(decoding) }
          )
        )
        for (const [r, { forwards, revealedAt, tokens }] of texts.entries()) {
          const [size, newTokens] = asks[r]!
          const states = seen.map(canvas => canvas.slice((r + 1) * length - newTokens, (r + 1) * length))
          for (const [s, state] of states.entries())
            for (const [i, id] of state.entries()) {
              const before = states[s - 1]?.[i] ?? mask
              if (before !== mask) assert.strictEqual(id, before)
              // All that comes before its block is there.
              const block = Math.floor(i / decoding.blockSize) * decoding.blockSize
              if (id !== mask) assert.isFalse(state.subarray(0, block).includes(mask))
            }
          assert.isFalse(tokens.includes(mask))
          const end = tokens.indexOf(eos)
          if (end >= 0) assert.strictEqual(end, tokens.length - 1)
          else assert.strictEqual(tokens.length, newTokens)
          // The prompt stays, behind its padding.
          const row = seen.at(-1)!.subarray(r * length, (r + 1) * length)
          assert.deepStrictEqual(
            [...row.subarray(0, length - newTokens)],
            [...Array<number>(length - newTokens - size).fill(pad), ...Array.from(prompts[r]!.ids)]
          )
          // Steps are numbered from 1 on without gaps, from block to block.
          assert.strictEqual(revealedAt.length, tokens.length)
          const steps = [...new Set(revealedAt)].sort((a, b) => a - b)
          assert.deepStrictEqual(
            steps,
            steps.map((_, i) => i + 1)
          )
          // No block is begun behind the one with the end of text.
          const sizes = Array.from({ length: Math.ceil(tokens.length / decoding.blockSize) }, (_, block) =>
            Math.min(decoding.blockSize, newTokens - block * decoding.blockSize)
          )
          assert.strictEqual(
            forwards,
            sizes.reduce((sum, tokensOf) => sum + Math.min(tokensOf, decoding.stepsPerBlock), 0)
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

  it("writes the same for a prompt in any company", () => {
    fc.assert(
      fc.property(asked, blocks, fc.nat(), (sizes, decoding, seed) => {
        const prompts = sizes.map(([size, newTokens]) => promptOf(size, newTokens))
        const decode = (some: ReadonlyArray<BlockPrompt>) =>
          Effect.runSync(decodeBlocks(chance(15, seed), some, { eos, mask, pad, settings: settingsOf(decoding) }))
        assert.deepStrictEqual(
          decode(prompts),
          prompts.flatMap(prompt => decode([prompt]))
        )
      })
    )
  })
})

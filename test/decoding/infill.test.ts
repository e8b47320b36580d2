/** Gaps in texts: what is given stays, what is missing is drawn as at the end of a text, and no gap depends on another. */
import * as fc from "fast-check"
import { Effect, Schema } from "effect"
import { assert, describe, it } from "vitest"
import { algorithms, type Denoiser, DiffusionDecoding, schedules } from "../../src/decoding/diffusion.ts"
import { fillGaps, type Gap, tokensOf } from "../../src/decoding/whole.ts"
import { diffusionGenerate } from "../support/diffusionGenerate.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"

const [vocabSize, mask, pad] = [13, 12, 0]

/** Logits that depend on the whole row without its padding, and prefer the mask. */
const denoiser = (length: number): Denoiser<never> & { readonly seen: Array<Int32Array> } => {
  const seen: Array<Int32Array> = []
  return {
    vocabSize,
    length,
    seen,
    logits: (canvas, pads, places) =>
      Effect.sync(() => {
        seen.push(canvas.slice())
        return Float32Array.from(
          places.flatMap(place => {
            const row = Math.floor(place / length)
            const start = row * length + pads[row]!
            const key = randomKey(1, canvas.subarray(start, (row + 1) * length).join(","), place - start)
            return [...normals(key, vocabSize)].with(mask, 50)
          })
        )
      })
  }
}

const settingsOf = fc.record({
  alg: fc.constantFrom(...algorithms),
  schedule: fc.constantFrom(...schedules),
  steps: fc.integer({ min: 1, max: 12 }),
  temperature: fc.constantFrom(0, 0.7),
  algTemp: fc.constantFrom(0, 0.5)
})
const decode = Schema.decodeUnknownSync(DiffusionDecoding)

const token = fc.integer({ min: 1, max: mask - 1 })
const gap: fc.Arbitrary<Gap> = fc.record({
  prefix: fc.array(token, { minLength: 1, maxLength: 5 }),
  suffix: fc.array(token, { maxLength: 5 }),
  tokens: fc.integer({ min: 1, max: 7 }),
  key: fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(seed => randomKey(seed, "gap"))
})

const fill = (gaps: ReadonlyArray<Gap>, settings: DiffusionDecoding, length = Math.max(...gaps.map(tokensOf))) => {
  const model = denoiser(length)
  const texts = Effect.runSync(fillGaps(model, gaps, { mask, pad, settings }))
  return { filled: texts.map(({ forwards, tokens }) => ({ forwards, tokens })), model }
}

describe("filling gaps", () => {
  it("at the end of a text is what diffusion does behind a prompt: any algorithm, schedule, temperature", () => {
    fc.assert(
      fc.property(gap, settingsOf, ({ key, prefix, tokens }, given) => {
        const settings = decode(given)
        const { filled } = fill([{ prefix, suffix: [], tokens, key }], settings)
        const { passes, texts } = Effect.runSync(
          diffusionGenerate(denoiser(prefix.length + tokens), {
            prompts: [prefix],
            maxNewTokens: tokens,
            mask,
            pad,
            keys: [key],
            settings
          })
        )
        assert.deepStrictEqual(Array.from(filled[0]!.tokens), Array.from(texts[0]!.ids.subarray(prefix.length)))
        assert.strictEqual(filled[0]!.forwards, passes)
      })
    )
  })

  it("keeps what is given in every pass, and leaves no mask", () => {
    fc.assert(
      fc.property(fc.array(gap, { minLength: 1, maxLength: 4 }), settingsOf, (gaps, given) => {
        const { filled, model } = fill(gaps, decode(given))
        const passes = gaps.map(() => 0)
        for (const canvas of model.seen) {
          // Gaps that are filled have left; the others stand in their order.
          const open = gaps.filter((_, r) => filled[r]!.forwards > passes[r]!)
          for (const [r, own] of gaps.entries()) if (open.includes(own)) passes[r]!++
          assert.strictEqual(canvas.length, open.length * model.length)
          for (const [r, own] of open.entries()) {
            const { prefix, suffix, tokens } = own
            const row = canvas.subarray(r * model.length, (r + 1) * model.length)
            const start = model.length - tokensOf(own)
            assert.deepStrictEqual(Array.from(row.subarray(start, start + prefix.length)), Array.from(prefix))
            assert.deepStrictEqual(Array.from(row.subarray(start + prefix.length + tokens)), Array.from(suffix))
          }
        }
        for (const [r, { tokens }] of filled.entries()) {
          assert.strictEqual(tokens.length, gaps[r]!.tokens)
          assert.isFalse(tokens.includes(mask))
        }
      })
    )
  })

  it("gives a gap the same tokens in any company, and in rows of any length", () => {
    fc.assert(
      fc.property(fc.array(gap, { minLength: 2, maxLength: 4 }), settingsOf, fc.nat(5), (gaps, given, more) => {
        const settings = decode(given)
        const together = fill(gaps, settings, Math.max(...gaps.map(tokensOf)) + more).filled
        for (const [r, own] of gaps.entries()) assert.deepStrictEqual(together[r], fill([own], settings).filled[0])
      })
    )
  })

  it("counts the passes of each gap, not those of the longest", () => {
    const settings = decode({ steps: 8, alg: "maskgit_plus" })
    const { filled } = fill(
      [
        { prefix: [1], suffix: [2], tokens: 2, key: [0, 0] },
        { prefix: [1], suffix: [2], tokens: 6, key: [0, 0] }
      ],
      settings
    )
    assert.deepStrictEqual(
      filled.map(({ forwards }) => forwards),
      [2, 6]
    )
  })

  it("refuses a gap without a token before it, without tokens, and one that does not fit", () => {
    const settings = decode({})
    const wrong = (given: Partial<Gap>, length = 9) =>
      fill([{ prefix: [1], suffix: [2], tokens: 2, key: [0, 0], ...given }], settings, length)
    assert.throws(() => wrong({ prefix: [] }), /at least one before it/)
    assert.throws(() => wrong({ tokens: 0 }), /at least one token/)
    assert.throws(() => wrong({}, 3), /does not fit into 3 tokens/)
  })
})

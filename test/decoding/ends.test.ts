/** Ends of text are a set: whichever comes first ends a text that is decoded in blocks. */
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { assert, it } from "vitest"
import { BlockDecoding } from "../../src/decoding/blockSettings.ts"
import { decodeBlocks } from "../../src/decoding/blocks.ts"
import type { Denoiser } from "../../src/decoding/diffusion.ts"
import { wholeReader } from "../../src/decoding/textPass.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"

const [vocabSize, pad, mask, newTokens, length] = [9, 7, 8, 10, 14]

/** A model that says of each place what chance says of it and of the ids of its row. */
const chance = (seed: number): Denoiser<never> => ({
  vocabSize,
  length,
  logits: (canvas, _pads, places) =>
    Effect.sync(() =>
      Float32Array.from(
        places.flatMap(place => {
          const start = place - (place % length)
          const own = randomKey(seed, "logits", place % length, ...canvas.subarray(start, start + length))
          return Array.from({ length: vocabSize }, (_, id) => 4 * uniformAt(own, id))
        })
      )
    )
})

it("a text in blocks is the one without any end, up to and with the first of them", () => {
  fc.assert(
    fc.property(
      fc.nat(999),
      fc.uniqueArray(fc.nat(vocabSize - 3), { maxLength: 3 }),
      fc.record({ blockSize: fc.integer({ min: 1, max: 5 }), stepsPerBlock: fc.integer({ min: 1, max: 5 }) }),
      (seed, ends, decoding) => {
        const written = (some: ReadonlyArray<number>) =>
          Effect.runSync(
            decodeBlocks(
              wholeReader(chance(seed), pad),
              [1, 2, 3].map(prompt => ({
                ids: [prompt, 0, prompt],
                newTokens,
                key: randomKey(seed, "prompt", prompt)
              })),
              {
                rows: 2,
                mask,
                tokenShift: true,
                ends: new Set(some),
                settings: Schema.decodeUnknownSync(BlockDecoding)(decoding)
              }
            )
          ).texts.map(({ tokens }) => [...tokens])
        const cut = (tokens: ReadonlyArray<number>): ReadonlyArray<number> => {
          const end = tokens.findIndex(token => ends.includes(token))
          return end < 0 ? tokens : tokens.slice(0, end + 1)
        }
        assert.deepStrictEqual(written(ends), written([]).map(cut))
      }
    )
  )
})

/** The control of alignment: states that belong to other tokens. */
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { shuffledStates } from "../../../src/methods/shared/alignment/shuffledStates.ts"

describe("shuffledStates", () => {
  it("gives every sequence states of one other sequence, whole vectors, the same in each call and layer", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 8 }),
        fc.nat(),
        (lengths, seed) => {
          const d = 2
          // The vector of token t of sequence s at layer l is [100 s + t, l].
          const states = (sequence: number, layer: number) =>
            Float32Array.from({ length: lengths[sequence]! * d }, (_, i) =>
              i % d === 0 ? 100 * sequence + Math.floor(i / d) : layer
            )
          const shuffled = shuffledStates(states, lengths, { d, seed })
          const givers = lengths.map((length, sequence) => {
            const at = (layer: number) => shuffled(sequence, layer)
            assert.deepStrictEqual(at(3), at(3))
            const tokens = Array.from({ length }, (_, i) => at(3)[i * d]!)
            assert.deepStrictEqual(
              tokens,
              Array.from({ length }, (_, i) => at(4)[i * d]!)
            )
            assert.isTrue(Array.from({ length }, (_, i) => at(3)[i * d + 1]!).every(layer => layer === 3))
            const from = new Set(tokens.map(token => Math.floor(token / 100)))
            assert.strictEqual(from.size, 1)
            const [giver] = [...from]
            assert.notStrictEqual(giver, sequence)
            // No vector twice before all were given.
            assert.strictEqual(new Set(tokens).size, Math.min(length, lengths[giver!]!))
            return giver!
          })
          assert.strictEqual(new Set(givers).size, lengths.length)
        }
      )
    )
  })

  it("one sequence alone is refused", () => {
    assert.throws(() => shuffledStates(() => new Float32Array(2), [1], { d: 2, seed: 0 }), /no other/)
  })
})

/** What is left of a text with a gap where it is too long for the model. */
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { contextOf } from "../../src/evaluation/context.ts"
import { shortened } from "../../stages/evaluate/sampling.ts"

const ids = (n: number, from: number) => Int32Array.from({ length: n }, (_, i) => from + i)

describe("a text with a gap", () => {
  it("keeps the gap, loses what is farthest from it, and no more than it must", () => {
    fc.assert(
      fc.property(
        fc.record({
          before: fc.integer({ min: 1, max: 20 }),
          behind: fc.nat(20),
          tokens: fc.integer({ min: 1, max: 10 }),
          context: fc.integer({ min: 1, max: 40 })
        }),
        ({ before, behind, context, tokens }) => {
          const [prefix, suffix] = [ids(before, 100), ids(behind, 200)]
          const gap = shortened(prefix, suffix, tokens, context)
          if (tokens + 1 > context) return assert.isUndefined(gap)
          const [left, right] = [Array.from(gap!.prefix), Array.from(gap!.suffix)]
          assert.strictEqual(gap!.tokens, tokens)
          assert.deepStrictEqual(left, Array.from(prefix.subarray(before - left.length)))
          assert.deepStrictEqual(right, Array.from(suffix.subarray(0, right.length)))
          assert.isAtLeast(left.length, 1)
          // All that there is room for.
          assert.strictEqual(left.length + tokens + right.length, Math.min(context, before + tokens + behind))
          // Neither side is cut while the other has more than half of the room.
          const half = Math.ceil((context - tokens) / 2)
          if (left.length < before) assert.isAtLeast(left.length, half)
          if (right.length < behind) assert.isAtMost(left.length, Math.max(half, before))
        }
      )
    )
  })

  it("has the room that the model's configuration says, or any", () => {
    assert.strictEqual(contextOf({ max_position_embeddings: 64 }), 64)
    assert.strictEqual(contextOf({ text_config: { max_position_embeddings: 32 } }), 32)
    assert.strictEqual(contextOf({}), Infinity)
    assert.strictEqual(contextOf({ max_position_embeddings: "many" }), Infinity)
  })
})

/** The order in which responses are revealed, with a model whose uncertainty is known; and that uncertainty, as a program. */
import { Effect } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { findOrders, type OrderSettings } from "../../../src/methods/shared/trajectories/findOrders.ts"
import type { Response } from "../../../src/methods/shared/trajectories/responses.ts"
import { softmaxEntropy } from "../../../src/tensor/composites.ts"
import { makeReference } from "../../../src/engines/reference/reference.ts"
import { maskedIn, revealStepsOf, trajectoryFault } from "../../../src/methods/shared/trajectories/trajectory.ts"
import { input } from "../../../src/tensor/ops.ts"
import { makeProgram } from "../../../src/tensor/Program.ts"
import { runOnce } from "../../engines/runOnce.ts"

const mask = 99
const pad = 98
const length = 12

const find = (
  responses: ReadonlyArray<Response>,
  settings: Partial<OrderSettings>,
  entropy: (canvas: Int32Array, place: number) => number
) => {
  const canvases: Array<Int32Array> = []
  const found = Effect.runSync(
    findOrders(
      {
        rows: responses.length,
        length,
        entropies: (canvas, _pads, places) =>
          Effect.sync(() => {
            canvases.push(canvas.slice())
            return Float32Array.from(places, place => entropy(canvas, place))
          })
      },
      responses,
      { mode: "scheduled", steps: 4, threshold: 1, mask, pad, ...settings }
    )
  )
  return { found, canvases }
}

const response = (ids: ReadonlyArray<number>, promptLength: number): Response => ({
  ids: Int32Array.from(ids),
  promptLength
})

describe("findOrders", () => {
  it("reveals the surest tokens first, as many in each step, with their true values", () => {
    // A row of 2 + 6 tokens lies at columns 4 to 11; the later, the surer.
    const ids = [1, 2, 3, 4, 5, 6, 7, 8]
    const { canvases, found } = find([response(ids, 2)], { steps: 3 }, (_, place) => -place)
    assert.deepStrictEqual(found, [{ promptLength: 2, revealedAt: [3, 3, 2, 2, 1, 1], forwards: 2 }])
    assert.deepStrictEqual(
      canvases.map(canvas => [...canvas]),
      [
        [pad, pad, pad, pad, 1, 2, mask, mask, mask, mask, mask, mask],
        [pad, pad, pad, pad, 1, 2, mask, mask, mask, mask, 7, 8]
      ]
    )
  })

  it("reveals all that is sure enough, at least the surest; what is left after the last step at once", () => {
    const entropies = [0.5, 3, 0.9, 2, 2.5, 4]
    const { found } = find(
      [response([1, 2, 3, 4, 5, 6, 7, 8], 2)],
      { mode: "entropy", steps: 4 },
      (_, place) => entropies[place - 6]!
    )
    assert.deepStrictEqual(found[0]!.revealedAt, [1, 4, 1, 2, 3, 4])
    assert.strictEqual(found[0]!.forwards, 3)
  })

  it("holds of every trajectory: all masked first, nothing last, what is revealed stays, no more states than steps", () => {
    const arbitrary = fc
      .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 7 }))
      .map(([promptLength, size]) =>
        response(
          Array.from({ length: promptLength + size }, (_, i) => i),
          promptLength
        )
      )
    fc.assert(
      fc.property(
        fc.array(arbitrary, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom("scheduled" as const, "entropy" as const),
        fc.infiniteStream(fc.double({ min: 0, max: 3, noNaN: true })),
        (responses, steps, mode, stream) => {
          const { canvases, found } = find(responses, { mode, steps }, () => stream.next().value as number)
          for (const [r, trajectory] of found.entries()) {
            assert.isUndefined(trajectoryFault(trajectory, responses[r]!.ids.length))
            const states = revealStepsOf(trajectory)
            assert.isAtMost(states, steps + 1)
            assert.isTrue(maskedIn(trajectory, 0).every(bit => bit === 1))
            assert.isTrue(maskedIn(trajectory, states - 1).every(bit => bit === 0))
            assert.isAtMost(trajectory.forwards, steps)
          }
          // The model never saw a response's token before it was revealed.
          for (const [state, canvas] of canvases.entries())
            for (const [r, { ids, promptLength }] of responses.entries())
              for (let i = promptLength; i < ids.length; i++) {
                const seen = canvas[(r + 1) * length - ids.length + i]
                assert.strictEqual(seen, found[r]!.revealedAt[i - promptLength]! <= state ? ids[i] : mask)
              }
        }
      )
    )
  })
})

describe("softmaxEntropy", () => {
  it("is the entropy of the softmax", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 6, maxLength: 6 }),
        async values => {
          const program = makeProgram({ entropy: softmaxEntropy(input("z", "f32", [2, 3])) })
          const { entropy } = await Effect.runPromise(Effect.scoped(runOnce(makeReference(), program, { z: values })))
          for (const r of [0, 1]) {
            const row = values.slice(3 * r, 3 * r + 3).map(value => Math.exp(value - Math.max(...values)))
            const total = row.reduce((sum, value) => sum + value, 0)
            const expected = row.reduce(
              (sum, value) => (value === 0 ? sum : sum - (value / total) * Math.log(value / total)),
              0
            )
            assert.closeTo(Number(entropy![r]), expected, 1e-4)
          }
        }
      ),
      { numRuns: 30 }
    )
  })
})

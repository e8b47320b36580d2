/** What panels show, against the equations. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../../src/engines/ort/ort.ts"
import { allocateParameters, initialise } from "../../../src/models/parameters.ts"
import { makeInspection } from "../../../src/methods/shared/panels.ts"
import { bruteForward } from "../../models/bruteForce.ts"
import { config, mask, specs, weight } from "../../support/alignedTraining.ts"

describe("the model's predictions of a sequence", () => {
  it.live("are made from the state before each token, with the masks among the ids", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const parameters = yield* allocateParameters(engine, specs)
        yield* initialise(engine, parameters, 5)
        const inspect = yield* makeInspection(engine, config, parameters.views, { length: 9, mask, pad: 0 })
        for (const [given, masked] of [
          [
            [7, 7, 7, 2, 5, 5],
            [0, 0, 1, 1, 0, 1]
          ],
          [
            [1, 2, 3, 4, 5, 6, 7, 8, 9],
            [0, 1, 0, 1, 0, 1, 0, 1, 0]
          ]
        ] as ReadonlyArray<readonly [ReadonlyArray<number>, ReadonlyArray<number>]>) {
          const corrupted = given.map((id, i) => (masked[i] === 1 ? mask : id))
          const { logits } = bruteForward(config, weight, corrupted, false)
          // What the first mask hides is what the model predicts there.
          const hidden = masked.indexOf(1)
          const before = [...logits[hidden - 1]!]
          const ids = given.map((id, i) => (i === hidden ? before.indexOf(Math.max(...before)) : id))
          const seen = yield* inspect(Int32Array.from(ids), masked)
          expect(seen).toHaveLength(ids.length)
          let right = 0
          for (const [i, { confidence, entropy, right: isRight }] of seen.entries()) {
            if (i === 0) {
              expect([confidence, entropy, isRight]).toEqual([0, 0, 0])
              continue
            }
            const row = [...logits[i - 1]!]
            const peak = Math.max(...row)
            const total = row.reduce((sum, x) => sum + Math.exp(x - peak), 0)
            const p = row.map(x => Math.exp(x - peak) / total)
            expect(confidence).toBeCloseTo(1 / total, 5)
            expect(entropy).toBeCloseTo(-p.reduce((sum, x) => sum + x * Math.log(x), 0), 4)
            expect(isRight).toBe(row.indexOf(peak) === ids[i] ? 1 : 0)
            right += isRight
          }
          expect(right).toBeGreaterThan(0)
        }
      })
    )
  )

  it.live("are those behind clean blocks, where a model is trained to read so", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const parameters = yield* allocateParameters(engine, specs)
        yield* initialise(engine, parameters, 5)
        const size = 3
        const blocks = { ...config, attentionBlockSize: size }
        const reading = { length: 9, mask, pad: 0, halves: true }
        const inspect = yield* makeInspection(engine, blocks, parameters.views, reading)
        const ids = [1, 2, 3, 4, 5, 6, 7, 8]
        const masked = [0, 1, 1, 1, 0, 1, 1, 0]
        const seen = yield* inspect(Int32Array.from(ids), masked)
        for (const [i, { confidence }] of seen.entries()) {
          if (i === 0 || masked[i] === 0) continue
          const block = Math.floor(i / size)
          const until = ids
            .slice(0, (block + 1) * size)
            .map((id, j) => (Math.floor(j / size) === block && masked[j] === 1 ? mask : id))
          const row = bruteForward(blocks, weight, until, false).logits[i - 1]!
          const peak = Math.max(...row)
          expect(confidence).toBeCloseTo(1 / row.reduce((sum, x) => sum + Math.exp(x - peak), 0), 5)
        }
      })
    )
  )
})

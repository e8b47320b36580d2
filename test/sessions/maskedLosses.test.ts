import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { maskedRows } from "../../src/evaluation/maskDraws.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { nextTokenLossData } from "../../src/models/nextTokenLoss.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { makeMaskedLosses } from "../../src/sessions/maskedLosses.ts"
import { makeTokenLosses } from "../../src/sessions/tokenLosses.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"

const config = modelConfig({ initializerRange: 0.6 })
const mask = 10
const seed = 2

const onEngine = Effect.gen(function* () {
  const engine = yield* makeOrt({ threads: 1 })
  const buffers = yield* allocateParameters(engine, parameterSpecs(config))
  yield* initialise(engine, buffers, seed)
  return { engine, parameters: buffers.views }
})

describe("losses of masked tokens", () => {
  it.live("are those of the equations, of each sequence alone, at the column before or at their own", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, parameters } = yield* onEngine
        const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, seed)]))
        const shape = { rows: 3, length: 9 }
        const sequences = [
          { ids: [3, 1, 4, 1, 5, 9], places: [4, 1] },
          { ids: [2, 6], places: [1] },
          { ids: [5, 3, 5, 8, 9, 7, 9], places: [6, 3, 5, 1] }
        ].map(({ ids, places }) => ({ ids: Int32Array.from(ids), places: Int32Array.from(places) }))
        const { asked, read } = maskedRows(sequences, [[0, 1], [2]], { ...shape, mask, pad: 0 })
        for (const tokenShift of [true, false]) {
          const losses = yield* makeMaskedLosses(engine, config, parameters, { ...shape, tokenShift })
          const measured = [...(yield* losses(read, asked))]
          const expected = sequences.flatMap(({ ids, places }) => {
            const seen = Array.from(ids, (id, i) => (places.includes(i) ? mask : id))
            const { logits } = bruteForward(config, name => values.get(name)!, seen, false)
            return Array.from(places, place => {
              const row = logits[tokenShift ? place - 1 : place]!
              return Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - row[ids[place]!]!
            })
          })
          expect(measured).toHaveLength(expected.length)
          for (const [i, loss] of measured.entries()) expect(loss).toBeCloseTo(expected[i]!, 4)
        }
      })
    )
  )

  it.live("are the same however many are asked at once: those of all tokens", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { engine, parameters } = yield* onEngine
        const shape = { rows: 5, length: 120 }
        const sequences = Array.from({ length: 5 }, (_, r) => ({
          ids: Int32Array.from({ length: 120 - r }, (_id, i) => (i * i + 7 * r) % 10),
          places: Int32Array.from({ length: 119 - r }, (_place, i) => i + 1).filter(i => (i * 5 + r) % 7 < 5)
        }))
        const filled = sequences.map((_, r) => [r])
        const { asked, clean, read } = maskedRows(sequences, filled, { ...shape, mask, pad: 0 })
        // More than are computed at once, and the last of them not full.
        expect(asked.places.length).toBeGreaterThan(256)
        const losses = yield* makeMaskedLosses(engine, config, parameters, shape)
        const all = yield* makeTokenLosses(engine, config, parameters, { ...shape, causal: false })
        const { targets } = nextTokenLossData(clean, shape)
        const every = yield* all({ ...nextTokenLossData(read, shape), targets })
        const measured = yield* losses(read, asked)
        for (const [i, place] of asked.places.entries()) {
          const row = Math.floor(place / shape.length)
          expect(measured[i]).toBeCloseTo(every[place - 1 - row]!, 5)
        }
        // Nothing is left of a pass in the next.
        expect(yield* losses(read, asked)).toEqual(measured)
      })
    )
  )
})

import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { makeTokenLosses } from "../../src/sessions/tokenLosses.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { nextTokenLossData } from "../../src/models/nextTokenLoss.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"

const config = modelConfig({ initializerRange: 0.6 })

describe("losses of tokens", () => {
  it.live("are read at the column before a token, or at its own where the model does not shift", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const buffers = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, buffers, 2)
        const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 2)]))
        const ids = [3, 1, 4, 1, 5, 9]
        const shape = { rows: 1, length: ids.length }
        const { logits } = bruteForward(config, name => values.get(name)!, ids, false)
        for (const tokenShift of [true, false]) {
          const losses = yield* makeTokenLosses(engine, config, buffers.views, { ...shape, causal: false, tokenShift })
          const measured = yield* losses(
            nextTokenLossData(packedArrays([ids], [[0]], { capacity: ids.length, pad: 0 }), shape)
          )
          for (const [i, token] of ids.entries()) {
            if (i === 0) continue
            const row = logits[tokenShift ? i - 1 : i]!
            const expected = Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - row[token]!
            expect(measured[i - 1]).toBeCloseTo(expected, 4)
          }
        }
      })
    )
  )
})

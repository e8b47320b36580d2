import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { bitsPerByte, makeCausalEvaluator, perplexity } from "../../src/evaluation/causal.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { modelConfig } from "../support/tinyModel.ts"

const config = modelConfig({ family: "qwen2", tiedHead: false, attentionBias: true, initializerRange: 0.4 })
const sequences = [[1, 2, 3, 4, 5], [7, 7], [4], [9, 0, 10, 2, 6, 8, 1], [3, 1, 4]]

/** Sum of -log p of every token but the first, from the equations. */
const byHand = (tokens: ReadonlyArray<number>): number => {
  const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 3)]))
  const { logits } = bruteForward(config, name => values.get(name)!, tokens, true)
  return tokens.slice(1).reduce((sum, token, i) => {
    const row = [...logits[i]!]
    const peak = Math.max(...row)
    const total = row.reduce((all, x) => all + Math.exp(x - peak), 0)
    return sum - (row[token]! - peak - Math.log(total))
  }, 0)
}

describe("likelihood under a causal model", () => {
  it.live("is that of each sequence alone, however they are packed", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 1 })
        const buffers = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, buffers, 3)
        for (const [rows, length] of [
          [1, 8],
          [3, 11]
        ] as const) {
          const { measure } = yield* makeCausalEvaluator(engine, config, buffers.views, { rows, length, pad: 0 })
          const measurement = measure(sequences)
          const { nats, tokens } = yield* measurement
          const expected = sequences.reduce((sum, sequence) => sum + byHand(sequence), 0)
          expect(tokens).toBe(13)
          expect(nats).toBeCloseTo(expected, 4)
          // A training runs it again and again.
          expect(yield* measurement).toEqual({ nats, tokens })
        }
      })
    )
  )

  it("as perplexity and as bits per byte", () => {
    expect(perplexity({ nats: 6 * Math.log(5), tokens: 6 })).toBeCloseTo(5, 12)
    expect(bitsPerByte({ nats: 8 * Math.LN2, tokens: 3 }, 4)).toBeCloseTo(2, 12)
  })
})

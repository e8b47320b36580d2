import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { bucketOf, computeHiddenStates, residentStates } from "../../src/sessions/hiddenStates.ts"
import { permutation, randomKey } from "../../src/tensor/random.ts"
import { modelConfig } from "../support/tinyModel.ts"
import { bruteForward } from "../models/bruteForce.ts"

const config = modelConfig({ hiddenSize: 24, intermediateSize: 40, vocabSize: 60 })

describe("rows for sequences of some length", () => {
  it("are never too short, by less than half too long, and of few lengths", () => {
    const lengths = new Set<number>()
    for (let tokens = 1; tokens <= 4096; tokens++) {
      const bucket = bucketOf(tokens)
      lengths.add(bucket)
      expect(bucket).toBeGreaterThanOrEqual(tokens)
      if (tokens > 16) expect(bucket).toBeLessThan(1.5 * tokens)
    }
    expect([...lengths].slice(0, 6)).toEqual([16, 24, 32, 48, 64, 96])
    expect(lengths.size).toBe(17)
  })
})

describe("hidden states of sequences", () => {
  it.live("are those of the equations, before the last norm, and bit for bit the same in any company", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        const buffers = yield* allocateParameters(engine, parameterSpecs(config))
        yield* initialise(engine, buffers, 2)
        const values = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, 2)]))
        const sequences = [5, 40, 17, 1, 33, 16, 48, 20].map((n, i) => permutation(randomKey(i, "ids"), 60).slice(0, n))
        const layers = [0, 2]
        const compute = (chosen: ReadonlyArray<Int32Array>, tokensPerPass: number) =>
          Effect.gen(function* () {
            const found = new Map<number, ReadonlyArray<Float32Array>>()
            const options = { causal: true, pad: 0, layers, tokensPerPass }
            yield* computeHiddenStates(
              config,
              residentStates(engine, config, buffers.views),
              options,
              chosen,
              (i, states) =>
                Effect.sync(
                  () =>
                    void found.set(
                      i,
                      states.map(layer => layer.slice())
                    )
                )
            )
            return chosen.map((_, i) => found.get(i)!)
          })
        const together = yield* compute(sequences, 200)
        for (const [i, ids] of sequences.entries()) {
          expect((yield* compute([ids], 16))[0]).toEqual(together[i])
          const { states } = bruteForward(config, name => values.get(name)!, [...ids], true)
          for (const [l, layer] of layers.entries()) {
            const expected = states[layer]!.flat()
            expect(together[i]![l]!.length).toBe(expected.length)
            for (const [at, value] of expected.entries()) expect(together[i]![l]![at]).toBeCloseTo(value, 4)
          }
        }
      })
    )
  )
})
